"""A name belongs to its episode as soon as the first epochs are being trained, and as long as their server lives."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ml_trainer_env.server.episodes.errors import EpisodeError, ResetError

Serve = Callable[..., Any]


async def training(server: Any, opened: Any) -> "asyncio.Task[Any]":
    """A first call of run_epochs that is under way."""
    server.executor.hold.clear()
    before = server.executor.trained
    call = asyncio.create_task(opened.call("run_epochs", {"num_epochs": 2}))
    while server.executor.trained == before:
        await asyncio.sleep(0.001)
    return call


@pytest.mark.parametrize("elsewhere", [False, True], ids=["on the same server", "on another server"])
@pytest.mark.parametrize("request_", [{}, {"fork_from": "parent"}], ids=["reset", "fork"])
def test_a_name_is_taken_while_its_first_epochs_are_trained(
    serve: Serve, elsewhere: bool, request_: dict[str, Any]
) -> None:
    async def play() -> tuple[int, int]:
        async with serve() as server, serve() as other:
            await (await server.open(episode_id="parent")).call("run_epochs", {"num_epochs": 1})
            opened = await server.open(episode_id="e")
            call = await training(server, opened)
            with pytest.raises(ResetError, match="'e' whose first epochs are being trained: go on with it by resume"):
                await (other if elsewhere else server).open(episode_id="e", **request_)
            server.executor.hold.set()
            reply = await call
            with pytest.raises(ResetError, match="'e' with 2 epochs"):
                await server.open(episode_id="e", **request_)
            return reply["current_epoch"], len((await server.journal.load("e")).calls)

    assert asyncio.run(play()) == (2, 1)


def test_a_name_is_free_again_when_the_first_call_was_refused(serve: Serve) -> None:
    async def play() -> int:
        async with serve() as server:
            opened = await server.open(episode_id="e", seed=1)
            with pytest.raises(Exception, match="num_epochs must be"):
                await opened.call("run_epochs", {"num_epochs": 0})
            return (await server.open(episode_id="e", seed=2)).header.seed

    assert asyncio.run(play()) == 2


def test_a_look_meanwhile_does_not_free_the_name(serve: Serve) -> None:
    async def play() -> None:
        async with serve() as server:
            opened = await server.open(episode_id="e")
            call = await training(server, opened)
            await opened.call("get_training_status", {})
            with pytest.raises(ResetError, match="are being trained"):
                await server.open(episode_id="e")
            server.executor.hold.set()
            await call

    asyncio.run(play())


def test_a_name_is_free_again_when_the_server_that_was_training_is_gone(serve: Serve) -> None:
    async def play() -> int:
        async with serve() as gone, serve() as server:
            call = await training(gone, await gone.open(episode_id="e", seed=1))
            gone.database.presence.close()  # as the system does when a process ends
            seed = (await server.open(episode_id="e", seed=2)).header.seed
            gone.executor.hold.set()
            with pytest.raises(EpisodeError, match="this call does not count"):
                await call
            return seed

    assert asyncio.run(play()) == 2


def test_who_lost_a_name_before_the_first_epoch_is_told_before_anything_is_trained(serve: Serve) -> None:
    async def play() -> int:
        async with serve() as server:
            first = await server.open(episode_id="e", seed=1)
            await server.open(episode_id="e", seed=2)
            with pytest.raises(EpisodeError, match="another session has taken this episode over"):
                await first.call("run_epochs", {"num_epochs": 2})
            return server.executor.trained

    assert asyncio.run(play()) == 0
