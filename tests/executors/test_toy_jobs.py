"""Executors know jobs alone: an engine that counts runs on both of them."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.executors.job import Job
from ml_trainer_env.server.executors.pool import ProcessPoolExecutor
from ml_trainer_env.server.trainer.arrays import State

Run = Callable[[Awaitable[Any]], Any]
LIMIT_S = 60.0


@pytest.mark.slow
@pytest.mark.parametrize("make", [InProcessExecutor, ProcessPoolExecutor])
def test_a_counter_is_trained_with_its_options(run: Run, make: Callable[..., Any]) -> None:
    from toy_jobs import Steps

    async def play() -> None:
        executor = make(torch_threads=1, probe="toy_jobs:probe", options={"factor": 2})
        try:
            job = Job("toy_jobs:count", "toy_jobs:prepare", State({}, {"start": "1"}), 9, Steps("1"), units=10)
            results = await executor.run(job, LIMIT_S)
            identity = await executor.identity()
            assert [result.figures["value"] for result in results] == [3, 5, 7, 9]
            assert [result.digest for result in results] == ["3", "5", "7", "9"]
            assert [result.ends for result in results] == [False, False, False, True]
            assert (identity.facts["probe"], identity.facts["factor"]) == ("counts", "2")
            assert {result.identity for result in results} == {identity.key}
        finally:
            await executor.close()

    run(play())
