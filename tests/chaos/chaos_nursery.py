"""Brings up servers: `python chaos_nursery.py HOST PORT LOG`, and a line to its standard input for each.

Importing the server takes most of the time of a start, so it is imported once; every server is a process of its own
that runs the server's `main` from the beginning. A new one is begun when the one before has ended. The
answer to a line is the new server's process id. At the end of its input it ends the last one and itself.
"""

import os
import signal
import sys
from pathlib import Path

from ml_trainer_env.server import app


def main() -> None:
    """Bring up one server after the other."""
    host, port, log = sys.argv[1:]
    server = None
    while os.read(0, 1):
        if server is not None:
            os.waitpid(server, 0)
        server = os.fork()
        if server == 0:
            _serve(host, port, Path(log))
        os.write(1, f"{server}\n".encode())
    if server is not None:
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)


def _serve(host: str, port: str, log: Path) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = ["server", "--host", host, "--port", port]
    app.main()
    sys.exit()


if __name__ == "__main__":
    main()
