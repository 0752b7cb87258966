"""The composition root: the web application of the service."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException

from ml_trainer_env.arena.bodies import BodyLimit
from ml_trainer_env.arena.competitions import endpoints as competitions
from ml_trainer_env.arena.courses import endpoints as courses
from ml_trainer_env.arena.errors import ArenaError
from ml_trainer_env.arena.leaderboard import endpoints as leaderboard
from ml_trainer_env.arena.leaderboard.cache import Boards
from ml_trainer_env.arena.pages import endpoints as pages
from ml_trainer_env.arena.pages.endpoints import error_page
from ml_trainer_env.arena.rates import Rates, of_calls
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import endpoints as submissions

__all__ = ["create_app"]

PROGRAMS = ("/api/", "/health", "/logs/", "/openapi.json")
"""Paths that are for programs; what goes wrong there is told as JSON."""

_LOG = logging.getLogger(__name__)


def create_app(services: Services, rates: Rates | None = None) -> FastAPI:
    """The application.

    Args:
        services: The parts of the service; closed with it.
        rates: How often a token may call.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        services.close()

    # FastAPI's own pages of the schema run scripts from elsewhere, which could act for whoever is signed in.
    app = FastAPI(
        title="ML Arena", version="0.3.0", lifespan=lifespan, redirect_slashes=False, docs_url=None, redoc_url=None
    )
    app.state.services = services
    app.state.rates = rates or of_calls()
    app.state.boards = Boards()
    for router in (
        competitions.public,
        competitions.creator,
        submissions.creator,
        submissions.router,
        submissions.logs,
        leaderboard.router,
        courses.router,
        pages.router,
    ):
        app.include_router(router)
    app.add_middleware(BodyLimit)
    app.add_exception_handler(ArenaError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DataError, _unfit)
    app.add_exception_handler(Exception, _bug)

    @app.get("/health", tags=["service"])
    def health() -> dict[str, str]:
        """Whether the service is up."""
        return {"status": "ok"}

    return app


def _refused(request: Request, error: Any) -> Response:
    return _answer(request, error.status, str(error))


def _invalid(request: Request, error: Any) -> Response:
    found = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return _answer(request, 422, found[:2000].encode(errors="replace").decode())


def _http(request: Request, error: Any) -> Response:
    return _answer(request, error.status_code, str(error.detail), error.headers)


def _unfit(request: Request, _: Any) -> Response:
    return _answer(request, 400, "the request holds what no text or number of the database can be")


def _bug(request: Request, error: Exception) -> Response:
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _answer(request, 500, "the service has a bug; it has been noted")


def _answer(request: Request, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Programs are told by JSON, people by a page."""
    if request.url.path.startswith(PROGRAMS):
        return JSONResponse({"error": message}, status, headers)
    return error_page(status, message)
