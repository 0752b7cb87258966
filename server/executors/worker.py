"""A worker process of the pool: `python -m ml_trainer_env.server.executors.worker FD THREADS`.

It takes requests from the socket FD until that closes. Its standard input is a lifeline: the pool
holds the other end and never writes, so when the pool's process ends, in whatever way, the read
comes back and the worker exits at once, in the middle of an epoch if need be.
"""

import os
import sys
import threading
import traceback
from multiprocessing.connection import Connection

import numpy as np
import torch

from ml_trainer_env.server.executors.contract import EpochJob
from ml_trainer_env.server.executors.jobs import JobRunner
from ml_trainer_env.server.executors.wire import Done, Failed, Ready, receive, send
from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.images import ImageArrays
from ml_trainer_env.server.trainer.kinds import AugmentationKind, NetworkName
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.state import FreshState

NICENESS = 5
"""Workers step back a little, so that the server's event loop answers while they train."""


def main() -> None:
    """Serve requests until the pool closes its end."""
    descriptor, threads = int(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    os.nice(NICENESS)
    torch.set_num_interop_threads(1)
    runner = JobRunner(threads)
    _warm_up(runner)
    with Connection(descriptor) as connection:
        try:
            send(connection, Ready())
            while True:
                send(connection, _answer(runner, receive(connection).job))
        except (EOFError, OSError):
            return


def _answer(runner: JobRunner, job: EpochJob) -> Done | Failed:
    try:
        return Done(runner.run(job))
    except Exception:  # the worker's boundary: a bug is reported and the worker lives on
        return Failed(traceback.format_exc())


def _exit_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def _warm_up(runner: JobRunner) -> None:
    """Train on a few blank images: torch imports much of itself when it is first used."""
    blank, labels = np.zeros((64, 28, 28), np.uint8), np.zeros(64, np.int64)
    data = ImageArrays("warm-up", AugmentationKind.DIGITS, blank, labels, blank, labels, blank, labels)
    plan = LearningRatePlan(LrSchedule.CONSTANT, 0.001, 0, 1)
    config = TrainingConfig(augmentation=True)
    runner.run(EpochJob(FreshState(NetworkName.SMALL_CNN, 0), config, plan, data))


if __name__ == "__main__":
    main()
