"""The command `ml-arena`, against a data folder of its own; no service runs."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ml_trainer_env.arena.cli import main
from ml_trainer_env.arena.errors import UnauthorizedError
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.settings import Settings
from ml_trainer_env.arena.tables import Agent, AuditEntry, Scope
from ml_trainer_env.arena.tokens.service import authenticate


@pytest.fixture
def command(tmp_path: Path) -> Any:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("ARENA_")}

    def run(*words: str, folder: Path = tmp_path / "data") -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "ml_trainer_env.arena", *words]
        environment = {**variables, "ARENA_DATA_DIR": str(folder)}
        return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=120, check=False)

    return run


def opened(folder: Path) -> Services:
    return Services.open(Settings.from_environment({"ARENA_DATA_DIR": str(folder)}))


def test_a_token_is_printed_once_and_its_secret_is_nowhere(command: Any, tmp_path: Path) -> None:
    done = command("token", "create", "--user", "ada", "--scope", "creator")
    token = done.stdout.strip()
    lookup, secret = token.split("_")[2:]

    services = opened(tmp_path / "data")
    with services.database.transaction() as session:
        caller = authenticate(session, token)
        assert (caller.user_name, caller.scope) == ("ada", Scope.CREATOR)
        assert [(entry.action, secret in entry.subject) for entry in session.scalars(sa.select(AuditEntry))] == [
            ("token.create", False)
        ]
    assert secret not in done.stderr
    assert not [
        file for file in (tmp_path / "data").rglob("*") if file.is_file() and secret.encode() in file.read_bytes()
    ]

    assert command("token", "revoke", lookup).returncode == 0
    with pytest.raises(UnauthorizedError), services.database.transaction() as session:
        authenticate(session, token)
    services.close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("token", "revoke", "nothing"), "there is no token nothing"),
        (("token", "create", "--user", "a b"), "a user's name"),
        (("token", "create", "--user", "ada", "--scope", "king"), "choose from 'user', 'creator'"),
        (("nothing",), "invalid choice"),
        (("rules", "7"), "there is no such competition"),
        (("submissions", "rerun", "7"), "name submissions, or give --all"),
        (("submissions", "delete", "7", "1"), "there is no such competition"),
    ],
)
def test_what_makes_no_sense_is_said_so(
    words: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ARENA_DATA_DIR", str(tmp_path))
    try:
        status: int | str | None = main(list(words))
    except SystemExit as end:
        status = end.code

    assert status == 2
    assert message in capsys.readouterr().err


def test_a_backup_is_a_data_folder_again(command: Any, services: Services, make_agent: Any, tmp_path: Path) -> None:
    aid = make_agent()
    archive = tmp_path / "backup.tar.gz"
    if not services.database.is_sqlite:
        pytest.skip("PostgreSQL has pg_dump")

    assert command("backup", str(archive), folder=services.settings.data_dir).returncode == 0

    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "restored", filter="data")
    restored = opened(tmp_path / "restored")
    with restored.database.transaction(read_only=True) as session:
        assert session.get_one(Agent, aid).files_ok
    assert restored.key == services.key
    for file in services.blobs.path("").rglob("*"):
        assert not file.is_file() or restored.blobs.path(file.name).read_bytes() == file.read_bytes()
    restored.close()


def test_the_operator_organises_every_competition(
    services: Services,
    make_agent: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    aid = make_agent()
    monkeypatch.setenv("ARENA_DATA_DIR", str(services.settings.data_dir))
    monkeypatch.setenv("ARENA_DATABASE_URL", services.settings.database_url)

    def run(*words: str) -> str:
        assert main(list(words)) == 0
        return capsys.readouterr().out

    assert "\nresults_held = true\n" in run("rules", "1", "results_held=true", "rows_per_participant=2")
    assert run("submissions", "rerun", "1", str(aid)) == f"{aid} waits to be run again\n"
    assert run("submissions", "cancel", "1", str(aid)) == f"{aid} is upload_validated\n"
    assert "a baseline" in run("submissions", "baseline", "1", str(aid))
    assert run("submissions", "list", "1").split("\t")[:3] == [str(aid), "agent", "ada"]
    run("submissions", "download", "1", str(tmp_path / "all.zip"))
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert f"{aid}/agent.py" in archive.namelist()
    run("submissions", "delete", "1", str(aid))
    audit = [line.split("\t") for line in run("audit", "--competition", "1").splitlines()]
    assert [entry[3] for entry in audit if entry[2] == "-"] == [
        "agent.delete",
        "competition.download",
        "agent.baseline",
        "agent.cancel",
        "agent.rerun",
        "competition.settings",
    ]
    assert main(["rules", "1", "results_held=maybe"]) == 2
    assert "a value in JSON" in capsys.readouterr().err
