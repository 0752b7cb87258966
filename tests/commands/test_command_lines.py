"""All commands: `--version`, help that loads nothing slow, and one line with exit status 2 for what a user can mend."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path

import pytest

from ml_trainer_env.command_line import CommandParser, port_number, run_command
from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.inference import KNOWN_TASKS
from ml_trainer_env.server.tuning.named_tasks import TASKS

COMMANDS = {
    "server": "ml_trainer_env.server.app",
    "ml-trainer-bench": "ml_trainer_env.bench.command",
    "ml-trainer-journal": "ml_trainer_env.server.commands.journal",
    "ml-trainer-measure": "ml_trainer_env.server.commands.measure",
    "ml-trainer-play": "ml_trainer_env.inference",
    "ml-trainer-ranked": "ml_trainer_env.server.commands.ranked",
    "ml-arena": "ml_trainer_env.arena",
    "permuted-mnist": "permuted_mnist",
}
"""By the name that a user types: the module to run."""

HELPS = {
    "server": ("",),
    "ml-trainer-play": ("",),
    "ml-trainer-measure": ("",),
    "ml-trainer-bench": ("", "run", "report", "from-journal"),
    "ml-trainer-journal": ("", "list", "replay", "export", "prune"),
    "ml-trainer-ranked": ("", "report", "close"),
    "ml-arena": ("", "serve", "worker", "token", "token create", "token revoke", "backup"),
    "permuted-mnist": ("", "evaluate"),
}
"""The words before `--help`, by command."""

SLOW = {"torch", "gradio", "pandas", "matplotlib", "fastapi", "fastmcp", "sqlalchemy", "uvicorn", "openai", "numpy"}
"""What no help may import: each takes a tenth of a second of CPU or more."""

RunHere = Callable[..., subprocess.CompletedProcess[str]]

WITHOUT = ("ML_TRAINER_", "ARENA_", "LLM_", "OPENAI_", "OPENROUTER_", "GEMINI_", "HF_", "ENV_URL", "API_BASE_URL")


def environment(**variables: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(WITHOUT)}
    return {**own, **variables}


def run(command: str, *words: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", COMMANDS[command], *words]
    return subprocess.run(
        program, env=environment(**variables), cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def installed(command: str) -> EntryPoint:
    """The function that a command calls."""
    (found,) = entry_points(group="console_scripts", name=command)
    return found


@pytest.fixture
def run_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunHere:
    """Runs a command in this process, which takes a tenth of the time of a process of its own."""

    def run(command: str, *words: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        main = installed(command).load()
        with monkeypatch.context() as patch:
            for name in set(os.environ) - set(environment()):
                patch.delenv(name)
            for name, value in variables.items():
                patch.setenv(name, value)
            if cwd is not None:
                patch.chdir(cwd)
            try:
                code = main(list(words))
            except SystemExit as end:
                code = end.code
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess([command, *words], int(code or 0), out, err)

    return run


def modules_of(source: str, **variables: str) -> set[str]:
    """Which top-level modules a process has loaded when it has run a source."""
    shown = f"{source}\nimport sys; print('LOADED', *sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", shown], env=environment(**variables), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("LOADED", 1)[1].split())


def assert_one_line(done: subprocess.CompletedProcess[str], *said: str) -> None:
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for words in said:
        assert words in done.stderr


# Versions and helps.


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_installed_by_its_name_and_tells_its_version(command: str) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / command), "--version"], capture_output=True, text=True, check=False
    )

    assert done.stdout == f"{command} {version('openenv-ml-trainer-env')}\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", HELPS)
def test_help_loads_nothing_slow(command: str) -> None:
    source = f"""
import contextlib
from {installed(command).module} import main
for words in {HELPS[command]!r}:
    with contextlib.suppress(SystemExit):
        main([*words.split(), "--help"])
"""
    allowed = {"numpy"} if command == "permuted-mnist" else set()
    assert SLOW & modules_of(source) <= allowed


def test_the_list_of_episodes_loads_no_trainer_and_no_server(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite3").touch()
    source = "from ml_trainer_env.server.commands.journal import main\nassert main(['list']) == 0"

    loaded = modules_of(source, ML_TRAINER_STATE_DIR=str(tmp_path))

    assert not (SLOW - {"sqlalchemy"}) & loaded


# What a user can mend.


@pytest.fixture
def taken_port() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield str(listener.getsockname()[1])


@pytest.mark.parametrize("words", [("server",), ("ml-arena", "serve")], ids=" ".join)
@pytest.mark.parametrize("port", ["99999", "-1", "http"])
def test_a_port_that_is_none_is_refused(run_here: RunHere, words: tuple[str, ...], port: str) -> None:
    assert_one_line(run_here(*words, f"--port={port}"), "from 0 to 65535", repr(port))


@pytest.mark.parametrize(
    "words",
    [
        ("permuted-mnist", "evaluate", "random", "--seed=-1"),
        ("permuted-mnist", "evaluate", "random", "--episodes=0"),
        ("ml-trainer-journal", "prune", "--max-mb=nan"),
        ("ml-trainer-journal", "prune", "--max-mb=inf"),
        ("ml-trainer-journal", "prune", "--max-mb=-5"),
        ("ml-trainer-journal", "prune", "--older-than=yesterday"),
    ],
    ids=" ".join,
)
def test_a_number_that_cannot_be_meant_is_refused(run_here: RunHere, words: tuple[str, ...]) -> None:
    option = words[-1].partition("=")[0]

    assert_one_line(run_here(*words), option)


@pytest.mark.parametrize("words", [("server",), ("ml-arena", "serve", "--workers", "0")], ids=" ".join)
def test_a_port_in_use_is_said_and_nothing_is_made(words: tuple[str, ...], taken_port: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    done = run(*words, "--port", taken_port, ML_TRAINER_STATE_DIR=str(state), ARENA_DATA_DIR=str(state))

    assert_one_line(done, "cannot listen on 127.0.0.1", f"port {taken_port}", "in use")
    assert not state.exists()


@pytest.mark.parametrize("words", [("server",), ("ml-arena", "serve", "--workers", "0")], ids=" ".join)
def test_a_host_that_is_not_of_this_machine_is_said(run_here: RunHere, words: tuple[str, ...]) -> None:
    assert_one_line(run_here(*words, "--host", "192.0.2.1", "--port", "0"), "cannot listen on 192.0.2.1")


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (("server", "--port", "0"), "ML_TRAINER_WORKERS", "many"),
        (("ml-trainer-journal", "replay", "--all"), "ML_TRAINER_TORCH_THREADS", "none"),
        (("ml-arena", "serve"), "ARENA_WORKERS", "1.5"),
        (("ml-arena", "serve"), "ARENA_BASE_URL", "arena.example.org"),
        (("ml-arena", "serve"), "ARENA_BASE_URL", "http://host:port"),
        (("ml-arena", "token", "revoke", "x"), "ARENA_LEASE_S", "soon"),
        (("ml-trainer-play",), "ENV_URL", "localhost:8000"),
    ],
    ids=str,
)
def test_a_bad_setting_is_named(
    run_here: RunHere, words: tuple[str, ...], name: str, value: str, tmp_path: Path
) -> None:
    (tmp_path / "journal.sqlite3").touch()
    folders = {"ML_TRAINER_STATE_DIR": str(tmp_path), "ARENA_DATA_DIR": str(tmp_path)}

    assert_one_line(run_here(*words, cwd=tmp_path, **folders, **{name: value}), name)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("server", "--port", "0"), marks=pytest.mark.slow),
        ("ml-trainer-journal", "list"),
        ("ml-arena", "token", "create", "--user", "ada"),
        ("ml-trainer-play", "--agent", "random", "--output"),
    ],
    ids=" ".join,
)
def test_a_folder_that_cannot_be_written_is_named(words: tuple[str, ...], tmp_path: Path) -> None:
    folder = "/proc/state"  # where root cannot make folders either
    more = [folder] if words[-1] == "--output" else []

    done = run(*words, *more, cwd=tmp_path, ML_TRAINER_STATE_DIR=folder, ARENA_DATA_DIR=folder)

    assert_one_line(done, folder)


def test_a_database_that_cannot_be_opened_is_named_without_its_password(tmp_path: Path) -> None:
    url = "postgresql+psycopg://ada:very-secret@127.0.0.1:1/arena"
    done = run("ml-arena", "token", "revoke", "x", ARENA_DATABASE_URL=url, ARENA_DATA_DIR=str(tmp_path))

    assert_one_line(done, "postgresql+psycopg://127.0.0.1:1/arena cannot be opened")
    assert "very-secret" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--tasks", "easy_mnist,easy_peasy"),
        ("--tasks", ","),
        ("--seed", "-1"),
        ("--seed", "1.5"),
        ("--episodes", "0"),
        ("--agent", "wizard"),
        ("--no-such-flag",),
    ],
    ids=" ".join,
)
def test_a_run_that_cannot_be_is_refused_before_a_server_starts(
    run_here: RunHere, words: tuple[str, ...], tmp_path: Path
) -> None:
    assert_one_line(run_here("ml-trainer-play", *words, cwd=tmp_path))

    assert list(tmp_path.iterdir()) == []


def test_the_program_knows_the_servers_tasks() -> None:
    assert set(KNOWN_TASKS) == set(TASKS)


# The parts.


def test_a_bug_keeps_its_traceback() -> None:
    def bug() -> int:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        run_command("command", bug)


@pytest.mark.parametrize("error", [MLTrainerError("one\nline"), OSError("one\nline")])
def test_an_error_of_many_lines_is_shown_in_one(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise error

    assert run_command("command", fail) == 2
    assert capsys.readouterr().err == "command: one line\n"


def test_an_interrupted_command_says_so_by_its_status() -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert run_command("command", interrupted) == 130


def test_a_reader_that_has_what_it_wanted_ends_the_list_quietly(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite3").touch()
    command = f"{sys.executable} -m {COMMANDS['ml-trainer-journal']} list | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=environment(ML_TRAINER_STATE_DIR=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""


@pytest.mark.parametrize("text", ["0", "1", "65535"])
def test_a_port_is_a_number(text: str) -> None:
    assert port_number(text) == int(text)


def test_a_subcommand_says_what_is_wrong_in_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    parser = CommandParser(prog="command")
    parser.add_subparsers().add_parser("sub").add_argument("--number", type=int)

    with pytest.raises(SystemExit) as end:
        parser.parse_args(["sub", "--number", "x"])

    assert end.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
