"""An executor whose epochs a test writes in Python: typed values on the inside, the executor contract on the outside.

class Canned(EpochExecutor):
async def run_epoch(self, job, timeout_s, on_wait) -> EpochResult: ...
"""

import asyncio
from dataclasses import dataclass

from ml_trainer_env.server.datasets import Permutation
from ml_trainer_env.server.executors.contract import Executor, OnUnit, OnWait, ignore_unit, wait_quietly
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.job import Job, UnitResult
from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.examples import Examples, PermutedExamples
from ml_trainer_env.server.trainer.metrics import EpochMetrics
from ml_trainer_env.server.trainer.schedules import LearningRatePlan
from ml_trainer_env.server.trainer.state import FreshState, TrainingState, weights_hash

__all__ = ["EpochExecutor", "EpochJob", "EpochResult", "HeldOutJob", "held_out_job", "typed_job", "typed_state"]


@dataclass(frozen=True, slots=True, eq=False)
class EpochJob:
    """The first epoch of a job, as its engine sees it."""

    state: TrainingState | FreshState
    config: TrainingConfig
    plan: LearningRatePlan
    data: Examples
    permutation: Permutation | None = None


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutJob:
    """A measurement, as its engine sees it."""

    state: TrainingState
    data: Examples
    permutation: Permutation | None = None


@dataclass(frozen=True, slots=True, eq=False)
class EpochResult:
    """An epoch's result, as its engine gives it."""

    state: TrainingState
    metrics: EpochMetrics
    seconds: float
    identity: str


def typed_state(job: Job) -> TrainingState | FreshState:
    is_trained = "optimizer_kind" in job.state.facts
    return TrainingState.from_state(job.state) if is_trained else FreshState.from_state(job.state)


def typed_job(job: Job) -> EpochJob:
    return EpochJob(typed_state(job), job.settings.config, job.settings.plan, *_split(job))


def held_out_job(job: Job) -> HeldOutJob:
    return HeldOutJob(TrainingState.from_state(job.state), *_split(job))


def _split(job: Job) -> tuple[Examples, Permutation | None]:
    data = job.data
    return (data.base, data.permutation) if isinstance(data, PermutedExamples) else (data, None)


class EpochExecutor:
    """Keeps the executor contract with epochs of its subclass's making."""

    ready = True
    waiting = busy = worker_deaths = 0
    trouble: str | None = None

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def identity(self) -> Identity:
        raise NotImplementedError

    async def lane(self, key: str | None = None) -> Executor:
        return self

    async def run_epoch(self, job: EpochJob, timeout_s: float, on_wait: OnWait) -> EpochResult:
        raise NotImplementedError

    async def held_out_accuracy(self, job: HeldOutJob, timeout_s: float, on_wait: OnWait) -> float:
        raise NotImplementedError

    async def run(
        self, job: Job, timeout_s: float, on_wait: OnWait = wait_quietly, on_unit: OnUnit = ignore_unit
    ) -> tuple[UnitResult, ...]:
        if not job.function.endswith(":train_epoch"):
            accuracy = await self.held_out_accuracy(held_out_job(job), timeout_s, on_wait)
            figures = {"test_accuracy": accuracy}
            if job.function.endswith(":measure_hidden"):
                figures = {f"{job.settings}_accuracy": accuracy, f"{job.settings}_loss": 2.0 - accuracy}
            return (UnitResult(None, figures, "", 0.0, (await self.identity()).key, ends=True),)
        results: list[UnitResult] = []
        while len(results) < job.units:
            epoch = await self.run_epoch(typed_job(job.after(results)), timeout_s, on_wait)
            state, metrics = epoch.state, epoch.metrics
            results.append(
                UnitResult(
                    state.to_state(),
                    metrics.to_figures(),
                    weights_hash(state),
                    epoch.seconds,
                    epoch.identity,
                    ends=metrics.diverged,
                )
            )
            on_unit(results[-1])
            for _ in range(10):  # an epoch takes time, so its caller has its result before the next one ends
                await asyncio.sleep(0)
            if metrics.diverged:
                break
        return tuple(results)
