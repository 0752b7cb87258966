"""What was written down gives the episode again: also with calls beside the training, interruptions and bugs."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.tuning.rules import CURRENT_RULES

Serve = Callable[..., Any]
RUN_20 = ("run_epochs", {"num_epochs": 20})
LAST = CURRENT_RULES.call_limits.calls or 0


async def looks(opened: Any, number: int) -> None:
    for _ in range(number):
        await opened.call("get_training_status", {})


@pytest.mark.slow
@pytest.mark.parametrize("before", range(LAST - 2, LAST))
def test_a_call_refused_during_training_comes_after_it_where_calls_run_out(serve: Serve, before: int) -> None:
    async def play() -> tuple[dict[str, Any], dict[str, Any]]:
        async with serve() as server:
            opened = await server.open(episode_id="e")
            await opened.call("run_epochs", {"num_epochs": 1})
            await looks(opened, before - 2)
            server.executor.hold.clear()
            training = asyncio.create_task(opened.call(*RUN_20))
            while not server.executor.trained > 1 and not training.done():
                await asyncio.sleep(0)
                server.executor.hold.set() if opened.episode.done else None
            refusing = asyncio.create_task(opened.refuse("run_epochs", {"epochs": 1}, "no such parameter"))
            await asyncio.sleep(0.01)
            server.executor.hold.set()
            await training
            with contextlib.suppress(EpisodeError):
                await refusing
            live = opened.episode
            resumed = await server.open(episode_id="e", resume=True)
            return (
                {"done": live.done, "epochs": live.history.epochs, "hash": live.state_hash},
                {
                    "done": resumed.episode.done,
                    "epochs": resumed.episode.history.epochs,
                    "hash": resumed.episode.state_hash,
                },
            )

    live, resumed = asyncio.run(play())

    assert resumed == live


@pytest.mark.slow
def test_however_many_calls_are_refused_the_episode_comes_back_and_ends_with_the_next_call(serve: Serve) -> None:
    async def play() -> tuple[dict[str, Any], bool]:
        async with serve() as server:
            opened = await server.open(episode_id="e")
            await opened.call("run_epochs", {"num_epochs": 1})
            for _ in range(LAST + 5):
                await opened.refuse("no_such_tool", {}, "there is no such tool")
            last = await opened.call("get_training_status", {})
            return last, (await server.open(episode_id="e", resume=True)).episode.done

    last, done = asyncio.run(play())

    assert last["done"]
    assert done
    assert f"call {LAST} of any kind" in last["message"]


def test_a_call_cancelled_before_it_trains_trains_nothing(serve: Serve) -> None:
    async def play() -> int:
        async with serve() as server:
            opened = await server.open(episode_id="e")
            reserving = asyncio.Event()
            reserve = server.journal.reserve

            async def slowly(ownership: Any) -> None:
                reserving.set()
                await asyncio.sleep(0.05)
                await reserve(ownership)

            server.registry._journal.reserve = slowly
            call = asyncio.create_task(opened.call(*RUN_20))
            await reserving.wait()
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
            await opened.retire("the test is over")
            return int(opened.episode.history.epochs)

    assert asyncio.run(play()) == 0


def test_an_interruption_is_of_one_call(serve: Serve) -> None:
    async def play() -> int:
        async with serve() as server:
            opened = await server.open(episode_id="e")
            opened.interrupt("nothing is under way")
            reply = await opened.call("run_epochs", {"num_epochs": 2})
            return int(reply["current_epoch"])

    assert asyncio.run(play()) == 2


def test_epochs_before_a_bug_stay_spent(serve: Serve) -> None:
    async def play() -> tuple[int, int]:
        async with serve() as server:
            opened = await server.open(episode_id="e")
            train = server.executor.run_epoch

            async def breaks(*arguments: Any) -> Any:
                if server.executor.trained == 3:
                    raise RuntimeError("a bug")
                return await train(*arguments)

            server.executor.run_epoch = breaks
            with pytest.raises(RuntimeError, match="a bug"):
                await opened.call("run_epochs", {"num_epochs": 5})
            resumed = await server.open(episode_id="e", resume=True)
            return opened.episode.history.epochs, resumed.episode.history.epochs

    assert asyncio.run(play()) == (3, 3)


def test_of_sessions_that_resume_at_once_the_last_one_plays_and_the_next_one_finds_it(serve: Serve) -> None:
    async def play() -> list[bool]:
        async with serve() as server:
            first = await server.open(episode_id="e")
            await first.call("run_epochs", {"num_epochs": 1})
            opened = await asyncio.gather(*(server.open(episode_id="e", resume=True) for _ in range(5)))
            return [first.is_closed, *(one.is_closed for one in opened)]

    gone = asyncio.run(play())

    assert gone.count(False) == 1


def test_a_resume_that_fails_leaves_nobody_holding_the_episode(serve: Serve) -> None:
    async def play() -> int:
        async with serve() as server:
            opened = await server.open(episode_id="e")
            await opened.call("run_epochs", {"num_epochs": 1})

            async def broken(*_: Any) -> Any:
                raise RuntimeError("no episode")

            server.registry.recreate = broken
            with pytest.raises(RuntimeError, match="no episode"):
                await server.open(episode_id="e", resume=True)
            await server.database.write(lambda _: None)  # after whatever waits to be written
            return int(
                await server.database.read(
                    lambda connection: connection.exec_driver_sql("SELECT count(*) FROM holds").scalar_one()
                )
            )

    assert asyncio.run(play()) == 0
