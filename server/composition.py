"""Composition root: wires the parts of a server together. `app` serves the application."""

import functools
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.types import ConcurrencyConfig
from pydantic import ValidationError

from ml_trainer_env.models import CallToolAction, CallToolObservation
from ml_trainer_env.server.datasets import DatasetError
from ml_trainer_env.server.episodes.errors import ResetError
from ml_trainer_env.server.episodes.game import Game
from ml_trainer_env.server.episodes.registry import EpisodeRegistry
from ml_trainer_env.server.executors.contract import Executor
from ml_trainer_env.server.mcp.endpoint import McpEndpoint, McpSwitch
from ml_trainer_env.server.openenv.environment import GameEnvironment
from ml_trainer_env.server.openenv.transfer import transfer_routes
from ml_trainer_env.server.operations.probes import probe_routes
from ml_trainer_env.server.room.curves import CURVES
from ml_trainer_env.server.room.picture import Picture
from ml_trainer_env.server.room.routes import room_routes
from ml_trainer_env.server.security import security_middleware
from ml_trainer_env.server.security.paths import PrefixMiddleware
from ml_trainer_env.server.services import Services
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.store import StoreError

__all__ = ["build_app"]

logger = logging.getLogger(__name__)


def build_app(
    settings: Settings,
    executor: Executor | None = None,
    games: Mapping[str, Game] | None = None,
    pictures: Mapping[str, Picture] | None = None,
) -> FastAPI:
    """Build the application.

    Each game has all routes, under its prefix. The games share the services: workers, journal, cache and metrics. The
    training room is at the root alone, and shows the episodes of all games.

    Args:
        settings: The server's settings.
        executor: Runs jobs. None for a pool of worker processes. The application starts and closes it.
        games: The games by the prefix of their paths: "" for the root, "/fleet". None for those that the program has.
        pictures: What MCP clients may draw, by the same prefix. None for those that the program has, or for none if
            `games` is given.

    Raises:
        StoreError: The journal cannot be opened.
    """
    if settings.access.open_to_all:
        logger.warning("ML_TRAINER_TOKEN is off: everybody who can reach this server may come in")
    services = Services(settings, executor, games)
    if pictures is None:
        pictures = {"": CURVES} if games is None else {}
    room = room_routes(services.database, services.registries, settings.results_dir)
    endpoints = {
        prefix: McpEndpoint(registry, pictures.get(prefix), settings.max_sessions, settings.session_timeout_s)
        for prefix, registry in services.registries.items()
    }
    apps = {
        prefix: _game_app(settings, services, registry, endpoints[prefix])
        for prefix, registry in services.registries.items()
    }
    services.telemetry.watch(
        "mcp_sessions", "Sessions of MCP clients.", lambda: sum(map(_sessions, endpoints.values()))
    )
    app = apps.pop("")
    app.include_router(room)
    app.router.lifespan_context = _with_services(app, services, tuple(apps.values()))
    app.add_middleware(PrefixMiddleware, apps=apps)  # added last, so a request reaches it first
    return app


def _game_app(settings: Settings, services: Services, registry: EpisodeRegistry, endpoint: McpEndpoint) -> FastAPI:
    """Return an application that serves one game. Its paths have no prefix."""
    app = create_fastapi_app(
        functools.partial(GameEnvironment, registry),
        CallToolAction,
        CallToolObservation,
        env_name=registry.game.about.name,
        state_cls=registry.game.state_model,
        reset_observation_cls=registry.game.reset_model,
        # The limit is not one of the server: OpenEnv's sessions, MCP clients and each game are counted apart.
        concurrency_config=ConcurrencyConfig(
            max_concurrent_envs=settings.max_sessions,
            session_timeout=settings.session_timeout_s,
        ),
    )
    app.add_exception_handler(ResetError, _refused)
    app.add_exception_handler(DatasetError, _unavailable)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ValidationError, _invalid)
    app.add_exception_handler(StoreError, _unavailable)
    app.include_router(transfer_routes(services.transfer))
    app.include_router(probe_routes(services.telemetry, services.is_ready, services.trouble))
    app.router.lifespan_context = _with_endpoint(app, endpoint)
    app.add_middleware(McpSwitch, endpoint=endpoint)
    app.add_middleware(security_middleware, access=settings.access)
    return app


def _sessions(endpoint: McpEndpoint) -> int:
    return len(endpoint.sessions)


def _with_endpoint(app: FastAPI, endpoint: McpEndpoint) -> Any:
    """Return a lifespan that also starts and closes the MCP endpoint."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[Any]:
        async with inner(application) as state, endpoint.running():
            yield state

    return lifespan


def _with_services(app: FastAPI, services: Services, others: Sequence[FastAPI]) -> Any:
    """Return a lifespan that also starts and closes the services and the applications of other games."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[Any]:
        await services.start()
        try:
            async with AsyncExitStack() as stack:
                for other in others:
                    await stack.enter_async_context(other.router.lifespan_context(other))
                yield await stack.enter_async_context(inner(application))
        finally:
            await services.close()

    return lifespan


async def _refused(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=422)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """Answer with the problems of a request, without its values. JSON may not be able to represent them."""
    assert isinstance(error, RequestValidationError | ValidationError)
    problems = [{key: problem[key] for key in ("type", "loc", "msg")} for problem in error.errors()]
    return JSONResponse({"detail": problems}, status_code=422)


async def _unavailable(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=503)
