"""Composition root: reads the settings, wires the parts together, and serves.

`uvicorn server.app:app`, `server` and `python -m ml_trainer_env.server.app` all come through here.
Importing the module does nothing; asking it for `app` builds the application.
"""

import argparse
import functools
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.types import ConcurrencyConfig

from ml_trainer_env.models import CallToolAction, CallToolObservation, MLTrainerState, ResetObservation
from ml_trainer_env.server.datasets import DatasetError
from ml_trainer_env.server.environment import MLTrainerEnvironment, ResetError, Services
from ml_trainer_env.server.executors.contract import Executor
from ml_trainer_env.server.executors.pool import ProcessPoolExecutor
from ml_trainer_env.server.settings import Settings

__all__ = ["build_app", "main"]

SHUTDOWN_S = 5
"""How long a server that was told to stop waits for calls under way."""


def build_app(settings: Settings, executor: Executor | None = None) -> FastAPI:
    """Wire the application together.

    Args:
        settings: How to run.
        executor: Where training runs; a pool of worker processes if None. The application starts
            it when it starts up and closes it when it shuts down.
    """
    executor = executor or ProcessPoolExecutor(settings.workers, settings.torch_threads)
    services = Services(executor, settings.data, settings.limits, settings.rubric)
    app: FastAPI = create_app(
        functools.partial(MLTrainerEnvironment, services),
        CallToolAction,
        CallToolObservation,
        env_name="ml_trainer_env",
        state_cls=MLTrainerState,
        reset_observation_cls=ResetObservation,
        concurrency_config=ConcurrencyConfig(
            max_concurrent_envs=settings.max_sessions,
            session_timeout=settings.session_timeout_s,
        ),
    )
    app.add_exception_handler(ResetError, _refused)
    app.add_exception_handler(DatasetError, _without_data)
    app.router.lifespan_context = _with_executor(app, executor)
    return app


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="server", description="Serve the ML Training Optimizer.")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to bind (default: %(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvicorn.run(
        build_app(Settings.from_environment(os.environ)),
        host=arguments.host,
        port=arguments.port,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )


def _with_executor(app: FastAPI, executor: Executor) -> Any:
    """The application's lifespan, with the executor's around it."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[Any]:
        await executor.start()
        try:
            async with inner(application) as state:
                yield state
        finally:
            await executor.close()

    return lifespan


async def _refused(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=422)


async def _without_data(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=503)


def __getattr__(name: str) -> Any:
    if name == "app":
        return build_app(Settings.from_environment(os.environ))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    main()
