"""The real engines of both games in this process, on one executor, and servers that are folders."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from fleet_play import Run
from fleet_play import small_model as with_small_model

from ml_trainer_env.server.executors.contract import Executor
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.services import Services
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.trainer import PROBE

Serve = Callable[..., AbstractAsyncContextManager[Services]]


@pytest.fixture(scope="module", autouse=True)
def small_model() -> Iterator[None]:
    """A model of the fleet whose steps are cheap."""
    with with_small_model():
        yield


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs coroutines on one event loop, so that the executor can outlive a test."""
    with asyncio.Runner() as runner:
        yield runner.run  # type: ignore[misc]  # it takes coroutines


@pytest.fixture(scope="module")
def executor(run: Run) -> Iterator[InProcessExecutor]:
    """Trains in a thread of this process, for all servers."""
    found = InProcessExecutor(1, probe=PROBE, options={"evaluation_batch": 64})
    run(found.start())
    yield found
    run(found.close())


@pytest.fixture
def serve(tmp_path: Path, executor: InProcessExecutor) -> Serve:
    """Opens the services of a server. Another one with the same folder is the same server after a restart."""

    @asynccontextmanager
    async def opened(folder: str, trains: Executor = executor, **variables: str) -> AsyncIterator[Services]:
        given = {"STATE_DIR": str(tmp_path / folder), "DOWNLOAD": "no", **variables}
        settings = Settings.from_environment({f"ML_TRAINER_{name}": value for name, value in given.items()})
        services = Services(settings, trains)
        try:
            yield services
        finally:
            services.database.close()  # the executor goes on

    return opened
