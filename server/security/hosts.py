"""Checks `Host` and `Origin`.

A web page can make a browser call a server on the user's machine: by DNS rebinding, or over a WebSocket, which browsers
allow to any page. `Host` reveals the first, `Origin` the second.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from ml_trainer_env.server.security.access import Access
from ml_trainer_env.server.security.addresses import (
    HOST_PATTERN,
    header_values,
    is_loopback_name,
    is_on_loopback,
    is_same_origin,
)
from ml_trainer_env.server.security.answers import refuse

__all__ = ["HostMiddleware"]


class HostMiddleware:
    """Refuses requests with a wrong host or origin.

    A missing or malformed Host header is answered with 400, a wrong host or origin with 403.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        hosts = header_values(scope, b"host")
        host = HOST_PATTERN.fullmatch(hosts[0].decode("latin-1").lower()) if len(hosts) == 1 else None
        if host is None:
            await refuse(scope, receive, send, 400, "the request needs one Host header with the server's name")
        elif not self._is_ours(scope, host["name"]):
            detail = f"this server is not called {host['name']}: ML_TRAINER_ALLOWED_HOSTS lists further names"
            await refuse(scope, receive, send, 403, detail)
        elif not all(self._may_send(origin.decode("latin-1"), host[0]) for origin in header_values(scope, b"origin")):
            detail = "pages of other servers may not call this one: ML_TRAINER_ALLOWED_ORIGINS lists those that may"
            await refuse(scope, receive, send, 403, detail)
        else:
            await self._app(scope, receive, send)

    def _is_ours(self, scope: Scope, name: str) -> bool:
        if name in self._access.allowed_hosts:
            return True
        return is_loopback_name(name) if is_on_loopback(scope) else not self._access.allowed_hosts

    def _may_send(self, origin: str, host: str) -> bool:
        return is_same_origin(origin, host) or origin.lower() in self._access.allowed_origins
