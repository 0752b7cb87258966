"""Authentication by the server's token, by the sign-in cookie, or by a local connection."""

import hashlib
import hmac

from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from ml_trainer_env.server.security.access import Access
from ml_trainer_env.server.security.addresses import header_values, is_cross_site, is_from_this_machine
from ml_trainer_env.server.security.answers import answer, refuse
from ml_trainer_env.server.security.login import LOGIN_PATH, log_in, login_page

__all__ = ["COOKIE_NAME", "TokenMiddleware"]

COOKIE_NAME = "ml_trainer_token"

_CHALLENGE = {"WWW-Authenticate": "Bearer"}
_NO_TOKEN = (
    "this server is open to its own machine only: set ML_TRAINER_TOKEN to a secret for callers from elsewhere, "
    "or to `off` to let everybody in"
)
_NEEDED = "send the server's token: the header `Authorization: Bearer <ML_TRAINER_TOKEN>`"


class TokenMiddleware:
    """Admits callers with the server's token. A server without a token admits callers on its own machine."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        self._token = (access.token or "").encode()
        # Browsers send a host's cookies to all its ports, so the cookie must not contain the token.
        self._cookie = hmac.new(self._token, COOKIE_NAME.encode(), hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if self._admits(scope):
            await self._app(scope, receive, send)
        elif self._access.token is None:
            await refuse(scope, receive, send, 401, _NO_TOKEN, _CHALLENGE)
        elif _is_login(scope):
            cookie = f"{COOKIE_NAME}={self._cookie}"
            response = await log_in(scope, receive, self._is_token, cookie, self._access.public_host)
            await answer(response, scope, receive, send)
        elif _is_page(scope):
            await answer(login_page(scope, 401, _CHALLENGE, self._access.public_host), scope, receive, send)
        else:
            await refuse(scope, receive, send, 401, _NEEDED, _CHALLENGE)

    def _admits(self, scope: Scope) -> bool:
        if self._access.token is None:
            return self._access.open_to_all or is_from_this_machine(scope)
        # Browsers add the cookie to requests of any page, so it counts only for requests of this server's pages.
        return self._has_bearer(scope) or (not is_cross_site(scope) and self._has_cookie(scope))

    def _has_bearer(self, scope: Scope) -> bool:
        values = header_values(scope, b"authorization")
        scheme, _, credentials = values[0].partition(b" ") if len(values) == 1 else (b"", b"", b"")
        return scheme.lower() == b"bearer" and self._is_token(credentials.strip())

    def _has_cookie(self, scope: Scope) -> bool:
        cookies = cookie_parser("; ".join(value.decode("latin-1") for value in header_values(scope, b"cookie")))
        given: str = cookies.get(COOKIE_NAME, "")
        return hmac.compare_digest(given.encode(), self._cookie.encode())

    def _is_token(self, given: bytes) -> bool:
        return hmac.compare_digest(given, self._token)


def _is_login(scope: Scope) -> bool:
    return bool(scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == LOGIN_PATH)


def _is_page(scope: Scope) -> bool:
    """Whether a browser requests an HTML page."""
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and any(b"text/html" in value for value in header_values(scope, b"accept"))
    )
