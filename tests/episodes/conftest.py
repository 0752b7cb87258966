"""Episodes whose epochs come out as a test writes them down.

`ScriptedExecutor` keeps the executor contract without training: rules, rewards and budgets can be
seen one by one, in microseconds. That real training obeys the same rules is shown in `tests/server`.
"""

import asyncio
import hashlib
import json
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from epoch_executor import EpochExecutor, EpochJob, EpochResult, HeldOutJob

from ml_trainer_env.server.datasets import DataSettings, Source, TaskExamples
from ml_trainer_env.server.episodes.game import TimeLimits
from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.episodes.registry import EpisodeRegistry, EpisodeRequest
from ml_trainer_env.server.episodes.units import LiveSource
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.operations.metrics import Telemetry
from ml_trainer_env.server.store import Database, Journal, StateStore, UnitStore
from ml_trainer_env.server.trainer.metrics import EpochMetrics
from ml_trainer_env.server.trainer.state import FreshState, TrainingState
from ml_trainer_env.server.tuning.episode import TuningEpisode
from ml_trainer_env.server.tuning.game import TuningGame
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.named_tasks import TASKS

Reply = dict[str, Any]

IDENTITY = Identity({"engine": "pure"})


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
class ScriptedExecutor(EpochExecutor):
    """Gives the figures of its script in order, the last ones again and again."""

    script: Sequence[EpochMetrics | ExecutorError]
    jobs: list[EpochJob] = field(default_factory=list)
    epoch_s: float = 0.0
    seconds: float = 0.25
    held_out: float | ExecutorError = 0.4321
    measured: list[HeldOutJob] = field(default_factory=list)

    async def start(self) -> None: ...

    async def identity(self) -> Identity:
        return IDENTITY

    async def run_epoch(self, job: EpochJob, timeout_s: float, on_wait: object = None) -> EpochResult:
        await asyncio.sleep(self.epoch_s)
        outcome = self.script[min(len(self.jobs), len(self.script) - 1)]
        self.jobs.append(job)
        if isinstance(outcome, ExecutorError):
            raise outcome
        start, optimizer = job.state, str(job.config.optimizer)
        weights = {"weight": np.array([len(self.jobs)], np.float32)}
        state = TrainingState(start.network, weights, {}, optimizer, start.epoch + 1, start.seed)
        return EpochResult(state, outcome, self.seconds, IDENTITY.key)

    async def held_out_accuracy(self, job: HeldOutJob, timeout_s: float, on_wait: object = None) -> float:
        self.measured.append(job)
        if isinstance(self.held_out, ExecutorError):
            raise self.held_out
        return self.held_out

    async def close(self) -> None: ...


@dataclass
class Play:
    """An episode and the executor it trains on; calls run to their end at once."""

    episode: TuningEpisode
    executor: ScriptedExecutor

    def __call__(self, act: Callable[[TuningEpisode], Awaitable[Reply]]) -> Reply:
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
        seconds: float = 0.25,
        held_out: float | ExecutorError = 0.4321,
        seed: int = 1,
    ) -> Play:
        executor = ScriptedExecutor(script or [epoch()], epoch_s=epoch_s, seconds=seconds, held_out=held_out)
        nothing, labels = np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.int64)
        images = TaskExamples(nothing, labels, nothing, labels, nothing, labels, Source.BUNDLED, "checksum")
        return Play(
            TuningEpisode(
                name="e",
                task=TASKS[task],
                examples=images,
                seed=seed,
                rubric=RubricVersion(rubric),
                source=LiveSource(executor),
                limits=TimeLimits(unit_s=60.0, call_s=call_s),
            ),
            executor,
        )

    return make


@pytest.fixture(name="epoch")
def epoch_fixture() -> Callable[..., EpochMetrics]:
    return epoch


class PureExecutor(EpochExecutor):
    """Training as a value, without training: weights are a digest of all that an epoch depends on.

    Two epochs come out alike only if they started alike, had the same settings and the same rate; momentum
    counts as weights do. So it shows in microseconds whether a state was brought back whole.

    Attributes:
        trained: How many epochs it was asked for.
        kernels: What its processor is given: with others, the bits are others.
        slowness: An epoch takes 0 to 16 seconds by its clock, times this.
        hold: While it is clear, epochs do not end.
    """

    def __init__(self, kernels: str = "") -> None:
        self.trained = 0
        self.kernels = kernels
        self.slowness = 1.0
        self.ready, self.waiting, self.busy, self.worker_deaths = True, 0, 0, 0
        self.hold = asyncio.Event()
        self.hold.set()

    async def start(self) -> None: ...

    async def identity(self) -> Identity:
        return Identity({**IDENTITY.facts, "probe": self.kernels} if self.kernels else IDENTITY.facts)

    async def run_epoch(self, job: EpochJob, timeout_s: float, on_wait: object = None) -> EpochResult:
        self.trained += 1
        await asyncio.sleep(0)
        await self.hold.wait()
        start, config = job.state, job.config
        rate = job.plan.rate_at(start.epoch)
        settings = [config.optimizer, config.batch_size, config.weight_decay, config.dropout, config.augmentation]
        before = [] if isinstance(start, FreshState) else [start.weights["w"].tolist(), start.optimizer["w/m"].tolist()]
        images = [job.data.key, job.permutation and job.permutation.key]
        facts = [start.network, start.seed, start.epoch, before, settings, config.augmentation_strength, rate, images]
        digest = hashlib.sha256((json.dumps(facts) + self.kernels).encode()).digest()
        numbers = np.frombuffer(digest, np.uint8).astype(np.float32)
        weights, optimizer = {"w": numbers[:16].copy(), "n": np.array(start.epoch)}, {"w/m": numbers[16:].copy()}
        state = TrainingState(start.network, weights, optimizer, config.optimizer, start.epoch + 1, start.seed)
        loss = math.inf if rate > 5 else float(1 + numbers[0] / 256)
        train_accuracy, val_accuracy = (float(number / 256) for number in numbers[1:3])
        metrics = EpochMetrics(loss, train_accuracy, loss, val_accuracy, rate, diverged=not loss <= 100)
        identity = (await self.identity()).key
        return EpochResult(state, metrics, self.slowness * float(numbers[3]) / 16, identity)

    async def held_out_accuracy(self, job: HeldOutJob, timeout_s: float, on_wait: object = None) -> float:
        return float(job.state.weights["w"][0] / 256)

    async def close(self) -> None: ...


@dataclass
class Server:
    """What a server is to its sessions: a journal in a folder, and a book of episodes."""

    folder: Path
    executor: PureExecutor = field(default_factory=PureExecutor)
    cache: bool = True
    state_mb: int = 100
    place: str | None = None

    def __post_init__(self) -> None:
        self.telemetry = Telemetry()
        self.database = Database(self.place or self.folder / "journal.sqlite3")
        self.states = StateStore(self.database, self.folder / "states", self.state_mb * 1_000_000)
        self.journal = Journal(self.database)
        self.units = UnitStore(self.database)
        source = LiveSource(self.executor, states=self.states, units=self.units if self.cache else None)
        self.registry = EpisodeRegistry(
            TuningGame(DataSettings(None, False), TimeLimits()),
            source=source,
            journal=self.journal,
            limits=TimeLimits(),
            telemetry=self.telemetry,
        )

    async def open(self, **request: object) -> OpenEpisode:
        return await self.registry.open(EpisodeRequest(**request))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.database.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Server]:
    """Starts a server; another one with the same folder is the same server after a restart.

    On PostgreSQL each folder has a database of its own. Tests that reach into SQLite's file use `serve_file`.
    """
    places: dict[str, str] = {}

    def start(folder: str = "state", **options: Any) -> Server:
        if request.param == "postgresql" and folder not in places:
            places[folder] = request.getfixturevalue("postgresql").new_database()
        return Server(tmp_path / folder, place=places.get(folder), **options)

    return start


@pytest.fixture
def serve_file(tmp_path: Path) -> Callable[..., Server]:
    """Starts a server whose journal is a SQLite file."""

    def start(folder: str = "state", **options: Any) -> Server:
        return Server(tmp_path / folder, **options)

    return start
