"""A real server on a free port of this machine, in a thread of this process.

It is the same application as that of the command `server`, and starts in a tenth of a second where torch is loaded
already. A process of its own needs 6 s of CPU: its imports, and those of a worker. What is about processes starts one
with `start_server`. So do property tests: Hypothesis refuses a thread that draws random numbers beside it.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from ml_trainer_env.server.composition import build_app
from ml_trainer_env.server.episodes.game import Game
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.security import MAX_BODY_BYTES
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.trainer import PROBE

__all__ = ["served_here"]


@contextmanager
def served_here(
    folder: Path, games: Mapping[str, Game] | None = None, **variables: str
) -> Iterator[tuple[str, InProcessExecutor]]:
    """Serve until the end of the block.

    Args:
        folder: The state folder.
        games: The games by the prefix of their paths. None for those that the program has.
        variables: Settings without `ML_TRAINER_`. The variables of this process do not count.

    Yields:
        The address without the scheme, as in `127.0.0.1:8000`, and the executor.
    """
    given = {"STATE_DIR": str(folder), "DOWNLOAD": "no", "CACHE": "no", **variables}
    settings = Settings.from_environment({f"ML_TRAINER_{name}": value for name, value in given.items()})
    executor = InProcessExecutor(1, probe=PROBE)
    config = uvicorn.Config(
        build_app(settings, executor, games),
        port=0,
        log_config=None,
        timeout_graceful_shutdown=2,
        ws="websockets-sansio",
        ws_max_size=MAX_BODY_BYTES,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", executor
    finally:
        server.should_exit = True
        thread.join()
