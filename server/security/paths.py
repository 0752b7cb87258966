"""Removes trailing slashes, so that each route has one address.

Starlette redirects such a path (307). Many clients do not follow the redirect of a POST. It also names the scheme of
this server, not that of a proxy in front of it.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["PathMiddleware"]

PAGE_PREFIX = "/web/"
"""Prefix of the web page's routes, where a trailing slash matters."""


class PathMiddleware:
    """Removes trailing slashes from a request's path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on without the trailing slash."""
        await self._app(_without_slash(scope), receive, send)


def _without_slash(scope: Scope) -> Scope:
    path = scope.get("path", "")
    if not path.endswith("/") or path.startswith(PAGE_PREFIX) or not path.strip("/"):
        return scope
    changed = dict(scope, path=path.rstrip("/"))
    if "raw_path" in scope:
        changed["raw_path"] = scope["raw_path"].rstrip(b"/")
    return changed
