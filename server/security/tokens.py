"""Authentication by one of the server's tokens, by the sign-in cookie, or by a local connection."""

import hashlib
import hmac
from enum import StrEnum

from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ml_trainer_env.server.security.access import Access
from ml_trainer_env.server.security.addresses import header_values, is_cross_site, is_from_this_machine
from ml_trainer_env.server.security.answers import answer, refuse
from ml_trainer_env.server.security.bodies import IMPORT_PATH
from ml_trainer_env.server.security.login import FIRST_PAGES, LOGIN_PATH, ROOM_PATH, log_in, login_page
from ml_trainer_env.server.security.paths import route_path

__all__ = ["COOKIE_NAME", "EXPORT_PATH", "Role", "TokenMiddleware"]

COOKIE_NAME = "ml_trainer_token"

EXPORT_PATH = "/episodes/export"

_CHALLENGE = {"WWW-Authenticate": "Bearer"}
_NO_TOKEN = (
    "this server is open to its own machine only: set ML_TRAINER_TOKEN to a secret for callers from elsewhere, "
    "or to `off` to let everybody in"
)
_NEEDED = "send the server's token: the header `Authorization: Bearer <ML_TRAINER_TOKEN>`"
_MOVES_NOTHING = (
    "only an operator moves episodes: set ML_TRAINER_OPERATOR_TOKEN on the server and send the header `Authorization: "
    "Bearer <ML_TRAINER_OPERATOR_TOKEN>`, or use the commands `ml-trainer-journal export-episode` and `import-episode`"
)
_READS_ONLY = f"an observer's token reads {ROOM_PATH} and nothing else; this needs the server's own token"


class Role(StrEnum):
    """What a token lets its holder do."""

    OPERATOR = "operator"
    """Everything."""

    PLAYER = "player"
    """Everything but moves of episodes: their files tell what an agent must find out, and moves interrupt others."""

    OBSERVER = "observer"
    """Read the training room."""


class TokenMiddleware:
    """Admits callers with one of the server's tokens. A server without its own token admits callers on its machine."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        tokens = {
            Role.OPERATOR: access.operator_token,
            Role.PLAYER: access.token,
            Role.OBSERVER: access.observer_token,
        }
        self._tokens = {role: token.encode() for role, token in tokens.items() if token is not None}
        # Browsers send a host's cookies to all its ports, so a cookie must not contain a token.
        self._cookies = {
            role: hmac.new(token, COOKIE_NAME.encode(), hashlib.sha256).hexdigest()
            for role, token in self._tokens.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        role = self._role(scope)
        if self._tokens and _is_login(scope) and (role is not None or scope["method"] == "POST"):
            await answer(await self._sign_in(scope, receive), scope, receive, send)
        elif role is not None and (refusal := _refusal_of(role, scope)):
            await refuse(scope, receive, send, 403, refusal)
        elif role is not None:
            await self._app(scope, receive, send)
        elif self._tokens and _is_page(scope):
            await answer(login_page(scope, 401, _CHALLENGE, self._access.public_host), scope, receive, send)
        else:
            await refuse(scope, receive, send, 401, _NO_TOKEN if self._access.token is None else _NEEDED, _CHALLENGE)

    async def _sign_in(self, scope: Scope, receive: Receive) -> Response:
        """Return the form, or the answer to it. Whoever is signed in may sign in with another token."""
        if scope["method"] == "GET":
            return login_page(scope, 200, {}, self._access.public_host)
        return await log_in(scope, receive, self._cookie_for, self._access.public_host)

    def _role(self, scope: Scope) -> Role | None:
        """Return what the caller may do. None for nothing."""
        role = self._bearer_role(scope)
        if role is Role.OPERATOR:
            return role
        if self._access.token is None and (self._access.open_to_all or is_from_this_machine(scope)):
            return Role.PLAYER
        if role is not None:
            return role
        # Browsers add the cookie to requests of any page, so it counts only for requests of this server's pages.
        return None if is_cross_site(scope) else self._cookie_role(scope)

    def _bearer_role(self, scope: Scope) -> Role | None:
        values = header_values(scope, b"authorization")
        scheme, _, credentials = values[0].partition(b" ") if len(values) == 1 else (b"", b"", b"")
        return self._token_role(credentials.strip()) if scheme.lower() == b"bearer" else None

    def _cookie_role(self, scope: Scope) -> Role | None:
        cookies = cookie_parser("; ".join(value.decode("latin-1") for value in header_values(scope, b"cookie")))
        given: str = cookies.get(COOKIE_NAME, "")
        for role, cookie in self._cookies.items():
            if hmac.compare_digest(given.encode(), cookie.encode()):
                return role
        return None

    def _token_role(self, given: bytes) -> Role | None:
        for role, token in self._tokens.items():
            if hmac.compare_digest(given, token):
                return role
        return None

    def _cookie_for(self, given: bytes) -> str | None:
        """Return the cookie of a token. None if it is no token."""
        role = self._token_role(given)
        return None if role is None else f"{COOKIE_NAME}={self._cookies[role]}"


def _refusal_of(role: Role, scope: Scope) -> str | None:
    """Return why a role may not send a request. None if it may."""
    if role is Role.OBSERVER and not _only_reads_room(scope):
        return _READS_ONLY
    if role is not Role.OPERATOR and route_path(scope).rstrip("/") in {EXPORT_PATH, IMPORT_PATH}:
        return _MOVES_NOTHING
    return None


def _only_reads_room(scope: Scope) -> bool:
    """Whether a request reads what an observer may read: the first page, the room's path, and those under it."""
    path = route_path(scope).rstrip("/") or "/"
    is_room = path in FIRST_PAGES or path == ROOM_PATH or path.startswith(f"{ROOM_PATH}/")
    return bool(scope["type"] == "http" and scope["method"] in {"GET", "HEAD"} and is_room)


def _is_login(scope: Scope) -> bool:
    return bool(scope["type"] == "http" and scope["method"] in {"GET", "POST"} and route_path(scope) == LOGIN_PATH)


def _is_page(scope: Scope) -> bool:
    """Whether a browser requests an HTML page."""
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and any(b"text/html" in value for value in header_values(scope, b"accept"))
    )
