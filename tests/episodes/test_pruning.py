"""Pruning deletes the oldest episodes that are not open, gives their space back, and harms no running server."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.store.pruning import RESUMABLE_S, PruneResult, prune
from ml_trainer_env.server.store.tables import EPISODES

Serve = Callable[..., Any]
DAY_S = 24 * 3600.0


async def play(server: Any, name: str, done: bool, seed: int = 1) -> OpenEpisode:
    opened: OpenEpisode = await server.open(episode_id=name, seed=seed)
    await opened.call("run_epochs", {"num_epochs": 2})
    if done:
        await opened.call("submit_model", {})
    return opened


def age(server: Any, **days: float) -> None:
    """Make episodes older than they are."""

    def write(connection: sa.Connection) -> None:
        for name, count in days.items():
            called_at = time.time() - count * DAY_S
            connection.execute(sa.update(EPISODES).where(EPISODES.c.name == name).values(called_at=called_at))

    server.database.submit(write).result()


def pruned(server: Any, **options: Any) -> PruneResult:
    return prune(server.database, server.folder / "states", **options)


def names(server: Any) -> list[str]:
    return sorted(row.name for row in asyncio.run(server.journal.episodes()))


def test_what_is_old_and_not_open_goes(serve: Serve) -> None:
    async def play_all(server: Any, elsewhere: Any) -> list[OpenEpisode]:
        closed = {"old_done": True, "old_unfinished": False, "young_done": True, "young_unfinished": False}
        for seed, (name, done) in enumerate(closed.items()):
            (await play(server, name, done, seed)).close()
        held = [await play(server, "held_done", True, 7), await play(elsewhere, "held_elsewhere", False, 8)]
        await (await server.open(episode_id="retired")).retire("another session goes on with it")
        return held

    server, elsewhere, command = serve(), serve(), serve()
    held = asyncio.run(play_all(server, elsewhere))
    server.database.submit(lambda _: None).result()  # what was closed has been released by then
    old = dict.fromkeys(("old_done", "old_unfinished", "held_done", "held_elsewhere", "retired"), 40.0)
    age(command, **old, young_done=20.0, young_unfinished=20.0)

    result = pruned(command, before=time.time() - 30 * DAY_S)
    left = names(command)

    assert set(result.episodes) == {"old_done", "old_unfinished", "retired"}
    assert left == ["held_done", "held_elsewhere", "young_done", "young_unfinished"]
    elsewhere.database.presence.close()  # as the system does when a process ends
    assert pruned(command, before=time.time() - 30 * DAY_S).episodes == ("held_elsewhere",)
    assert len(held) == 2
    for each in (server, elsewhere, command):
        each.database.close()


def test_what_is_not_done_can_be_resumed_for_a_day_and_is_open_so_long(serve: Serve) -> None:
    async def play_all(server: Any) -> None:
        for name, done in {"done": True, "unfinished": False, "left_behind": False}.items():
            (await play(server, name, done)).close()

    server = serve()
    asyncio.run(play_all(server))
    server.database.close()
    command = serve()
    days = RESUMABLE_S / DAY_S
    age(command, done=0.1, unfinished=days - 0.1, left_behind=days + 0.1)

    assert set(pruned(command, max_bytes=0).episodes) == {"done", "left_behind"}
    assert names(command) == ["unfinished"]
    command.database.close()


def fill(serve: Serve, episodes: int) -> Any:
    """A server with as many finished episodes, number 0 the oldest."""

    async def fill() -> Any:
        server = serve()
        for number in range(episodes):
            opened = await play(server, f"e{number:02}", True, number)
            for _ in range(30):
                await opened.call("get_training_status", {})
            opened.close()
        return server

    return asyncio.run(fill())


@pytest.mark.slow
def test_the_oldest_go_until_the_journal_is_small_enough(serve: Serve, tmp_path: Path) -> None:
    """A SQLite file is so too. PostgreSQL keeps its files and uses their space again."""
    server = fill(serve, 12)
    age(server, **{f"e{number:02}": 40.0 - number for number in range(12)})
    command = serve()
    before = pruned(command, dry_run=True).bytes_before

    result = pruned(command, max_bytes=before // 2)
    left = names(command)
    on_disk = sum(
        os.path.getsize(path) for path in (tmp_path / "state").glob("journal.sqlite3*") if "shm" not in path.name
    )

    assert result.episodes == tuple(f"e{number:02}" for number in range(len(result.episodes)))
    assert len(left) == 12 - len(result.episodes) > 0
    assert result.bytes_after <= before // 2 < before
    assert server.database.is_shared or on_disk <= before // 2 + 64_000
    asyncio.run(play(server, "afterwards", True))  # the server that was there all the time goes on
    assert "afterwards" in names(command)
    for each in (server, command):
        each.database.close()


def test_a_dry_run_tells_what_would_go_and_deletes_nothing(serve: Serve) -> None:
    server = fill(serve, 3)
    age(server, e00=40.0, e01=35.0)
    before = time.time() - 30 * DAY_S

    told = pruned(server, before=before, dry_run=True)
    left = names(server)
    done = pruned(server, before=before)

    assert told.episodes == done.episodes == ("e00", "e01")
    assert told.bytes_after < told.bytes_before
    assert left == ["e00", "e01", "e02"]
    assert names(server) == ["e02"]
    server.database.close()


def models(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "states").glob("*/*.safetensors")}


def test_models_go_with_the_episodes_that_needed_them_and_with_no_others(serve: Serve, tmp_path: Path) -> None:
    async def play_all(server: Any) -> tuple[Sequence[str], Sequence[str]]:
        alone = await play(server, "alone", False, 1)
        shared = await play(server, "shared", False, 2)
        other = await play(server, "other", False, 2)
        alone.close()
        shared.close()
        return alone.episode.needed_keys, other.episode.needed_keys

    server = serve()
    gone, kept = asyncio.run(play_all(server))
    before = models(tmp_path / "state")
    age(server, alone=40.0, shared=40.0)

    result = pruned(server, before=time.time() - 30 * DAY_S)

    assert set(gone) | set(kept) <= before
    assert set(result.episodes) == {"alone", "shared"}
    assert models(tmp_path / "state") == before - set(gone)
    server.database.close()


def test_an_empty_journal_has_nothing_to_prune(serve: Serve) -> None:
    server = serve()
    result = pruned(server, before=time.time(), max_bytes=10**9)
    server.database.close()

    assert result == PruneResult((), 0, result.bytes_before, result.bytes_after)


@pytest.mark.parametrize("needed", ["not json", "{}", "[1, null]"])
def test_a_damaged_list_of_needed_models_keeps_no_episode_from_going(
    serve_file: Serve, tmp_path: Path, needed: str
) -> None:
    server = fill(serve_file, 2)
    age(server, e00=40.0)
    database = sqlite3.connect(tmp_path / "state" / "journal.sqlite3", timeout=30)
    database.execute("UPDATE episodes SET needed = ? WHERE name = 'e00'", (needed,))
    database.commit()
    database.close()

    assert pruned(server, before=time.time() - 30 * DAY_S).episodes == ("e00",)
    server.database.close()
