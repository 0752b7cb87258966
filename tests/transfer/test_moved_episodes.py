"""A live episode moves to another server between two calls, and goes on with equal bits."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet_play import Run
from moved_play import FLEET, TUNING, Call, begin, drawn_calls, play, resume

from ml_trainer_env.server.episodes.errors import ResetError
from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.episodes.registry import EpisodeRequest
from ml_trainer_env.server.services import Services
from ml_trainer_env.server.store import EpisodeSummary, list_episodes
from ml_trainer_env.server.store.episode_file import unpack_file

PLACES = 50
"""Places of the long run, half of them in each game, each in an episode of a task of its own."""


def drawn_task(seed: int) -> str:
    """A task of one of the games' families. Every second one is a fleet."""
    return f"{'fleet' if seed % 2 else 'tuning'}/train/{random.Random(seed).randrange(128)}"


def digests(opened: OpenEpisode) -> list[Any]:
    return [(unit.ref.digest, repr(unit.figures)) for unit in opened.episode.units]


def kept_models(services: Services) -> Iterator[Path]:
    return (Path(services.database.name).parent / "states").glob("*/*.safetensors")


async def move_at(serve: Any, task: str, seed: int, with_states: bool) -> None:
    """Play an episode straight, and again with a move at a drawn place, and compare everything."""
    source = random.Random(seed)
    calls = drawn_calls(task, source)
    place = source.randint(0, len(calls))
    async with serve(f"straight-{seed}") as services:
        opened = await begin(services, task)
        straight, bits = await play(opened, calls), digests(opened)
        opened.close()
    async with serve(f"from-{seed}") as old, serve(f"to-{seed}") as new:
        holder = await begin(old, task)
        answers = await play(holder, calls[:place])
        file = await old.transfer.export("e", with_states)
        refusals = await play(holder, [("get_training_status", {})])
        assert "it was exported" in refusals[0]
        trained = {unit.ref.key for unit in holder.episode.units}  # the episode may be back at its initial state
        assert set(unpack_file(file).states) == (trained & set(holder.episode.needed_keys) if with_states else set())
        await new.transfer.import_(file)
        assert bool(unpack_file(file).states) == bool(list(kept_models(new)))
        opened = await resume(new, task)
        assert answers + await play(opened, calls[place:]) == straight
        assert digests(opened) == bits
        opened.close()
        with pytest.raises(ResetError, match="was exported and goes on where its file is imported"):
            await resume(old, task)


@pytest.mark.parametrize("with_states", [True, False], ids=["with states", "without states"])
@pytest.mark.parametrize("task", [TUNING, FLEET])
def test_an_episode_that_moves_at_a_drawn_place_goes_on_with_equal_bits(
    serve: Any, run: Run, task: str, with_states: bool
) -> None:
    run(move_at(serve, task, seed=2, with_states=with_states))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(100, 100 + PLACES))
def test_an_episode_that_moves_at_any_place_goes_on_with_equal_bits(serve: Any, run: Run, seed: int) -> None:
    run(move_at(serve, drawn_task(seed), seed, with_states=seed % 4 < 2))


def test_a_fork_moves_without_the_episode_that_it_came_from(serve: Any, run: Run) -> None:
    async def move() -> tuple[list[Any], list[Any]]:
        async with serve("a") as a, serve("b") as b:
            parent = await begin(a, TUNING)
            await play(parent, [("run_epochs", {"num_epochs": 2}), ("run_epochs", {"num_epochs": 1})])
            forks = [await a.registry.open(EpisodeRequest(episode_id=name, fork_from="e@2")) for name in "fs"]
            last: list[Call] = [("run_epochs", {"num_epochs": 1}), ("submit_model", {})]
            straight = await play(forks[1], last)
            await b.transfer.import_(await a.transfer.export("f"))
            moved = await b.registry.open(EpisodeRequest(episode_id="f", resume=True))
            assert moved.header.forked_from == "e@2"
            assert moved.step_count == 0  # the calls of its parent are not its own
            return straight, await play(moved, last)

    straight, moved = run(move())

    assert moved == straight


def test_an_episode_that_has_ended_moves_with_its_grade_and_pays_nothing_again(serve: Any, run: Run) -> None:
    async def move() -> tuple[Any, Any]:
        async with serve("a") as a, serve("b") as b:
            opened = await begin(a, TUNING)
            reply = await opened.call("run_epochs", {"num_epochs": 1})
            reply = await opened.call("submit_model", {})
            await b.transfer.import_(await a.transfer.export("e"))
            moved = await resume(b, TUNING)
            refused = await play(moved, [("run_epochs", {"num_epochs": 1}), ("submit_model", {})])
            assert all(isinstance(answer, str) for answer in refused)
            (listed,) = list_episodes(b.database)
            assert isinstance(listed, EpisodeSummary)
            assert listed.done
            return reply["score"], listed.score

    graded, listed = run(move())

    assert listed == graded


def test_an_episode_moves_there_and_back_with_the_calls_that_were_added(serve: Any, run: Run) -> None:
    calls = drawn_calls(TUNING, random.Random(1))

    async def move() -> tuple[list[Any], list[Any]]:
        async with serve("straight") as services:
            straight = await play(await begin(services, TUNING), calls)
        async with serve("a") as a, serve("b") as b:
            answers = await play(await begin(a, TUNING), calls[:2])
            await b.transfer.import_(await a.transfer.export("e"))
            answers += await play(await resume(b, TUNING), calls[2:4])
            await a.transfer.import_(await b.transfer.export("e", with_states=False))
            return straight, answers + await play(await resume(a, TUNING), calls[4:])

    straight, moved = run(move())

    assert moved == straight


def test_a_session_of_another_process_is_fenced_and_its_call_does_not_count(serve: Any, run: Run) -> None:
    """The command exports from beside a server, whose session learns of it at its next call."""

    async def fence() -> tuple[list[Any], int]:
        async with serve("a") as server, serve("a") as command, serve("b") as new:
            holder = await begin(server, TUNING)
            await holder.call("run_epochs", {"num_epochs": 1})
            file = await command.transfer.export("e")
            refused = await play(holder, [("run_epochs", {"num_epochs": 1}), ("get_training_status", {})])
            await new.transfer.import_(file)
            return refused, len((await resume(new, TUNING)).episode.units)

    refused, units = run(fence())

    assert "this episode was exported; this call does not count" in refused[0]
    assert "this session does not play the episode any more" in refused[1]
    assert units == 1


def test_an_export_can_be_repeated_and_comes_to_the_same(serve: Any, run: Run) -> None:
    async def twice() -> tuple[bytes, bytes]:
        async with serve("a") as services:
            await (await begin(services, TUNING)).call("run_epochs", {"num_epochs": 1})
            export = services.transfer.export
            return await export("e", with_states=False), await export("e", with_states=False)

    first, second = run(twice())

    assert first == second


@pytest.mark.slow
def test_an_episode_moves_from_a_file_to_postgresql_and_back(serve: Any, run: Run, postgresql: Any) -> None:
    calls = drawn_calls(TUNING, random.Random(4))

    async def move() -> tuple[list[Any], list[Any]]:
        async with serve("straight") as services:
            straight = await play(await begin(services, TUNING), calls)
        async with serve("a") as a, serve("b", DATABASE_URL=postgresql.new_database()) as b:
            answers = await play(await begin(a, TUNING), calls[:3])
            await b.transfer.import_(await a.transfer.export("e"))
            answers += await play(await resume(b, TUNING), calls[3:5])
            await a.transfer.import_(await b.transfer.export("e"))
            return straight, answers + await play(await resume(a, TUNING), calls[5:])

    straight, moved = run(move())

    assert moved == straight
