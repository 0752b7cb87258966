"""A file that is damaged, older, of another identity or of a ranked run is refused, and nothing is recorded."""

import random
from dataclasses import replace
from typing import Any

import pytest
from fleet_play import Run
from moved_play import TUNING, Call, begin, play, resume

from ml_trainer_env.server.episodes.registry import EpisodeRequest
from ml_trainer_env.server.executors.contract import Executor
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.store import ExportError, NoSuchEpisodeError
from ml_trainer_env.server.store.episode_file import EpisodeFile, EpisodeFileError, pack_file, unpack_file
from ml_trainer_env.server.store.states import pack_state, unpack_state
from ml_trainer_env.server.trainer.arrays import State


def test_a_file_is_imported_only_where_its_task_is_known(serve: Any, run: Run) -> None:
    async def refuse() -> None:
        async with serve("a") as a, serve("b") as b:
            await begin(a, TUNING)
            file = unpack_file(await a.transfer.export("e"))
            header = replace(file.episode.header, task="chess/train/1")
            unknown = replace(file, episode=replace(file.episode, header=header))
            with pytest.raises(ExportError, match="no game of this server has the task 'chess/train/1'"):
                await b.transfer.import_(pack_file(unknown))

    run(refuse())


def test_verifying_finds_figures_that_were_made_up(serve: Any, run: Run) -> None:
    """The checksum of a file says nothing about who wrote it. Training again does."""

    async def verify() -> None:
        async with serve("a") as a, serve("b") as b:
            opened = await begin(a, TUNING)
            await opened.call("run_epochs", {"num_epochs": 1})
            content = await a.transfer.export("e")
            forged = with_first_digest(unpack_file(content), "0" * 64)
            with pytest.raises(ExportError, match="came out different: weights_hash of epoch 1 is '0000"):
                await b.transfer.import_(pack_file(forged), verify=True)
            with pytest.raises(NoSuchEpisodeError):
                await b.transfer.export("e")
            await b.transfer.import_(content, verify=True)

    run(verify())


def with_first_digest(file: EpisodeFile, digest: str) -> EpisodeFile:
    """The file of an episode whose first call ends in other weights than it was recorded with."""
    call, *rest = file.episode.calls
    unit = call.units[0]
    units = (replace(unit, figures=replace(unit.figures, digest=digest)), *call.units[1:])
    reply = {**(call.reply or {}), "weights_hash": digest}
    first = replace(call, reply=reply, units=units, weights_hash=digest)
    return replace(file, episode=replace(file.episode, calls=(first, *rest)))


def test_a_model_of_a_file_that_is_not_the_recorded_one_is_not_used(serve: Any, run: Run) -> None:
    """Nor does it come to other episodes that share its key: it is trained again."""

    async def move() -> tuple[list[Any], list[Any]]:
        calls: list[Call] = [("run_epochs", {"num_epochs": 1})] * 2
        async with serve("straight") as services:
            straight = await play(await begin(services, TUNING), calls)
        async with serve("a") as a, serve("b") as b:
            answers = await play(await begin(a, TUNING), calls[:1])
            file = unpack_file(await a.transfer.export("e"))
            ((key, content),) = file.states.items()
            state = unpack_state(content)
            other = State({name: array * 0 for name, array in state.arrays.items()}, state.facts)
            await b.transfer.import_(pack_file(replace(file, states={key: pack_state(other)})))
            return straight, answers + await play(await resume(b, TUNING), calls[1:])

    straight, moved = run(move())

    assert moved == straight


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

    async def lane(self, key: str | None = None) -> Executor:
        return self


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
