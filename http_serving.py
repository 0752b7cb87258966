"""Serves an application on a bound socket. Shared by the commands that start servers."""

import logging
import socket
from contextlib import suppress

import uvicorn

__all__ = ["STARTUP_FAILED", "serve"]

STARTUP_FAILED = 3
"""Exit status if the application did not start; the same as uvicorn's. The log contains the reason."""

_LOG = logging.getLogger(__name__)


def serve(config: uvicorn.Config, listener: socket.socket) -> int:
    """Serve until a signal arrives.

    Args:
        config: The application and its options. The address in it is only used for the log.
        listener: A bound socket. It is closed at the end.

    Returns:
        The exit status: 0, or `STARTUP_FAILED`.
    """
    # asyncio sets this option only on sockets that name their protocol. Without it, a response of two packets on a
    # connection that is kept alive waits 40 ms for an acknowledgement. Accepted connections inherit the option.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = _Server(config)
    with listener, suppress(KeyboardInterrupt):  # uvicorn raises it again after a normal shutdown
        server.run(sockets=[listener])
    return 0 if server.started else STARTUP_FAILED


class _Server(uvicorn.Server):
    """A server that logs its address. uvicorn does not do this for a given socket."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
            _LOG.info("serving on http://%s:%d (Ctrl-C ends it)", host, listener.getsockname()[1])
