"""(b) What the pool, the journal and the wire add to `run_epochs(5)`, beside the engine alone."""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.figures import Result, spread
from serving.processes import Server, environment

__all__ = ["measure"]

EPOCHS = 5
PAIRS = {"easy_mnist": 18, "hard_cifar": 8}
"""Rounds of an episode. With the one to warm up no more epochs than the budget: 95 of 100, 45 of 60."""

EPISODES = {"easy_mnist": 4, "hard_cifar": 1}
"""A round on easy takes half a second, and scatters by a tenth of that."""

FIRST_SEED = 2026

LIMITS = {"easy_mnist": "15 ms a call", "hard_cifar": "3 %"}
ARMS = ("engine", "pool", "journal")
PARTS = ("pool", "journal", "wire")


def measure(folder: Path, data_dir: str) -> list[Result]:
    """Measure both tasks."""
    return [_measure(folder, data_dir, task_id) for task_id in PAIRS]


@dataclass(frozen=True)
class Round:
    """Seconds of five epochs, the same five, in each arm."""

    engine: float
    pool: float
    journal: float
    wire: float


def _measure(folder: Path, data_dir: str, task_id: str) -> Result:
    rounds, source = [], ""
    for number in range(EPISODES[task_id]):
        own = folder / f"{task_id}-{number}"
        own.mkdir()
        source, played = _episode(own, data_dir, task_id, FIRST_SEED + number)
        rounds += played
    return _result(task_id, source, rounds)


def _episode(own: Path, data_dir: str, task_id: str, seed: int) -> tuple[str, list[Round]]:
    """Let every arm play an episode. Returns where its images came from, and the rounds."""
    settings = {"workers": 1, "torch_threads": 2, "cache": "no", **({"data_dir": data_dir} if data_dir else {})}
    arms = {name: Arm(name, task_id, seed, data_dir, own) for name in ARMS}
    try:
        with Server(own, **settings) as server, Caller(server, task_id, seed) as caller:
            runs = {**arms, "wire": caller}
            rounds = [_round(runs, number) for number in range(PAIRS[task_id] + 1)][1:]
            return caller.source, rounds
    finally:
        for arm in arms.values():
            arm.stop()


def _round(runs: dict[str, Any], number: int) -> Round:
    """Let every arm run the same epochs, one after the other, in an order that turns around each time."""
    names = list(runs) if number % 2 else list(reversed(runs))
    answers = {name: runs[name].run(EPOCHS) for name in names}
    hashes = {digest for _, digest in answers.values()}
    if len(hashes) != 1:
        raise RuntimeError(f"the arms trained different weights: {answers}")
    return Round(**{name: seconds for name, (seconds, _) in answers.items()})


def _result(task_id: str, source: str, rounds: list[Round]) -> Result:
    engine = [1000 * r.engine for r in rounds]
    added = [1000 * (r.wire - r.engine) for r in rounds]
    share = [100 * (r.wire - r.engine) / r.engine for r in rounds]
    parts = {
        "pool": [1000 * (r.pool - r.engine) for r in rounds],
        "journal": [1000 * (r.journal - r.pool) for r in rounds],
        "wire": [1000 * (r.wire - r.journal) for r in rounds],
    }
    quartiles = statistics.quantiles(added, n=4)
    lines = [
        (
            f"`run_epochs({EPOCHS})` on {task_id} ({source} images), 2 threads, no augmentation, n = {len(rounds)} "
            "interleaved rounds after one to warm up, the same epochs in each arm (the hashes are equal); "
            f"median [min, max] of paired differences. Wanted: at most {LIMITS[task_id]}."
        ),
        "",
        "| engine alone, ms | the server adds, ms | quartiles | % | pool, ms | episode and journal, ms | wire, ms |",
        "|---|---|---|---|---|---|---|",
        (
            f"| {spread(engine)} | **{spread(added)}** | {quartiles[0]:.1f} to {quartiles[2]:.1f} | {spread(share)} | "
            + " | ".join(spread(parts[name]) for name in PARTS)
            + " |"
        ),
    ]
    figures = {"rounds": [vars(r) for r in rounds], "added_ms": statistics.median(added)}
    return Result(f"Added time, {task_id}", lines, {**figures, "added_percent": statistics.median(share)})


class Arm:
    """A child process that runs epochs; see `arms.py`."""

    def __init__(self, name: str, task_id: str, seed: int, data_dir: str, folder: Path) -> None:
        own = folder / name
        own.mkdir()
        inherited = environment(own)
        here = str(Path(__file__).resolve().parents[1])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "serving.arms", name, task_id, str(seed), data_dir, str(own / "state")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(own / "log.txt").open("wb"),
            env={**inherited, "PYTHONPATH": f"{inherited['PYTHONPATH']}{os.pathsep}{here}", "OMP_NUM_THREADS": "2"},
            text=True,
        )
        if self._answer() != "ready":
            raise RuntimeError((own / "log.txt").read_text())

    def run(self, epochs: int) -> tuple[float, str]:
        """Have it run epochs. Returns the seconds they took and the hash of the weights."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{epochs}\n")
        self._process.stdin.flush()
        seconds, digest = json.loads(self._answer())
        return seconds, digest

    def stop(self) -> None:
        """End it, and its worker with it."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class Caller:
    """The package's own client, in this process."""

    def __init__(self, server: Server, task_id: str, seed: int) -> None:
        from ml_trainer_env import MLTrainerEnv  # the benchmarks of sockets alone do without it

        self._env = MLTrainerEnv(base_url=server.url)
        self._task_id = task_id
        self._seed = seed
        self.source = ""

    def run(self, epochs: int) -> tuple[float, str]:
        """Call `run_epochs`. Returns the seconds it took and the hash of the weights."""
        began = time.perf_counter()
        reply = self._env.call_tool("run_epochs", num_epochs=epochs)
        return time.perf_counter() - began, reply["weights_hash"]

    def __enter__(self) -> "Caller":
        self._env.__enter__()
        begun = self._env.reset(task_id=self._task_id, seed=self._seed)
        self.source = begun.observation.task.dataset.source
        return self

    def __exit__(self, *_: object) -> None:
        self._env.__exit__(None, None, None)
