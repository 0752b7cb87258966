"""What was made under one identity is never served under another; what was recorded without one is proven first."""

import asyncio
import itertools
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from epoch_executor import EpochJob, EpochResult

from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.executors.identity import Identity

Serve = Callable[..., Any]


@pytest.fixture
def serve(serve_file: Any) -> Any:
    """These tests reach into SQLite's file."""
    return serve_file


def hashes(opened: Any) -> list[str]:
    return [record.trained.ref.digest for record in opened.episode.history.records]


def forget_identities(folder: Path) -> None:
    """Make a journal what it was before identities were recorded."""
    database = sqlite3.connect(folder / "journal.sqlite3")
    for rowid, epochs in database.execute("SELECT rowid, epochs FROM calls").fetchall():
        short = [row[:5] for row in json.loads(epochs)]
        database.execute("UPDATE calls SET epochs = ? WHERE rowid = ?", (json.dumps(short), rowid))
    database.commit()
    database.close()


def with_kernels(server: Any, kernels: str) -> Any:
    server.executor.kernels = kernels
    return server


def with_two_kinds(server: Any) -> Any:
    """Give a server workers of two kinds. New episodes are shared out in turn."""
    kinds = [type(server.executor)(kernels) for kernels in ("ours", "theirs")]
    turn = itertools.cycle(kinds)

    async def lane(key: str | None = None) -> Any:
        known = [kind for kind in kinds if (await kind.identity()).key == key]
        return known[0] if known else next(turn)

    server.executor.lane = lane
    return server


def test_an_episode_stays_with_the_workers_of_its_identity(serve: Serve) -> None:
    """Whoever resumes or forks it, and whatever other episodes were begun meanwhile."""

    async def go_on(server: Any, **way: Any) -> None:
        await (await server.open(**way)).call("run_epochs", {"num_epochs": 2})

    async def play() -> list[Any]:
        async with with_two_kinds(serve()) as server:
            for name in ("first", "second"):
                await go_on(server, episode_id=name)
        async with with_two_kinds(serve()) as server:
            for name in ("second", "first"):  # in the other order
                await go_on(server, episode_id=name, resume=True)
                await go_on(server, episode_id=f"{name}-fork", fork_from=name)
            return [await server.journal.load(name) for name in ("first", "first-fork", "second", "second-fork")]

    episodes = asyncio.run(play())

    assert [one.header.versions["probe"] for one in episodes] == ["ours", "ours", "theirs", "theirs"]
    for one in episodes:
        units = [unit for call in one.calls for unit in call.units]
        assert {unit.identity for unit in units} == {Identity(one.header.versions).key}
        assert len(units) == 4 + 2 * one.header.name.endswith("fork")


def test_a_fork_begins_under_the_identity_of_its_place(serve: Serve) -> None:
    """The parent went on under another identity after that place, because its own machines were gone."""

    async def begin() -> None:
        async with with_kernels(serve(), "ours") as server:
            await (await server.open(episode_id="e")).call("run_epochs", {"num_epochs": 2})

    async def go_on() -> None:
        async with with_kernels(serve(), "theirs") as server:
            await (await server.open(episode_id="e", resume=True)).call("run_epochs", {"num_epochs": 2})

    async def fork() -> list[str]:
        async with with_two_kinds(serve()) as server:
            for place in ("e@2", "e@4"):
                await server.open(episode_id=place.replace("@", "-"), fork_from=place)
            forks = [await server.journal.load(name) for name in ("e-2", "e-4")]
            return [fork.header.versions["probe"] for fork in forks]

    asyncio.run(begin())
    asyncio.run(go_on())

    assert asyncio.run(fork()) == ["ours", "theirs"]


def test_an_epoch_in_the_cache_is_served_to_its_own_identity_alone(serve: Serve) -> None:
    async def play(kernels: str) -> tuple[list[str], int, bool]:
        async with with_kernels(serve(), kernels) as server:
            opened = await server.open(seed=1)
            reply = await opened.call("run_epochs", {"num_epochs": 3})
            return hashes(opened), server.executor.trained, reply["from_cache"]

    ours, trained, _ = asyncio.run(play("ours"))
    theirs, trained_by_them, from_cache = asyncio.run(play("theirs"))
    again, trained_again, from_cache_again = asyncio.run(play("ours"))

    assert (trained, trained_by_them, trained_again) == (3, 3, 0)
    assert (from_cache, from_cache_again) == (False, True)
    assert not set(ours) & set(theirs)
    assert again == ours


def test_a_result_of_another_identity_is_refused_and_kept_under_no_name(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> tuple[str, int, bool]:
        async with serve() as server:
            honest = server.executor.run_epoch

            async def by_another_worker(job: EpochJob, *rest: Any) -> EpochResult:
                return replace(await honest(job, *rest), identity="another")

            with monkeypatch.context() as patch:
                patch.setattr(server.executor, "run_epoch", by_another_worker)
                opened = await server.open(seed=1)
                with pytest.raises(EpisodeError) as refusal:
                    await opened.call("run_epochs", {"num_epochs": 1})
            reply = await (await server.open(seed=1)).call("run_epochs", {"num_epochs": 1})
            return str(refusal.value), await server.units.count(), reply["from_cache"]

    refusal, known, from_cache = asyncio.run(play())

    assert "another identity" in refusal
    assert known == 1
    assert not from_cache


def test_the_journal_names_what_an_episode_was_trained_with(serve: Serve) -> None:
    async def play() -> Any:
        async with with_kernels(serve(), "ours") as server:
            opened = await server.open(episode_id="e")
            await opened.call("run_epochs", {"num_epochs": 1})
            return await server.journal.load("e"), (await server.executor.identity()).key

    journaled, key = asyncio.run(play())

    assert journaled.header.versions == {"engine": "pure", "probe": "ours"}
    assert journaled.calls[0].units[0].identity == key


@pytest.mark.parametrize("way", [{"episode_id": "e", "resume": True}, {"fork_from": "e"}, {"fork_from": "e@good"}])
def test_an_old_episode_goes_on_where_its_models_come_out_as_recorded(
    serve: Serve, tmp_path: Path, way: dict[str, Any]
) -> None:
    async def begin() -> list[str]:
        async with serve() as server:
            opened = await server.open(episode_id="e")
            await opened.call("run_epochs", {"num_epochs": 3})
            await opened.call("save_checkpoint", {"name": "good"})
            return hashes(opened)

    async def go_on() -> tuple[list[str], list[str], int]:
        async with serve() as server:
            opened = await server.open(**way)
            await opened.call("run_epochs", {"num_epochs": 2})
            trained = server.executor.trained
        async with serve("straight") as server:
            straight = await server.open()
            await straight.call("run_epochs", {"num_epochs": 5})
            return hashes(opened), hashes(straight), trained

    recorded = asyncio.run(begin())
    forget_identities(tmp_path / "state")
    ours, straight, trained = asyncio.run(go_on())

    assert ours == straight
    assert ours[:3] == recorded
    assert trained == 3 + 2, "the three that were recorded are trained again, though they are kept"


@pytest.mark.parametrize("way", [{"episode_id": "e", "resume": True}, {"fork_from": "e"}])
def test_an_old_episode_is_refused_in_words_where_its_models_come_out_different(
    serve: Serve, tmp_path: Path, way: dict[str, Any]
) -> None:
    async def begin() -> None:
        async with serve() as server:
            await (await server.open(episode_id="e")).call("run_epochs", {"num_epochs": 3})

    async def go_on() -> tuple[list[str], int, int]:
        async with with_kernels(serve(), "others") as server:
            opened, refusals = await server.open(**way), []
            for _ in range(2):
                with pytest.raises(EpisodeError) as refusal:
                    await opened.call("run_epochs", {"num_epochs": 1})
                refusals.append(str(refusal.value))
            await opened.call("configure_training", {"reinitialize": True})
            reply = await opened.call("run_epochs", {"num_epochs": 1})
            return refusals, reply["current_epoch"], len((await server.journal.load(opened.header.name)).calls)

    asyncio.run(begin())
    forget_identities(tmp_path / "state")
    refusals, epoch, calls = asyncio.run(go_on())

    assert all("came out different" in refusal for refusal in refusals)
    assert (epoch, calls) == (4, 1 + 2 + 2)


def test_a_model_of_another_identity_is_used_while_it_is_kept_and_refused_when_it_is_lost(
    serve: Serve, tmp_path: Path
) -> None:
    async def begin() -> str:
        async with with_kernels(serve(), "ours") as server:
            opened = await server.open(episode_id="e")
            return (await opened.call("run_epochs", {"num_epochs": 2}))["weights_hash"]

    async def go_on(fork: str, dropout: float) -> tuple[str, int]:
        async with with_kernels(serve(), "theirs") as server:
            opened = await server.open(fork_from="e", episode_id=fork)
            await opened.call("configure_training", {"dropout": dropout})
            await opened.call("run_epochs", {"num_epochs": 1})
            return hashes(opened)[1], server.executor.trained

    recorded = asyncio.run(begin())
    assert asyncio.run(go_on("kept", 0.1)) == (recorded, 1)

    for file in (tmp_path / "state" / "states").glob("*/*.safetensors"):
        file.unlink()
    with pytest.raises(EpisodeError, match="came out different"):
        asyncio.run(go_on("lost", 0.2))


def test_what_was_trained_again_in_vain_is_kept_under_no_name_of_the_recorded_identity(
    serve: Serve, tmp_path: Path
) -> None:
    async def play(kernels: str, **request: Any) -> tuple[list[str], int]:
        async with with_kernels(serve(), kernels) as server:
            opened = await server.open(**request)
            try:
                await opened.call("run_epochs", {"num_epochs": 2})
            except EpisodeError:
                assert kernels == "theirs"
            return hashes(opened), server.executor.trained

    ours, _ = asyncio.run(play("ours", episode_id="e"))
    for file in (tmp_path / "state" / "states").glob("*/*.safetensors"):
        file.unlink()
    asyncio.run(play("theirs", fork_from="e", episode_id="in vain"))
    forked, trained = asyncio.run(play("ours", fork_from="e", episode_id="fork"))

    assert forked[:2] == ours
    assert trained == 2 + 2
