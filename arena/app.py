"""Composition root of the service: builds its web application."""

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
from ml_trainer_env.arena.challenges import accounts, board, catalogue, creators, organisers, refusals, teams
from ml_trainer_env.arena.challenges import submissions as challenge_submissions
from ml_trainer_env.arena.competitions import endpoints as competitions
from ml_trainer_env.arena.courses import endpoints as courses
from ml_trainer_env.arena.courses import modules, teaching
from ml_trainer_env.arena.errors import ArenaError
from ml_trainer_env.arena.leaderboard import endpoints as leaderboard
from ml_trainer_env.arena.leaderboard.cache import Boards
from ml_trainer_env.arena.organisers import endpoints as organising
from ml_trainer_env.arena.pages import endpoints as pages
from ml_trainer_env.arena.pages import organising as organising_pages
from ml_trainer_env.arena.pages import people, submitting
from ml_trainer_env.arena.pages import submissions as submission_pages
from ml_trainer_env.arena.pages.endpoints import error_page
from ml_trainer_env.arena.rates import Rates, call_rates
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import endpoints as submissions

__all__ = ["create_app", "use_services"]

API_PREFIXES = ("/api/", "/health", "/logs/", "/datasets/", "/openapi.json")
"""Prefixes of paths for programs. Their errors are JSON; all other errors are pages."""

_LOG = logging.getLogger(__name__)


def create_app(services: Services, rates: Rates | None = None) -> FastAPI:
    """Build the application.

    Args:
        services: The components of the service. The application closes them when it stops.
        rates: Rate limits of calls, by token.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.services.close()

    # FastAPI's documentation pages load scripts from other hosts. Such a script could act for the signed-in user.
    app = FastAPI(
        title="ML Arena", version="0.3.0", lifespan=lifespan, redirect_slashes=False, docs_url=None, redoc_url=None
    )
    use_services(app, services, rates)
    for router in (
        competitions.public,
        competitions.creator,
        submissions.creator,
        organising.router,
        submissions.router,
        submissions.logs,
        submissions.packages,
        leaderboard.router,
        courses.router,
        modules.router,
        teaching.router,
        catalogue.router,
        board.router,
        challenge_submissions.router,
        creators.public,
        creators.router,
        creators.older,
        organisers.router,
        organisers.older,
        teams.router,
        accounts.router,
        refusals.router,
        pages.router,
        submitting.router,
        submission_pages.router,
        organising_pages.router,
        people.router,
    ):
        app.include_router(router)
    app.add_middleware(BodyLimit)
    app.add_exception_handler(ArenaError, _handle_refusal)
    app.add_exception_handler(RequestValidationError, _handle_invalid_request)
    app.add_exception_handler(HTTPException, _handle_http_error)
    app.add_exception_handler(DataError, _handle_data_error)
    app.add_exception_handler(Exception, _handle_bug)

    @app.get("/health", tags=["service"])
    def health() -> dict[str, str]:
        """Whether the service is up."""
        return {"status": "ok"}

    return app


def use_services(app: FastAPI, services: Services, rates: Rates | None = None) -> None:
    """Let an application that takes no calls yet, or no more, answer with these components. See `create_app`."""
    app.state.services = services
    app.state.rates = rates or call_rates()
    app.state.boards = Boards()


def _handle_refusal(request: Request, error: Any) -> Response:
    return _error_response(request, error.status, str(error))


def _handle_invalid_request(request: Request, error: Any) -> Response:
    found = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return _error_response(request, 422, found[:2000].encode(errors="replace").decode())


def _handle_http_error(request: Request, error: Any) -> Response:
    return _error_response(request, error.status_code, str(error.detail), error.headers)


def _handle_data_error(request: Request, _: Any) -> Response:
    return _error_response(request, 400, "the request holds what no text or number of the database can be")


def _handle_bug(request: Request, error: Exception) -> Response:
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _error_response(request, 500, "the service has a bug; it has been noted")


def _error_response(request: Request, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Answer programs with JSON and people with a page."""
    if request.url.path.startswith(API_PREFIXES):
        return JSONResponse({"error": message}, status, headers)
    return error_page(status, message)
