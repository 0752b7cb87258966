"""FastAPI dependencies of the endpoints: the services, and the authenticated caller."""

from typing import Annotated

from fastapi import Depends, Request

from ml_trainer_env.arena.errors import ForbiddenError, UnauthorizedError
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import Scope
from ml_trainer_env.arena.tokens.service import Caller, authenticate, require

__all__ = ["Anybody", "Creator", "InjectedServices", "Participant", "Teacher", "User"]


async def _services(request: Request) -> Services:
    """Get the services. A coroutine, because FastAPI calls a plain function in a thread."""
    services: Services = request.app.state.services
    return services


def _caller(request: Request) -> Caller:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise UnauthorizedError("send a token: the header `Authorization: Bearer mlk_...`")
    services: Services = request.app.state.services
    with services.database.transaction(read_only=True) as session:
        caller = authenticate(session, token.strip())
    if caller.scope is Scope.WORKER:
        raise ForbiddenError("this is the token of a worker, which evaluates submissions and does nothing else")
    request.app.state.rates.take(caller.lookup)
    return caller


def _caller_if_any(request: Request) -> Caller | None:
    return _caller(request) if request.headers.get("authorization") else None


def _with_scope(scope: Scope) -> object:
    async def check(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        require(caller, scope)
        return caller

    return Depends(check)


Anybody = Annotated[Caller | None, Depends(_caller_if_any)]
"""A caller without a token, or with a valid one of any scope."""

User = Annotated[Caller, Depends(_caller)]
"""A caller with a valid token of any scope."""

InjectedServices = Annotated[Services, Depends(_services)]
Participant = Annotated[Caller, _with_scope(Scope.USER)]
Creator = Annotated[Caller, _with_scope(Scope.CREATOR)]
Teacher = Annotated[Caller, _with_scope(Scope.TEACHER)]
