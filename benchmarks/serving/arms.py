"""Runs epochs with more or less around the engine: a child process of `added.py`, which tells it what to do.

    python -m serving.arms engine|pool|journal TASK SEED DATA_DIR STATE_DIR

- `engine`: `trainer.engine.advance` alone, on data that are tensors already;
- `pool`: the same epochs as jobs of a pool with one worker, each with the hash of its weights;
- `journal`: calls to an open episode: rules, budget and reward, the pool, models put away, and the journal on disk.

Each line it reads is a number of epochs; it answers with the seconds they took and the hash of the weights, as JSON.
Between two lines it sleeps.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from ml_trainer_env.server.datasets import DataSettings, load_images
from ml_trainer_env.server.episodes.registry import EpisodeRequest
from ml_trainer_env.server.executors.job import Job
from ml_trainer_env.server.executors.pool import ProcessPoolExecutor
from ml_trainer_env.server.services import Services
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.trainer.config import EpochSettings, TrainingConfig
from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.trainer.schedules import LearningRatePlan
from ml_trainer_env.server.trainer.state import FreshState, weights_hash
from ml_trainer_env.server.tuning.named_tasks import TASKS

THREADS = 2
NICENESS = 5
"""That of the pool's workers, so that whatever else runs slows down all arms alike."""

EPOCH_LIMIT_S = 120.0

Run = Callable[[int], Awaitable[str]]
"""Runs so many epochs and returns the hash of the weights."""


async def main() -> None:
    arm, task_id, seed, data_dir, state_dir = sys.argv[1:]
    arms = {"engine": engine, "pool": pool, "journal": journal}
    run = await arms[arm](task_id, int(seed), data_dir, state_dir)
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        began = time.perf_counter()
        digest = await run(int(line))
        print(json.dumps([time.perf_counter() - began, digest]), flush=True)


async def engine(task_id: str, seed: int, data_dir: str, _: str) -> Run:
    import torch  # the other arms leave it to their workers, as the server does

    from ml_trainer_env.server.trainer.data import TensorData
    from ml_trainer_env.server.trainer.engine import advance, initial_state

    os.nice(NICENESS)
    torch.set_num_threads(THREADS)
    torch.set_num_interop_threads(1)
    data, config, plan = TensorData(images(task_id, data_dir)), TrainingConfig(), rates(task_id)
    state = initial_state(FreshState(TASKS[task_id].network.name, seed))

    async def run(epochs: int) -> str:
        nonlocal state
        state, _ = advance(state, config, plan, data, epochs)
        return weights_hash(state)

    return run


async def pool(task_id: str, seed: int, data_dir: str, _: str) -> Run:
    executor = ProcessPoolExecutor(1, THREADS, probe=PROBE)
    data, settings = images(task_id, data_dir), EpochSettings(TrainingConfig(), rates(task_id))
    state = FreshState(TASKS[task_id].network.name, seed).to_state()
    jobs = "ml_trainer_env.server.trainer.jobs"

    async def run(epochs: int) -> str:
        nonlocal state
        job = Job(
            f"{jobs}:train_epoch",
            "ml_trainer_env.server.trainer.data:prepare",
            state,
            settings,
            data,
            epochs,
            unit="epoch",
        )
        last = (await executor.run(job, EPOCH_LIMIT_S))[-1]
        assert last.state is not None
        state = last.state
        return last.digest

    return run


async def journal(task_id: str, seed: int, data_dir: str, state_dir: str) -> Run:
    settings = {"DATA_DIR": data_dir, "STATE_DIR": state_dir, "CACHE": "no", "DOWNLOAD": "no", "WORKERS": "1"}
    services = Services(Settings.from_environment({f"ML_TRAINER_{name}": value for name, value in settings.items()}))
    await services.start()
    opened = await services.registry.open(EpisodeRequest(task_id=task_id, seed=seed))

    async def run(epochs: int) -> str:
        return str((await opened.call("run_epochs", {"num_epochs": epochs}))["weights_hash"])

    return run


def rates(task_id: str) -> LearningRatePlan:
    """The plan that an episode begins with."""
    config = TrainingConfig()
    budget = TASKS[task_id].budget_epochs
    return LearningRatePlan(config.lr_schedule, config.learning_rate, 0, budget, config.warmup_epochs)


def images(task_id: str, data_dir: str) -> Examples:
    """The images of a task."""
    task = TASKS[task_id]
    found = load_images(task.examples, DataSettings(Path(data_dir) if data_dir else None, False, 1.0))
    return Examples.of(found, task.augmentation)


if __name__ == "__main__":
    asyncio.run(main())
