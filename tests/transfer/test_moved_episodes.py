"""A live episode moves to another server between two calls, and goes on with equal bits."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet_play import Run

from ml_trainer_env.server.episodes.errors import EpisodeError, ResetError
from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.episodes.registry import EpisodeRequest
from ml_trainer_env.server.executors.contract import Executor
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.services import Services
from ml_trainer_env.server.store import ExportError, NoSuchEpisodeError
from ml_trainer_env.server.store.episode_file import EpisodeFileError, unpack_file
from ml_trainer_env.server.trainer.errors import ConfigError

Call = tuple[str, dict[str, Any]]

PLACES = 50
"""Places of the long run, half of them in each game."""

TUNING = "tuning/train/11"
FLEET = "fleet_sticky_node"


def tuning_calls(source: random.Random) -> list[Call]:
    """An episode with checkpoints, changes of the optimizer, refused calls and calls that only read."""
    choices: list[Call] = [
        ("run_epochs", {"num_epochs": source.randint(1, 2)}),
        ("run_epochs", {"num_epochs": 1}),
        ("configure_training", {"optimizer": source.choice(["sgd", "adam", "lion"]), "dropout": 0.1}),
        ("configure_training", {"lr_schedule": "cosine", "learning_rate": 0.01}),
        ("adjust_learning_rate", {"new_lr": source.choice([0.003, -1.0])}),
        ("save_checkpoint", {"name": source.choice("ab")}),
        ("restore_checkpoint", {"name": source.choice("ab")}),
        ("get_training_status", {}),
    ]
    return [("run_epochs", {"num_epochs": 1}), *source.choices(choices, k=6), ("submit_model", {})]


def fleet_calls(source: random.Random) -> list[Call]:
    """An episode with restarts from checkpoints, actions on nodes, refused calls and calls that only read."""
    choices: list[Call] = [
        ("run_steps", {"num_steps": source.randint(1, 6)}),
        ("run_steps", {"num_steps": 4}),
        ("restart", {"checkpoint": source.choice(["newest", "step-0", "nowhere"])}),
        ("inspect", {"kind": "node", "id": "1"}),
        ("set_node", {"node": source.randint(0, 9), "action": source.choice(["replace", "drain"])}),
        ("set_training", {"checkpoint_every": 4}),
        ("query_metrics", {"metric": "loss"}),
    ]
    return [("run_steps", {"num_steps": 5}), *source.choices(choices, k=6), ("run_steps", {"num_steps": 3})]


GAMES = {TUNING: tuning_calls, FLEET: fleet_calls}


async def begin(services: Services, task: str, **request: Any) -> OpenEpisode:
    return await services.registry_of(task).open(EpisodeRequest(task_id=task, seed=3, episode_id="e", **request))


async def resume(services: Services, task: str) -> OpenEpisode:
    return await services.registry_of(task).open(EpisodeRequest(episode_id="e", resume=True))


async def play(opened: OpenEpisode, calls: list[Call]) -> list[Any]:
    """The answers to some calls, without what a clock measured and what a cache may change."""
    answers: list[Any] = []
    for tool, arguments in calls:
        try:
            answers.append(_plain(await opened.call(tool, arguments)))
        except (EpisodeError, ConfigError) as refusal:
            answers.append(str(refusal))
    return answers


def _plain(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {key: _plain(answer[key]) for key in answer if key not in {"from_cache", "epoch_time_s"}}
    return [_plain(one) for one in answer] if isinstance(answer, list) else answer


def digests(opened: OpenEpisode) -> list[Any]:
    return [(unit.ref.digest, repr(unit.figures)) for unit in opened.episode.units]


def kept_models(services: Services) -> Iterator[Path]:
    return (Path(services.database.name).parent / "states").glob("*/*.safetensors")


async def move_at(serve: Any, task: str, seed: int, with_states: bool) -> None:
    """Play an episode straight, and again with a move at a drawn place, and compare everything."""
    source = random.Random(seed)
    calls = GAMES[task](source)
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
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(100, 100 + PLACES))
def test_an_episode_that_moves_at_any_place_goes_on_with_equal_bits(serve: Any, run: Run, seed: int) -> None:
    run(move_at(serve, [TUNING, FLEET][seed % 2], seed, with_states=seed % 4 < 2))


def test_an_episode_moves_there_and_back_with_the_calls_that_were_added(serve: Any, run: Run) -> None:
    calls = tuning_calls(random.Random(1))

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


def test_a_file_of_which_any_byte_changed_is_refused_and_nothing_is_recorded(serve: Any, run: Run) -> None:
    async def damage() -> None:
        async with serve("a") as a, serve("b") as b:
            await (await begin(a, TUNING)).call("run_epochs", {"num_epochs": 1})
            file = await a.transfer.export("e")
            source = random.Random(7)
            places = [0, 19, 30, 90, len(file) - 1, *(source.randrange(len(file)) for _ in range(40))]
            copies = [file[:place] + bytes([file[place] ^ 1]) + file[place + 1 :] for place in places]
            for copy in [*copies, file[:-1], file + b"\n", b""]:
                with pytest.raises(EpisodeFileError, match=r"damaged|version|not the file"):
                    await b.transfer.import_(copy)
            with pytest.raises(NoSuchEpisodeError):
                await b.transfer.export("e")

    run(damage())


class OtherBatch(Executor):
    """An executor of another identity. It runs nothing."""

    ready, trouble, waiting, busy, worker_deaths = True, None, 0, 0, 0

    async def identity(self) -> Identity:
        return Identity({"evaluation_batch": "128"})


def test_a_file_of_another_identity_is_refused_with_the_facts_that_differ(serve: Any, run: Run) -> None:
    async def refuse() -> None:
        async with serve("a") as a, serve("b", OtherBatch()) as b:
            await (await begin(a, TUNING)).call("run_epochs", {"num_epochs": 1})
            file = await a.transfer.export("e")
            with pytest.raises(ExportError, match=r"another identity .* evaluation_batch was 64, is 128"):
                await b.transfer.import_(file)
            await a.transfer.import_(file)  # nothing was lost
            assert len((await resume(a, TUNING)).episode.units) == 1

    run(refuse())


def test_an_episode_that_is_played_here_is_not_replaced_by_a_file(serve: Any, run: Run) -> None:
    async def refuse() -> None:
        async with serve("a") as a, serve("b") as b:
            opened = await begin(a, TUNING)
            await opened.call("run_epochs", {"num_epochs": 1})
            early = await a.transfer.export("e")
            await a.transfer.import_(early)
            with pytest.raises(ExportError, match="that was not exported"):
                await a.transfer.import_(early)
            await (await resume(a, TUNING)).call("run_epochs", {"num_epochs": 1})
            late = await a.transfer.export("e")
            with pytest.raises(ExportError, match="the file is older"):
                await a.transfer.import_(early)
            await b.transfer.import_(early)
            await (await resume(b, TUNING)).call("get_training_status", {})
            other = await b.transfer.export("e")
            with pytest.raises(ExportError, match="differs from this journal in call 2"):
                await a.transfer.import_(other)
            await a.transfer.import_(late)
            assert len((await resume(a, TUNING)).episode.units) == 2

    run(refuse())


def test_an_episode_of_a_ranked_run_is_not_exported_and_none_is_imported_into_one(serve: Any, run: Run) -> None:
    async def refuse() -> None:
        async with serve("a") as a, serve("r", RANKED="0123456789abcdef") as ranked:
            task = str(ranked.registry.game.task_row(ranked.registry.game.splits[0], 0)["id"])
            await ranked.registry.open(EpisodeRequest(task_id=task, episode_id="r"))
            with pytest.raises(ExportError, match="belongs to a ranked run"):
                await ranked.transfer.export("r")
            await begin(a, TUNING)
            with pytest.raises(ExportError, match="this server is ranked"):
                await ranked.transfer.import_(await a.transfer.export("e"))

    run(refuse())


@pytest.mark.slow
def test_an_episode_moves_from_a_file_to_postgresql_and_back(serve: Any, run: Run, postgresql: Any) -> None:
    calls = tuning_calls(random.Random(4))

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
