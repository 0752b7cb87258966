"""Composition root: wires the parts of a server together. `app` serves what this builds."""

import functools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.types import ConcurrencyConfig
from pydantic import ValidationError

from ml_trainer_env.models import CallToolAction, CallToolObservation
from ml_trainer_env.server.datasets import DatasetError
from ml_trainer_env.server.episodes.errors import ResetError
from ml_trainer_env.server.episodes.game import Game
from ml_trainer_env.server.executors.contract import Executor
from ml_trainer_env.server.mcp.endpoint import McpEndpoint, McpSwitch
from ml_trainer_env.server.openenv.environment import GameEnvironment
from ml_trainer_env.server.operations.probes import probe_routes
from ml_trainer_env.server.room.contract import Room
from ml_trainer_env.server.room.tuning import TuningRoom
from ml_trainer_env.server.security import security_middleware
from ml_trainer_env.server.services import Services
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.store import StoreError

__all__ = ["build_app"]

logger = logging.getLogger(__name__)


def build_app(
    settings: Settings, executor: Executor | None = None, game: Game | None = None, room: Room | None = None
) -> FastAPI:
    """Wire the application together.

    Args:
        settings: How to run.
        executor: Where jobs run; a pool of worker processes if None. The application starts
            it when it starts up and closes it when it shuts down.
        game: The game that is played; the tuning game, with its room, if None.
        room: Shows episodes of the game to people; None for a game without pictures.

    Raises:
        StoreError: The journal cannot be opened.
    """
    if settings.access.open_to_all:
        logger.warning("ML_TRAINER_TOKEN is off: everybody who can reach this server may come in")
    services = Services(settings, executor, game)
    registry, room = services.registry, TuningRoom() if game is None else room
    app: FastAPI = create_app(
        functools.partial(GameEnvironment, registry, room),
        CallToolAction,
        CallToolObservation,
        env_name=registry.game.about.name,
        state_cls=registry.game.state_model,
        reset_observation_cls=registry.game.reset_model,
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
    endpoint = McpEndpoint(registry, room, settings.max_sessions, settings.session_timeout_s)
    services.telemetry.watch("mcp_sessions", "Sessions of MCP clients.", lambda: len(endpoint.sessions))
    app.router.lifespan_context = _with_services(app, services, endpoint)
    app.add_middleware(McpSwitch, endpoint=endpoint)
    app.add_middleware(security_middleware, access=settings.access)  # added last, so a request reaches it first
    return app


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
