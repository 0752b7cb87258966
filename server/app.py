"""Composition root: reads the settings, wires the parts together, and serves.

`uvicorn server.app:app`, `server` and `python -m ml_trainer_env.server.app` all come through here.
Importing the module does nothing; asking it for `app` builds the application.
"""

import argparse
import functools
import gc
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.types import ConcurrencyConfig
from pydantic import ValidationError

from ml_trainer_env.models import CallToolAction, CallToolObservation, MLTrainerState, ResetObservation
from ml_trainer_env.server.datasets import DatasetError
from ml_trainer_env.server.doors import MAX_BODY_BYTES, guarded
from ml_trainer_env.server.environment import MLTrainerEnvironment
from ml_trainer_env.server.episodes.errors import ResetError
from ml_trainer_env.server.executors.contract import Executor
from ml_trainer_env.server.logs import configure_logging
from ml_trainer_env.server.mcp_endpoint import McpEndpoint, McpSwitch
from ml_trainer_env.server.probes import probe_routes
from ml_trainer_env.server.services import Services
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.store import StoreError

__all__ = ["build_app", "main"]

YOUNG_OBJECTS = 10_000
"""So many objects are made before the garbage collector looks for cycles among them."""

SHUTDOWN_S = 5
"""How long a server that was told to stop waits for calls under way."""

logger = logging.getLogger(__name__)


def build_app(settings: Settings, executor: Executor | None = None) -> FastAPI:
    """Wire the application together.

    Args:
        settings: How to run.
        executor: Where training runs; a pool of worker processes if None. The application starts
            it when it starts up and closes it when it shuts down.

    Raises:
        StoreError: The journal cannot be opened.
    """
    if settings.access.open_to_all:
        logger.warning("ML_TRAINER_TOKEN is off: everybody who can reach this server may come in")
    services = Services(settings, executor)
    app: FastAPI = create_app(
        functools.partial(MLTrainerEnvironment, services.book),
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
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ValidationError, _invalid)
    app.add_exception_handler(StoreError, _without_journal)
    app.include_router(probe_routes(services.telemetry, services.is_ready, services.trouble))
    endpoint = McpEndpoint(services.book, settings.max_sessions, settings.session_timeout_s)
    services.telemetry.watch("mcp_sessions", "Sessions of MCP clients.", lambda: len(endpoint.sessions))
    app.router.lifespan_context = _with_services(app, services, endpoint)
    app.add_middleware(McpSwitch, endpoint=endpoint)
    app.add_middleware(guarded, access=settings.access)  # the last to be added is the first that a request meets
    return app


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="server", description="Serve the ML Training Optimizer.")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to bind (default: %(default)s)")
    arguments = parser.parse_args()
    _prepare_process()
    settings = Settings.from_environment(os.environ)
    uvicorn.run(
        _app_or_exit(settings),
        host=arguments.host,
        port=arguments.port,
        timeout_graceful_shutdown=SHUTDOWN_S,
        ws_max_size=MAX_BODY_BYTES,
        log_config=None,
    )


def _app_or_exit(settings: Settings) -> FastAPI:
    """The application. Where the state folder or the journal cannot be used, the process ends with the reason."""
    try:
        return build_app(settings)
    except StoreError as error:
        print(f"the server cannot start: {error}", file=sys.stderr)  # noqa: T201 - for whoever starts it
        raise SystemExit(2) from None


def _prepare_process() -> None:
    """Set up what belongs to the process as a whole: its log, and when the garbage collector runs.

    A full collection looks at every object there is and holds up every session meanwhile: with 500 of them for half a
    second, every five seconds. What was imported lives for ever and need not be looked at; and young objects are
    looked at less often, so that those of calls under way are not taken for long-lived ones.
    """
    configure_logging()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def _with_services(app: FastAPI, services: Services, endpoint: McpEndpoint) -> Any:
    """The application's lifespan, with that of the services around it, and MCP clients served within it."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[Any]:
        await services.start()
        try:
            async with inner(application) as state, endpoint.running():
                yield state
        finally:
            await services.close()

    return lifespan


async def _refused(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=422)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """What is wrong with a request, without what it held: that may be nothing that JSON can hold."""
    assert isinstance(error, RequestValidationError | ValidationError)
    problems = [{key: problem[key] for key in ("type", "loc", "msg")} for problem in error.errors()]
    return JSONResponse({"detail": problems}, status_code=422)


async def _without_journal(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=503)


async def _without_data(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=503)


def __getattr__(name: str) -> Any:
    if name == "app":
        _prepare_process()
        return _app_or_exit(Settings.from_environment(os.environ))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    main()
