"""An epoch through our server, as its client waits, against the loop most people write, interleaved in one run.

    python benchmarks/served_epoch.py [--rounds 9] [--tasks easy_mnist,...] [--epochs 5]

A server of this tree runs on the loopback interface with one worker of two threads and no cache. In each round the
client asks for some epochs in one call of `run_epochs` over WebSocket, and then the usual loop trains one epoch in this
process, with as many threads, on the same images, with augmentation where it has the task's. Full data sets come from
ML_TRAINER_DATA_DIR. Nothing else should run meanwhile.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from named import PAUSE_S, spread, task_images
from serving.figures import circumstances
from serving.processes import Server
from usual_loop import AUGMENTED, BATCH_SIZE, UsualLoop

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.server.trainer.engine import initial_state
from ml_trainer_env.server.trainer.state import FreshState
from ml_trainer_env.server.tuning.named_tasks import TASKS
from ml_trainer_env.server.tuning.tasks import Task

THREADS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="after one to warm up (default: %(default)s)")
    parser.add_argument("--tasks", default="easy_mnist,medium_fashion,hard_cifar", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of a call (default: %(default)s)")
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    print(f"{circumstances()}, {THREADS} threads, n = {given.rounds}, calls of {given.epochs} epochs\n", flush=True)
    print("| task | images | augmentation | through the server, s | usual loop, s | ratio |\n|---|---|---|---|---|---|")
    for task_id in given.tasks.split(","):
        print(row(TASKS[task_id], given.rounds, given.epochs), flush=True)


def row(task: Task, rounds: int, epochs: int) -> str:
    """Measure a task, and return its row: medians, least and most."""
    images, source = task_images(task)
    augment = images.augmentation in AUGMENTED
    usual = UsualLoop(initial_state(FreshState(task.network.name, task.seed)), images, augment)
    served, others = [], []
    with calls(task, augment, epochs) as waited:
        for number in range(rounds + 1):
            time.sleep(PAUSE_S)
            ours = next(waited) / epochs
            time.sleep(PAUSE_S)
            began = time.perf_counter()
            usual.epoch()
            if number:
                served.append(ours)
                others.append(time.perf_counter() - began)
    ratios = [other / ours for ours, other in zip(served, others, strict=True)]
    return (
        f"| {task.id} | {source} | {'on' if augment else 'off'} | {spread(served, 3)} | {spread(others, 2)} "
        f"| {spread(ratios, 1)} |"
    )


@contextmanager
def calls(task: Task, augment: bool, epochs: int) -> Iterator[Iterator[float]]:
    """Start a server. What it gives makes one call at a time, and tells the seconds that the client waited."""
    data = os.environ.get("ML_TRAINER_DATA_DIR")
    settings = {"workers": 1, "torch_threads": THREADS, "cache": "no"} | ({"data_dir": data} if data else {})
    with (
        tempfile.TemporaryDirectory(prefix="served-epoch-") as folder,
        Server(Path(folder), **settings) as server,
        MLTrainerEnv(base_url=server.url) as env,
    ):
        yield _calls(env, task, augment, epochs)


def _calls(env: MLTrainerEnv, task: Task, augment: bool, epochs: int) -> Iterator[float]:
    seed = task.seed
    while True:
        seed += 1
        env.reset(task_id=task.id, seed=seed)
        env.call_tool("configure_training", batch_size=BATCH_SIZE, augmentation=augment, augmentation_strength=1.0)
        for _ in range(task.budget_epochs // epochs):
            began = time.perf_counter()
            env.call_tool("run_epochs", num_epochs=epochs)
            yield time.perf_counter() - began


if __name__ == "__main__":
    main()
