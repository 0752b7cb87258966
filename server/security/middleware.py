"""All doors, one behind the other."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ml_trainer_env.server.security.access import Access
from ml_trainer_env.server.security.bodies import BodyDoor
from ml_trainer_env.server.security.connection import ConnectionWatch
from ml_trainer_env.server.security.frames import FrameDoor
from ml_trainer_env.server.security.hosts import HostDoor
from ml_trainer_env.server.security.paths import PathDoor
from ml_trainer_env.server.security.tokens import TokenDoor

__all__ = ["OPEN_PATHS", "guarded"]

OPEN_PATHS = frozenset({"/health", "/ready"})
"""What anybody may ask: probes come without token and by any name, and learn nothing else."""


def guarded(app: ASGIApp, access: Access) -> ASGIApp:
    """An application behind the doors.

    Args:
        app: What is behind them.
        access: Who may come in.
    """
    checked: ASGIApp = PathDoor(BodyDoor(FrameDoor(app)))
    admitted: ASGIApp = TokenDoor(ConnectionWatch(checked), access)
    if access.allowed_origins:
        # Browsers ask before they send a token, and show a page only what is said to be for it.
        admitted = CORSMiddleware(
            admitted,
            allow_origins=sorted(access.allowed_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["mcp-session-id"],
        )
    doors = HostDoor(admitted, access)

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in OPEN_PATHS
        inside = app if is_open or scope["type"] == "lifespan" else doors
        await inside(scope, receive, send)

    return enter
