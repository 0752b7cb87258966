"""`ml-trainer-journal list` and `prune`, and what the command does with journals that are old or damaged."""

import asyncio
import json
import os
import sqlite3
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ml_trainer_env.server.commands.journal import main
from ml_trainer_env.server.commands.times import parse_time
from ml_trainer_env.server.episodes.registry import EpisodeRequest
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.services import Services
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.store import Database, list_episodes
from ml_trainer_env.server.trainer import PROBE

DAY_S = 86400.0
COPIES = 200


async def play(services: Services) -> None:
    for name, task in {"first": "easy_mnist", "second": "medium_fashion", "third": "easy_mnist"}.items():
        opened = await services.registry.open(EpisodeRequest(task_id=task, episode_id=name))
        if task == "easy_mnist":
            await opened.call("run_epochs", {"num_epochs": 2})
        opened.close()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder in which three episodes were played."""
    folder = tmp_path_factory.mktemp("played")
    settings = Settings.from_environment({"ML_TRAINER_STATE_DIR": str(folder), "ML_TRAINER_DOWNLOAD": "no"})

    async def served() -> None:
        services = Services(settings, InProcessExecutor(settings.torch_threads, probe=PROBE))
        try:
            await play(services)
        finally:
            await services.close()

    asyncio.run(served())
    return folder


@pytest.fixture
def folder(played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it: `first` was called 40 days ago, `second` 3 days ago, `third` just now."""
    copy = tmp_path / "state"
    copy.mkdir()
    with sqlite3.connect(played / "journal.sqlite3") as source, sqlite3.connect(copy / "journal.sqlite3") as target:
        source.backup(target)
        for name, days in {"first": 40, "second": 3}.items():
            target.execute("UPDATE episodes SET called_at = ? WHERE name = ?", (time.time() - days * DAY_S, name))
        target.commit()
    source.close()
    target.close()
    monkeypatch.setenv("ML_TRAINER_STATE_DIR", str(copy))
    monkeypatch.setenv("ML_TRAINER_DOWNLOAD", "no")
    return copy


def change(folder: Path, statement: str, *values: object) -> None:
    database = sqlite3.connect(folder / "journal.sqlite3")
    database.execute(statement, values)
    database.commit()
    database.close()


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    assert folder.is_dir()

    def command(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        out, err = capsys.readouterr()
        return status, out, err

    return command


def listed(output: str) -> list[str]:
    return [line.split()[0] for line in output.splitlines()[1:]]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["third", "second", "first"]),
        (["--limit", "2"], ["third", "second"]),
        (["--limit", "0"], ["third", "second", "first"]),
        (["--task", "easy_mnist"], ["third", "first"]),
        (["--task", "hard_cifar"], []),
        (["--since", "7d"], ["third", "second"]),
        (["--since", "12h", "--limit", "5"], ["third"]),
        (["--since", "2020-01-01", "--task", "medium_fashion"], ["second"]),
    ],
)
def test_a_list_has_the_episodes_asked_for_the_last_one_first(run: Any, options: list[str], names: list[str]) -> None:
    status, output, _ = run("list", *options)

    assert (status, listed(output)) == (0, names)


def test_a_list_that_was_cut_says_so(run: Any, folder: Path) -> None:
    columns = "task, seed, rubric, images, versions, owner, begun_at, called_at, epochs, done, needed"
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {COPIES})"
    copies = f"INSERT INTO episodes (name, {columns}) {numbers} SELECT 'copy ' || i, {columns} FROM episodes, n"
    change(folder, f"{copies} WHERE name = 'second'")

    _, output, hint = run("list")
    _, whole, no_hint = run("list", "--limit", "0")

    assert len(listed(output)) == 50
    assert "--limit 0 lists all" in hint
    assert len(listed(whole)) == 3 + COPIES
    assert no_hint == ""


@pytest.mark.slow
def test_a_long_list_is_not_held_in_memory(folder: Path) -> None:
    columns = "task, seed, rubric, images, versions, owner, begun_at, called_at, epochs, done, needed"
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
    copies = (
        f"INSERT INTO episodes (name, {columns}) {numbers} SELECT hex(zeroblob(50)) || i, {columns} FROM episodes, n"
    )
    change(folder, f"{copies} WHERE name = 'second'")
    database = Database(folder / "journal.sqlite3")
    tracemalloc.start()
    try:
        count = sum(1 for _ in list_episodes(database))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        database.close()

    assert count == 20_003
    assert peak < 3_000_000, "the whole list takes some 15 MB"


@pytest.mark.parametrize("when", ["yesterday", "7", "7y", "2026-13-01", ""])
def test_a_time_that_is_none_is_refused(run: Any, capsys: pytest.CaptureFixture[str], when: str) -> None:
    with pytest.raises(SystemExit) as ended:
        run("list", "--since", when)

    assert ended.value.code == 2
    assert "expected how long ago (30d, 12h, 45m) or a date" in capsys.readouterr().err


def test_times_are_how_long_ago_or_dates() -> None:
    assert parse_time("2d") == pytest.approx(time.time() - 2 * DAY_S, abs=60)
    assert parse_time("1.5h") == pytest.approx(time.time() - 5400, abs=60)
    assert parse_time("2026-11-27T12:30") - parse_time("2026-11-27") == 12.5 * 3600


def test_pruning_by_age_deletes_what_is_old_and_says_so(run: Any) -> None:
    told, names, _ = run("prune", "--older-than", "30d", "--dry-run")
    status, output, _ = run("prune", "--older-than", "30d")

    assert (told, status) == (0, 0)
    assert names.splitlines()[0] == "first"
    assert "would delete 1 episodes" in names
    assert "deleted 1 episodes" in output
    assert listed(run("list")[1]) == ["third", "second"]


def test_pruning_by_size_stops_at_what_is_open(run: Any) -> None:
    status, output, hint = run("prune", "--max-mb", "0")

    assert status == 0
    assert "deleted 2 episodes" in output
    assert "open episodes" in hint
    assert listed(run("list")[1]) == ["third"]


def test_pruning_nothing_in_particular_is_refused(run: Any) -> None:
    status, _, error = run("prune")

    assert status == 2
    assert "--older-than, --max-mb, or both" in error


def test_a_damaged_episode_is_named_and_the_others_are_read(run: Any, folder: Path) -> None:
    change(folder, "UPDATE calls SET epochs = '{' WHERE episode = (SELECT id FROM episodes WHERE name = 'first')")
    change(folder, "UPDATE episodes SET seed = 'many' WHERE name = 'second'")

    listing = run("list")
    replay = run("replay", "--all")
    export = run("export", "--all")

    assert listing[0] == 0
    assert "damaged: its seed is 'many'" in listing[1]
    assert len(listed(listing[1])) == 3
    for status, output, error in (replay, export):
        assert status == 1
        assert "call 1 of episode 'first' is damaged in the journal" in error
        assert "episode 'second' is damaged in the journal" in error
        assert "third" in output


def test_an_episode_without_a_probe_is_trained_again_to_the_same_bits(run: Any, folder: Path) -> None:
    query = "SELECT rowid, epochs FROM calls"
    database = sqlite3.connect(folder / "journal.sqlite3")
    for rowid, epochs in database.execute(query).fetchall():
        old = json.dumps([row[:5] for row in json.loads(epochs)])
        database.execute("UPDATE calls SET epochs = ? WHERE rowid = ?", (old, rowid))
    database.execute("UPDATE episodes SET versions = json_remove(versions, '$.probe')")
    database.commit()
    database.close()

    status, output, _ = run("replay", "third")

    assert status == 0
    assert "third: probe was not recorded, is " in output
    assert "third: the same: 1 calls, 2 epochs trained again" in output


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals there")
def test_a_replay_shows_progress_on_a_terminal_and_no_bar_elsewhere(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl  # not there on Windows, like what follows
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with open(theirs, "w") as terminal:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            assert run("replay", "third")[0] == 0
        terminal.write("the end")
        terminal.flush()
        shown = os.read(ours, 100_000).decode()
    os.close(ours)
    _, output, error = run("replay", "third")

    assert "third:" in shown
    assert "1/2" in shown
    assert "2/2" in shown
    assert error == ""
    assert "epoch/s" not in output
