"""What is kept of a refused call is bounded: in the journal, in memory, and in what a fork copies."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.open_episode import OpenEpisode, describe_call
from ml_trainer_env.server.store.bounds import MAX_CHARACTERS, truncate_arguments
from ml_trainer_env.server.trainer.errors import ConfigError

Serve = Callable[..., Any]
LONG = "x" * 900_000
SMALL = 4 * MAX_CHARACTERS

REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("configure_training", {"optimizer": LONG}),
    ("configure_training", {LONG: 1}),
    ("configure_training", {"learning_rate": [LONG]}),
    ("configure_training", {"reinitialize": LONG}),
    ("run_epochs", {"num_epochs": LONG}),
    ("adjust_learning_rate", {"new_lr": {"deep": {LONG: None}}}),
    ("toggle_augmentation", {"enabled": LONG}),
    ("toggle_augmentation", {"enabled": True, "strength": LONG}),
    ("save_checkpoint", {"name": LONG}),
    ("restore_checkpoint", {"name": LONG}),
    (LONG, {"name": LONG}),
]


@pytest.fixture
def serve(serve_file: Any) -> Any:
    """These tests reach into SQLite's file."""
    return serve_file


async def refused(opened: OpenEpisode) -> None:
    for tool, arguments in REFUSED:
        with pytest.raises((EpisodeError, ConfigError)):
            await opened.call(tool, arguments)
        await opened.refuse(tool, arguments, f"unexpected: {LONG}")


def stored(folder: Path) -> list[int]:
    """Characters of each call in the journal."""
    database = sqlite3.connect(folder / "journal.sqlite3")
    query = "SELECT length(tool) + length(arguments) + length(error) FROM calls WHERE reply IS NULL"
    sizes = [size for (size,) in database.execute(query)]
    database.close()
    return sizes


def test_refused_calls_are_kept_short_and_replay_all_the_same(serve: Serve, tmp_path: Path) -> None:
    async def play() -> tuple[int, int, int, Any]:
        async with serve() as server:
            opened = await server.open(episode_id="e")
            await opened.call("run_epochs", {"num_epochs": 2})
            await refused(opened)
        async with serve() as server:
            back = await server.open(episode_id="e", resume=True)
            fork = await server.open(fork_from="e")
            second = await server.open(fork_from=f"{fork.header.name}@2")
            await second.call("run_epochs", {"num_epochs": 1})
            epochs = [each.episode.history.epochs for each in (back, fork, second)]
            return *epochs, describe_call(back.last_call)

    *epochs, last = asyncio.run(play())
    sizes = stored(tmp_path / "state")

    assert epochs == [2, 2, 3]
    assert len(sizes) >= 2 * 2 * len(REFUSED)
    assert max(sizes) < SMALL
    assert len(json.dumps(last)) < SMALL


def test_what_an_older_journal_kept_whole_is_bounded_when_it_is_read_and_when_it_is_forked(
    serve: Serve, tmp_path: Path
) -> None:
    async def begin() -> None:
        async with serve() as server:
            opened = await server.open(episode_id="old")
            await opened.call("run_epochs", {"num_epochs": 1})
            await opened.refuse("run_epochs", {}, "short")

    async def fork() -> Any:
        async with serve() as server:
            await server.open(fork_from="old", episode_id="fork")
            return (await server.journal.load("old")).calls[-1]

    asyncio.run(begin())
    database = sqlite3.connect(tmp_path / "state" / "journal.sqlite3")
    row = (LONG, json.dumps({"junk": LONG}), LONG)
    database.execute("UPDATE calls SET tool = ?, arguments = ?, error = ? WHERE number = 2", row)
    database.commit()
    database.close()
    read = asyncio.run(fork())

    assert len(read.tool) + len(json.dumps(read.arguments)) + len(read.error) < SMALL
    assert sorted(stored(tmp_path / "state"))[0] < SMALL


@pytest.mark.parametrize("arguments", [{}, {"num_epochs": 3}, {"a": None, "b": [1.5, "\ud800"]}, {"x": "y" * 1900}])
def test_arguments_that_are_short_are_kept_as_they_came(arguments: dict[str, Any]) -> None:
    assert truncate_arguments(arguments) == arguments
