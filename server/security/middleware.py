"""The security middleware stack."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ml_trainer_env.server.security.access import Access
from ml_trainer_env.server.security.bodies import BodyMiddleware
from ml_trainer_env.server.security.connection import ConnectionMiddleware
from ml_trainer_env.server.security.frames import FrameMiddleware
from ml_trainer_env.server.security.hosts import HostMiddleware
from ml_trainer_env.server.security.paths import PathMiddleware, route_path
from ml_trainer_env.server.security.tokens import TokenMiddleware

__all__ = ["OPEN_PATHS", "security_middleware"]

OPEN_PATHS = frozenset({"/health", "/ready"})
"""Probes. They need no token and may use any host name."""


def security_middleware(app: ASGIApp, access: Access) -> ASGIApp:
    """Wrap an application in the security middlewares.

    Args:
        app: The application.
        access: The access policy.
    """
    checked: ASGIApp = PathMiddleware(BodyMiddleware(FrameMiddleware(app)))
    admitted: ASGIApp = TokenMiddleware(ConnectionMiddleware(checked), access)
    if access.allowed_origins:
        # Browsers send a preflight request before a token, and show a response to a page only with these headers.
        admitted = CORSMiddleware(
            admitted,
            allow_origins=sorted(access.allowed_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["mcp-session-id"],
        )
    stack = HostMiddleware(admitted, access)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["type"] == "http" and scope["method"] == "GET" and route_path(scope) in OPEN_PATHS
        target = app if is_open or scope["type"] == "lifespan" else stack
        await target(scope, receive, send)

    return dispatch
