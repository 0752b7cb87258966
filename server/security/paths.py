"""One address for each route: a slash at the end of a path makes no difference.

Starlette answers such a path with a redirect (307), which many clients do not follow for a POST, and which names
the scheme of the connection to this server, not the one that a proxy before it serves.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["PathDoor"]

PAGE_PREFIX = "/web/"
"""The web page's own routes, where a slash matters."""


class PathDoor:
    """Removes slashes at the end of a request's path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, by the route's own path."""
        await self._app(_without_slash(scope), receive, send)


def _without_slash(scope: Scope) -> Scope:
    path = scope.get("path", "")
    if not path.endswith("/") or path.startswith(PAGE_PREFIX) or not path.strip("/"):
        return scope
    changed = dict(scope, path=path.rstrip("/"))
    if "raw_path" in scope:
        changed["raw_path"] = scope["raw_path"].rstrip(b"/")
    return changed
