"""Episodes keep the rules that they began with.

`journals/rules_1.sql` was written by the last program that knew rules 1 alone, with the executor of these tests.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ml_trainer_env.server.episodes.errors import ResetError
from ml_trainer_env.server.episodes.recorded import VerifyingSource
from ml_trainer_env.server.episodes.replay import replay_calls
from ml_trainer_env.server.tuning.rules import CURRENT_RULES
from ml_trainer_env.server.tuning.tools import TOOLS

Serve = Callable[..., Any]

OLD = Path(__file__).parent / "journals" / "rules_1.sql"
SUBMIT = ("submit_model", {})


@pytest.fixture
def serve(serve_file: Any) -> Any:
    """These tests reach into SQLite's file."""
    return serve_file


@pytest.fixture
def old(serve: Serve, tmp_path: Path) -> Callable[[], Any]:
    """Starts a server on a journal of rules 1."""
    (tmp_path / "state").mkdir()
    with sqlite3.connect(tmp_path / "state" / "journal.sqlite3") as connection:
        connection.executescript(OLD.read_text())
    connection.close()
    return serve


@pytest.mark.parametrize(("name", "score"), [("ended", 0.8307), ("ended-v2", 0.9999)])
def test_an_old_episode_replays_to_its_old_grade(old: Serve, name: str, score: float) -> None:
    async def replay() -> tuple[int, list[Any], Any]:
        async with old() as server:
            journaled = await server.journal.load(name)
            episode = await server.registry.recreate(journaled.header)
            verifying = VerifyingSource(episode.source)
            await replay_calls(episode, TOOLS, journaled.calls, verifying)
            return verifying.count, verifying.differences, episode.grade

    epochs, differences, grade = asyncio.run(replay())

    assert (epochs, differences) == ({"ended": 9, "ended-v2": 11}[name], [])
    assert grade.score == score


def test_an_old_episode_goes_on_and_is_graded_by_its_own_rules(old: Serve) -> None:
    """Its best epoch was before its weights were drawn anew; rules 1 took the gap from after that."""

    async def go_on() -> tuple[dict[str, Any], dict[str, Any]]:
        async with old() as server:
            opened = await server.open(episode_id="open", resume=True)
            fresh = await server.open(episode_id="fresh", resume=True)
            return await opened.call(*SUBMIT), await fresh.call(*SUBMIT)

    opened, fresh = asyncio.run(go_on())

    assert opened["details"]["val_accuracy"] == opened["best_val_accuracy"] == 0.9648
    assert opened["details"]["overfitting_gap"] == pytest.approx(
        opened["train_accuracy"] - opened["val_accuracy"], abs=2e-4
    )
    assert opened["graded_epoch"] is None
    assert fresh["details"]["val_accuracy"] == 0.8672


def test_checkpoints_of_an_old_episode_go_on_counting_among_its_60_calls(old: Serve) -> None:
    async def go_on() -> list[bool]:
        async with old() as server:
            opened = await server.open(episode_id="counted", resume=True)
            return [(await opened.call("save_checkpoint", {"name": "a"}))["done"] for _ in range(2)]

    assert asyncio.run(go_on()) == [False, True]


def test_a_fork_keeps_its_parents_rules_and_a_new_episode_has_the_new_ones(old: Serve) -> None:
    async def versions() -> list[int]:
        async with old() as server:
            opened = [await server.open(fork_from="open"), await server.open()]
            again = await server.journal.load(opened[0].header.name)
            return [*(one.episode.rules.version for one in opened), again.header.rules]

    assert asyncio.run(versions()) == [1, CURRENT_RULES.version, 1]


def test_rules_that_are_not_known_are_refused_by_name(serve: Serve, tmp_path: Path) -> None:
    async def begin() -> None:
        async with serve() as server:
            opened = await server.open(episode_id="e")
            await opened.call("run_epochs", {"num_epochs": 1})

    async def resume() -> None:
        async with serve() as server:
            await server.open(episode_id="e", resume=True)

    asyncio.run(begin())
    with sqlite3.connect(tmp_path / "state" / "journal.sqlite3") as connection:
        connection.execute("UPDATE episodes SET rules = 99")
    connection.close()

    with pytest.raises(ResetError, match=r"episode 'e' was begun under rules 99, and this version knows 1, 2, 3"):
        asyncio.run(resume())
