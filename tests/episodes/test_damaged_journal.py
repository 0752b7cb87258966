"""A damaged row is refused by the name of its episode and call, and no other episode notices."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ml_trainer_env.server.episodes.errors import ResetError
from ml_trainer_env.server.store import DamagedEpisode, EpisodeSummary, list_episodes

Serve = Callable[..., Any]

OF_A_CALL = [
    "arguments = '{\"num_'",
    "arguments = '[3]'",
    "arguments = x'ff'",
    "reply = 'no json'",
    "reply = '[]'",
    "reply = CAST(x'7bff' AS TEXT)",
    "epochs = '{}'",
    "epochs = '[[1, 2, 3]]'",
    'epochs = \'[["key", "hash", 0.5, false, [1, 2, 3]]]\'',
    'epochs = \'[["key", "hash", 0.5, false, [1, 1, 1, 1, "1", false], ""]]\'',
    "epochs = replace(epochs, '[', '')",
    "tool = x'00ff'",
    "reached = 'perhaps'",
    "inherited = 7",
    "weights_hash = x'05'",
    "at = 'noon'",
    "number = 99",
]
OF_A_HEADER = ["versions = '{'", "versions = '[]'", "seed = 'many'", "task = x'00'", "images = x'00'"]


@pytest.fixture
def serve(serve_file: Any) -> Any:
    """These tests reach into SQLite's file."""
    return serve_file


def damage(folder: Path, statement: str) -> None:
    database = sqlite3.connect(folder / "journal.sqlite3")
    database.execute("PRAGMA ignore_check_constraints = ON")
    database.execute(statement)
    database.commit()
    database.close()


async def played(serve: Serve) -> None:
    async with serve() as server:
        for name in ("damaged", "sound"):
            opened = await server.open(episode_id=name, seed=7)
            await opened.call("configure_training", {"dropout": 0.1})
            await opened.call("run_epochs", {"num_epochs": 2})
            await opened.call("run_epochs", {"num_epochs": 1})


async def refused_in_both_ways(serve: Serve, words: str) -> tuple[int, int]:
    """The damaged episode is neither resumed nor forked; the other one goes on."""
    async with serve() as server:
        for way in ({"episode_id": "damaged", "resume": True}, {"fork_from": "damaged"}):
            with pytest.raises(ResetError, match=words):
                await server.open(**way)
        sound = await server.open(episode_id="sound", resume=True)
        reply = await sound.call("run_epochs", {"num_epochs": 2})
        return reply["current_epoch"], len(list(list_episodes(server.database)))


@pytest.mark.parametrize("change", OF_A_CALL)
def test_a_damaged_call_is_refused_by_name_and_number(serve: Serve, tmp_path: Path, change: str) -> None:
    asyncio.run(played(serve))
    where = "number = 2 AND episode = (SELECT id FROM episodes WHERE name = 'damaged')"
    damage(tmp_path / "state", f"UPDATE calls SET {change} WHERE {where}")

    assert asyncio.run(refused_in_both_ways(serve, r"call 2 of episode 'damaged' is damaged in the journal: ")) == (
        5,
        2,
    )


@pytest.mark.parametrize("change", OF_A_HEADER)
def test_a_damaged_header_is_refused_by_name(serve: Serve, tmp_path: Path, change: str) -> None:
    asyncio.run(played(serve))
    damage(tmp_path / "state", f"UPDATE episodes SET {change} WHERE name = 'damaged'")

    assert asyncio.run(refused_in_both_ways(serve, r"episode 'damaged' is damaged in the journal: its ")) == (5, 2)


def test_a_list_has_a_line_for_what_is_damaged_too(serve: Serve, tmp_path: Path) -> None:
    asyncio.run(played(serve))
    damage(tmp_path / "state", "UPDATE episodes SET score = 'high', called_at = 'noon' WHERE name = 'damaged'")

    async def lines() -> dict[str, Any]:
        async with serve() as server:
            return {line.name: line for line in list_episodes(server.database)}

    listed = asyncio.run(lines())

    assert isinstance(listed["sound"], EpisodeSummary)
    assert listed["sound"].calls == 3
    assert listed["damaged"] == DamagedEpisode("damaged", "its score is 'high'")


def test_a_damaged_list_of_needed_models_keeps_no_other_episode_from_keeping_its_own(
    serve: Serve, tmp_path: Path
) -> None:
    asyncio.run(played(serve))
    damage(tmp_path / "state", "UPDATE episodes SET needed = 'not json' WHERE name = 'damaged'")

    async def go_on() -> int:
        async with serve(state_mb=0) as server:
            opened = await server.open(episode_id="sound", resume=True)
            await opened.call("configure_training", {"dropout": 0.3})
            await opened.call("run_epochs", {"num_epochs": 1})
            return len(list((tmp_path / "state" / "states").glob("*/*.safetensors")))

    assert asyncio.run(go_on()) == 1


@pytest.mark.parametrize("metrics", ["{", "[]", '{"train_loss": 1}', '{"train_loss": "low"}'])
def test_damaged_figures_of_an_epoch_are_trained_again(serve: Serve, tmp_path: Path, metrics: str) -> None:
    async def play() -> tuple[list[Any], int, bool]:
        async with serve() as server:
            opened = await server.open(seed=7)
            await opened.call("configure_training", {"dropout": 0.1})
            reply = await opened.call("run_epochs", {"num_epochs": 3})
            return [row["val_loss"] for row in reply["epochs"]], server.executor.trained, reply["from_cache"]

    figures, _, _ = asyncio.run(play())
    damage(tmp_path / "state", f"UPDATE epochs SET metrics = '{metrics}'")
    again, trained, _ = asyncio.run(play())
    once_more, trained_then, from_cache = asyncio.run(play())

    assert figures == again == once_more
    assert (trained, trained_then, from_cache) == (3, 0, True)
