"""What befalls the state folder: a running server notices, and one that cannot start says why in one line."""

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from served_here import served_here

from ml_trainer_env import MLTrainerEnv, ToolCallError
from ml_trainer_env.server import app

LONG = "x" * 900_000


def test_a_server_whose_state_folder_was_deleted_acknowledges_nothing_and_is_not_ready(tmp_path: Path) -> None:
    with served_here(tmp_path / "state") as (address, _):
        url = f"http://{address}"
        with MLTrainerEnv(base_url=url) as env:
            env.reset(episode_id="e")
            env.call_tool("run_epochs", num_epochs=1)
            shutil.rmtree(tmp_path / "state")
            with pytest.raises(ToolCallError, match="was deleted or replaced while this server ran") as refusal:
                env.call_tool("run_epochs", num_epochs=1)
        with MLTrainerEnv(base_url=url) as env, pytest.raises(Exception, match="was deleted or replaced"):
            env.reset()
        answer = httpx.get(f"{url}/ready", trust_env=False)

    assert "this call does not count" in str(refusal.value)
    assert answer.status_code == 503
    assert "deleted or replaced" in answer.json()["reason"]


@pytest.mark.slow
def test_refused_calls_and_resets_fill_neither_journal_nor_log(start_server: Any) -> None:
    server = start_server(ML_TRAINER_WORKERS="1")

    def kept() -> int:
        files = [server.log_path, *(server.log_path.parent / "state").glob("journal.sqlite3*")]
        return sum(path.stat().st_size for path in files)

    with MLTrainerEnv(base_url=server.url) as env:
        env.reset(episode_id="e")
        env.call_tool("run_epochs", num_epochs=1)
        before = kept()
        calls: list[Callable[[], Any]] = [
            lambda: env.call_tool("run_epochs", num_epochs=1, junk=LONG),
            lambda: env.call_tool("run_epochs", num_epochs=1, **{LONG: 1}),
            lambda: env.call_tool("configure_training", optimizer=LONG),
            lambda: env.call_tool(LONG),
        ]
        for call in calls * 3:
            with pytest.raises(ToolCallError) as refusal:
                call()
            assert len(str(refusal.value)) < 10_000
    resets = [{"episode_id": LONG, "resume": True}, {"fork_from": LONG}, {"fork_from": f"e@{LONG}"}, {"task_id": LONG}]
    for reset in [*resets, {LONG: 1}]:
        with MLTrainerEnv(base_url=server.url) as env, pytest.raises(Exception, match="xxx") as refused:
            env.reset(**reset)
        assert len(str(refused.value)) < 10_000
    with MLTrainerEnv(base_url=server.url) as env:
        env.reset(fork_from="e")

    assert kept() - before < 500_000, "17 requests of 900 kB each"


def a_file(folder: Path) -> None:
    folder.write_text("in the way")


def not_a_database(folder: Path) -> None:
    folder.mkdir()
    (folder / "journal.sqlite3").write_bytes(b"not a database" * 1000)


def of_a_newer_version(folder: Path) -> None:
    folder.mkdir()
    with contextlib.closing(sqlite3.connect(folder / "journal.sqlite3")) as database:
        database.execute("PRAGMA user_version = 99")


def a_file_for_models(folder: Path) -> None:
    folder.mkdir()
    (folder / "states").write_text("in the way")


def a_folder_for_the_journal(folder: Path) -> None:
    (folder / "journal.sqlite3").mkdir(parents=True)


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (a_file, "cannot be written"),
        (not_a_database, "cannot be opened: file is not a database"),
        (of_a_newer_version, "has layout 99"),
        (a_file_for_models, "of models cannot be used"),
        (a_folder_for_the_journal, "cannot be opened: unable to open database file"),
    ],
)
def test_a_server_that_cannot_use_its_state_folder_says_why_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Path], None],
    words: str,
) -> None:
    prepare(tmp_path / "state")
    monkeypatch.setenv("ML_TRAINER_STATE_DIR", str(tmp_path / "state"))

    with pytest.raises(SystemExit) as ended:
        app._app_or_exit()
    (line,) = capsys.readouterr().err.splitlines()

    assert ended.value.code == 2
    assert line.startswith("server: ")
    assert str(tmp_path / "state") in line
    assert words in line


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sizes of files are not limited there")
def test_a_server_without_room_for_its_journal_ends_with_one_line(tmp_path: Path) -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        "import sys; from ml_trainer_env.server.app import main; sys.exit(main())"
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
    own = {name: value for name, value in os.environ.items() if not name.startswith("ML_TRAINER_")}
    ended = subprocess.run(
        [sys.executable, "-c", program, "--port", port],
        env={**own, "ML_TRAINER_STATE_DIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f"server: the journal {tmp_path}")
