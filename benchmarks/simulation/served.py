"""Serves the environment with epochs that only wait: `python -m simulation.served --port PORT --epoch-s SECONDS`.

The settings are those of the command `server`. On SIGUSR1 it writes `usage.json` to its working folder: the processor
time of its threads, in seconds by name, and the number of workers that are ready. Threads that Python does not know are
"native".
"""

import argparse
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import uvicorn

from ml_trainer_env.http_serving import serve
from ml_trainer_env.server import app, services
from ml_trainer_env.server.security import MAX_BODY_BYTES
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.store.folder import state_folder
from ml_trainer_env.server.store.measured import evaluation_batch
from simulation.waits import WaitingExecutor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--epoch-s", type=float, required=True, help="length of an epoch, in seconds")
    chosen = parser.parse_args()
    settings = Settings.from_environment(os.environ)
    app._prepare_process()
    batch = evaluation_batch(settings.evaluation_batch, state_folder(settings.state_dir))
    executor: Any = WaitingExecutor(services._executor(settings, settings.options(batch)), chosen.epoch_s)
    config = uvicorn.Config(
        app.build_app(settings, executor),
        host=chosen.host,
        port=chosen.port,
        timeout_graceful_shutdown=app.SHUTDOWN_S,
        ws_max_size=MAX_BODY_BYTES,
        log_config=None,
    )
    signal.signal(signal.SIGUSR1, lambda *_: write_usage(executor))
    with socket.create_server((chosen.host, chosen.port)) as listener:
        serve(config, listener)


def write_usage(executor: Any) -> None:
    """Write what the server uses at this moment."""
    times: Counter[str] = Counter()
    for thread in threading.enumerate():
        name = thread.name.split("_")[0].split("-")[0]
        times[name] += time.clock_gettime(time.pthread_getcpuclockid(thread.ident or 0))
    times["native"] = time.process_time() - times.total()
    ready = sum(supervisor.ready for supervisor in executor._supervisors)
    written = Path("usage.part")
    written.write_text(json.dumps({"threads_s": times, "ready": ready}))
    written.rename("usage.json")


if __name__ == "__main__":
    main()
