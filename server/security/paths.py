"""Paths of requests: prefixes of applications, and trailing slashes.

A prefix becomes part of the `root_path` of a request, as in ASGI. Everything behind that reads paths with `route_path`,
and so needs to know no prefix.

Starlette redirects a path with a trailing slash (307). Many clients do not follow the redirect of a POST. It also names
the scheme of this server, not that of a proxy in front of it. So the slash is removed, and each route has one address.
"""

from collections.abc import Mapping

from starlette._utils import get_route_path  # Starlette's router uses it: checks and routes must read the same path
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["PathMiddleware", "PrefixMiddleware", "route_path"]


def route_path(scope: Scope) -> str:
    """Return the path that an application's router compares with its routes: without the `root_path`."""
    return get_route_path(scope) if "path" in scope else ""


class PrefixMiddleware:
    """Sends requests under a prefix to the application of the prefix.

    Only whole segments count: `/fleet` and `/fleet/ws` are under `/fleet`, `/fleets` and `//fleet` are not.

    Args:
        app: The application of all other requests.
        apps: Applications by prefix, such as `/fleet`. Each has its own security middleware.
    """

    def __init__(self, app: ASGIApp, apps: Mapping[str, ASGIApp]) -> None:
        self._app = app
        self._apps = apps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        path = route_path(scope)
        for prefix, app in self._apps.items():
            if path == prefix or path.startswith(f"{prefix}/"):
                await app(dict(scope, root_path=scope.get("root_path", "") + prefix), receive, send)
                return
        await self._app(scope, receive, send)


class PathMiddleware:
    """Removes trailing slashes from a request's path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on without the trailing slash."""
        await self._app(_without_slash(scope), receive, send)


def _without_slash(scope: Scope) -> Scope:
    path = route_path(scope)
    if not path.endswith("/") or not path.strip("/"):
        return scope
    changed = dict(scope, path=scope["path"].rstrip("/"))
    if "raw_path" in scope:
        changed["raw_path"] = scope["raw_path"].rstrip(b"/")
    return changed
