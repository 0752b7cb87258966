"""States that are lost while their episode is open are computed again, wherever in a call they were made."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ml_trainer_env.server.episodes.units import LiveSource

Serve = Callable[..., Any]


@pytest.mark.parametrize("calls", [(1, 1, 1), (3,), (2, 4), (5, 1)])
def test_training_goes_on_from_a_lost_state_as_from_one_that_was_kept(serve: Serve, calls: Sequence[int]) -> None:
    async def play(folder: str, *, loses: bool) -> tuple[list[str], int]:
        async with serve(folder) as server:
            opened = await server.open(seed=1)
            for epochs in calls:
                await opened.call("run_epochs", {"num_epochs": epochs})
            if loses:
                opened.episode.source = LiveSource(server.executor)  # it has no store, so nothing is kept of before
            await opened.call("run_epochs", {"num_epochs": 2})
            return [record.trained.ref.digest for record in opened.episode.history.records], server.executor.trained

    kept, trained = asyncio.run(play("kept", loses=False))
    found, again = asyncio.run(play("lost", loses=True))

    assert found == kept
    assert (trained, again) == (sum(calls) + 2, 2 * sum(calls) + 2)
