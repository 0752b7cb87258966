"""Episodes whose epochs come out as a test writes them down.

`ScriptedExecutor` keeps the executor contract without training: rules, rewards and budgets can be
seen one by one, in microseconds. That real training obeys the same rules is shown in `tests/server`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from ml_trainer_env.server.datasets import Source, TaskImages
from ml_trainer_env.server.episodes.episode import Episode, TimeLimits
from ml_trainer_env.server.executors.contract import EpochJob, EpochResult, ExecutorError, HeldOutJob
from ml_trainer_env.server.tasks.definitions import TASKS
from ml_trainer_env.server.tasks.grading import RubricVersion
from ml_trainer_env.server.trainer.metrics import EpochMetrics
from ml_trainer_env.server.trainer.state import TrainingState

Reply = dict[str, Any]


def epoch(
    val_accuracy: float = 0.5, val_loss: float = 1.0, train_accuracy: float | None = None, train_loss: float = 1.0
) -> EpochMetrics:
    """The figures of an epoch; it has diverged if its training loss says so."""
    return EpochMetrics(
        train_loss=train_loss,
        train_accuracy=val_accuracy if train_accuracy is None else train_accuracy,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        learning_rate=0.001,
        diverged=not train_loss <= 100,
    )


@dataclass
class ScriptedExecutor:
    """Gives the figures of its script in order, the last ones again and again."""

    script: Sequence[EpochMetrics | ExecutorError]
    jobs: list[EpochJob] = field(default_factory=list)
    epoch_s: float = 0.0

    async def start(self) -> None: ...

    async def run_epoch(self, job: EpochJob, timeout_s: float) -> EpochResult:
        await asyncio.sleep(self.epoch_s)
        outcome = self.script[min(len(self.jobs), len(self.script) - 1)]
        self.jobs.append(job)
        if isinstance(outcome, ExecutorError):
            raise outcome
        start, optimizer = job.state, str(job.config.optimizer)
        weights = {"weight": np.array([len(self.jobs)], np.float32)}
        return EpochResult(
            TrainingState(start.network, weights, {}, optimizer, start.epoch + 1, start.seed), outcome, 0.25
        )

    async def held_out_accuracy(self, job: HeldOutJob, timeout_s: float) -> float:
        return 0.4321

    async def close(self) -> None: ...


@dataclass
class Play:
    """An episode and the executor it trains on; calls run to their end at once."""

    episode: Episode
    executor: ScriptedExecutor

    def __call__(self, act: Callable[[Episode], Awaitable[Reply]]) -> Reply:
        async def run() -> Reply:
            return await act(self.episode)

        return asyncio.run(run())

    def run(self, epochs: int) -> Reply:
        return self(lambda e: e.run_epochs(epochs))

    def configure(self, reinitialize: bool = False, **changes: object) -> Reply:
        return self(lambda e: e.configure(changes, reinitialize))

    def submit(self) -> Reply:
        return self(lambda e: e.submit())

    def status(self) -> Reply:
        return self(lambda e: e.status())


Begin = Callable[..., Play]


@pytest.fixture
def begin() -> Begin:
    """Begin an episode with a script of epochs."""

    def make(
        *script: EpochMetrics | ExecutorError,
        task: str = "easy_mnist",
        rubric: str = "v1",
        call_s: float = 60.0,
        epoch_s: float = 0.0,
    ) -> Play:
        executor = ScriptedExecutor(script or [epoch()], epoch_s=epoch_s)
        nothing, labels = np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.int64)
        images = TaskImages(nothing, labels, nothing, labels, nothing, labels, Source.BUNDLED, "checksum")
        return Play(
            Episode(
                episode_id="e",
                task=TASKS[task],
                images=images,
                seed=1,
                rubric=RubricVersion(rubric),
                executor=executor,
                limits=TimeLimits(epoch_s=60.0, call_s=call_s),
            ),
            executor,
        )

    return make


@pytest.fixture(name="epoch")
def epoch_fixture() -> Callable[..., EpochMetrics]:
    return epoch
