"""A small model, an executor, and episodes that are played in this process.

What needs the real model starts a real server.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet_play import SEED, Begin, KnownReferences, Player, Run, Server, given_task
from fleet_play import small_model as with_small_model

from ml_trainer_env.server.episodes.game import BeginOptions, TimeLimits
from ml_trainer_env.server.episodes.units import LiveSource
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.fleet.episode import FleetEpisode
from ml_trainer_env.server.fleet.game import FleetGame
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.trainer.fleet.faults import Fault


@pytest.fixture(scope="module", autouse=True)
def small_model() -> Iterator[None]:
    """A model whose steps are cheap. Other folders' tests in this process have the real one."""
    with with_small_model():
        yield


@pytest.fixture(scope="session")
def run() -> Iterator[Run]:
    """Runs coroutines on one event loop, so that the executor can outlive a test."""
    with asyncio.Runner() as runner:
        yield runner.run  # type: ignore[misc]  # it takes coroutines


@pytest.fixture(scope="session")
def executor(run: Run) -> Iterator[InProcessExecutor]:
    """Trains in a thread of this process."""
    found = InProcessExecutor(1, probe=PROBE)
    run(found.start())
    yield found
    run(found.close())


@pytest.fixture
def begin(executor: InProcessExecutor, run: Run) -> Begin:
    """Begins an episode of a task's id, or of faults."""

    def make(*what: str | Fault, seed: int = SEED, real_references: bool = False, **setup: Any) -> Player:
        source = (LiveSource if real_references else KnownReferences)(executor)
        if what and isinstance(what[0], str):
            options = BeginOptions("e", source)
            return Player(run(FleetGame(TimeLimits()).begin(what[0], seed, options)), run)
        task = given_task(*what, **setup)  # type: ignore[arg-type]
        return Player(FleetEpisode(name="e", task=task, seed=seed, source=source, limits=TimeLimits()), run)

    return make


@pytest.fixture
def serve(tmp_path: Path, executor: InProcessExecutor) -> Callable[..., Server]:
    """Starts a server; another one with the same folder is the same server after a restart."""

    def start(folder: str = "state", **options: Any) -> Server:
        return Server(tmp_path / folder, executor, **options)

    return start
