"""Sessions that want the same units share them, however many each of them wants."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

Serve = Callable[..., Any]


@pytest.mark.parametrize("demands", [(2, 5), (5, 2), (3, 3), (1, 4)])
def test_sessions_with_different_demands_share_a_run(serve: Serve, demands: tuple[int, int]) -> None:
    async def play() -> tuple[list[str], int]:
        async with serve() as server:
            opened = [await server.open(seed=1) for _ in demands]
            calls = [one.call("run_epochs", {"num_epochs": n}) for one, n in zip(opened, demands, strict=True)]
            await asyncio.gather(*calls)
            paths = [[r.trained.ref.digest for r in one.episode.history.records] for one in opened]
            assert [len(path) for path in paths] == list(demands)
            assert paths[0][: min(demands)] == paths[1][: min(demands)]
            sources = [[r.trained.from_cache for r in one.episode.history.records] for one in opened]
            shared = zip(*(source[: min(demands)] for source in sources), strict=True)
            assert all(sorted(pair) == [False, True] for pair in shared)
            return paths[0], server.executor.trained

    assert asyncio.run(play())[1] == max(demands)


@pytest.mark.parametrize("leaver", [0, 1])
def test_a_run_goes_on_for_those_who_stay(serve: Serve, leaver: int) -> None:
    async def play() -> tuple[int, int]:
        async with serve() as server:
            opened = [await server.open(seed=1) for _ in range(2)]
            server.executor.hold.clear()
            calls = [asyncio.create_task(one.call("run_epochs", {"num_epochs": 4})) for one in opened]
            while not server.executor.trained:
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            calls[leaver].cancel()
            with pytest.raises(asyncio.CancelledError):
                await calls[leaver]
            server.executor.hold.set()
            reply = await calls[1 - leaver]
            return reply["current_epoch"], server.executor.trained

    assert asyncio.run(play()) == (4, 4)
