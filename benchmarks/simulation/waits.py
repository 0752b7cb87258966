"""Epochs that only wait, so that several workers of one machine do not compete for its processors.

All else is real: the state has the size of the task's, it is hashed, sent, kept and recorded. The first epoch from
drawn weights is trained, so that there is a state.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ml_trainer_env.server.executors.contract import Executor, OnUnit, OnWait, ignore_unit, wait_quietly
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.job import Job, UnitResult
from ml_trainer_env.server.trainer.arrays import Outcome, State
from ml_trainer_env.server.trainer.errors import Interrupted
from ml_trainer_env.server.trainer.metrics import EpochMetrics
from ml_trainer_env.server.trainer.state import TrainingState, weights_hash

__all__ = ["Wait", "WaitingExecutor", "wait_epoch"]

SLICE_S = 0.02
"""Longest wait before the worker reads its messages, in seconds; an epoch's batch takes as long."""

_FIGURES = EpochMetrics(0.5, 0.8, 0.6, 0.75, 0.001, False, 2.3, 1.0, 0.001, 0.0).to_figures()


@dataclass(frozen=True, slots=True)
class Wait:
    """Settings of an epoch that waits.

    Attributes:
        seconds: Length of the epoch.
        settings: Settings of the epoch that is trained in its place if the weights are not drawn yet.
    """

    seconds: float
    settings: Any


def wait_epoch(state: State, wait: Wait, data: Any, interrupted: Callable[[], bool]) -> Outcome:
    """Wait, and return a state of the same size. A job function, as `trainer.jobs.train_epoch`."""
    if not state.arrays:
        from ml_trainer_env.server.trainer.jobs import train_epoch  # late: it imports torch, which the server does not

        return train_epoch(state, wait.settings, data, interrupted)
    ends_at = time.perf_counter() + wait.seconds
    while (left_s := ends_at - time.perf_counter()) > 0:
        if interrupted():
            raise Interrupted
        time.sleep(min(left_s, SLICE_S))
    arrays = {name: array.copy() for name, array in state.arrays.items()}
    after = State(arrays, {**state.facts, "epoch": str(int(state.facts["epoch"]) + 1)})
    return Outcome(after, _FIGURES, partial(weights_hash, TrainingState.from_state(after)))


class WaitingExecutor:
    """An executor whose epochs wait. Everything else is that of the executor beneath.

    Args:
        executor: The executor beneath. Its workers must be able to import this module.
        seconds: Length of an epoch.
    """

    def __init__(self, executor: Executor, seconds: float) -> None:
        self._executor = executor
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    async def identity(self) -> Identity:
        """Return the identity of the executor beneath."""
        return await self._executor.identity()

    async def lane(self, key: str | None = None) -> Executor:
        """Return this executor: its workers have one identity."""
        return self

    async def run(
        self, job: Job, timeout_s: float, on_wait: OnWait = wait_quietly, on_unit: OnUnit = ignore_unit
    ) -> tuple[UnitResult, ...]:
        """Run a job. Its epochs wait; other units are carried out."""
        if job.function.endswith(":train_epoch"):
            settings = Wait(self._seconds, job.settings)
            job = replace(job, function="simulation.waits:wait_epoch", settings=settings)
        return await self._executor.run(job, timeout_s, on_wait, on_unit)
