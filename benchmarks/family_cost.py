"""What a calibrated task costs: seconds of a reset, of an episode's whole budget and of a submission, and memory.

    python benchmarks/family_cost.py --split validation

One client plays every task of the split over WebSocket, on a server with one worker of one thread, without the cache:
`reset`, the whole budget with the settings of the run in calls of up to 20 epochs, and `submit_model`. The memory of a
worker is the most that it ever had resident (VmHWM in /proc), after all tasks. Nothing else should run meanwhile.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.figures import circumstances
from serving.processes import Server, children

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.server.tuning.families.tasks import count_family_tasks

LARGEST_CALL = 20


@dataclass(frozen=True, slots=True)
class Cost:
    """What one task cost, in seconds by the client's clock."""

    task: str
    reset: float
    epochs: float
    submission: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--split", default="validation", help="default: %(default)s")
    parser.add_argument("--tasks", type=int, help="number of tasks (default: all)")
    given = parser.parse_args()
    known = count_family_tasks(given.split)
    print(f"{circumstances()}\n", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="family-cost-") as folder,
        Server(Path(folder), workers=1, torch_threads=1, cache="no") as server,
        MLTrainerEnv(base_url=server.url) as env,
    ):
        before = _peak_mb(server)
        costs = [play(env, f"tuning/{given.split}/{index}") for index in range(min(known, given.tasks or known))]
        after = _peak_mb(server)
    print(f"{given.split}, {len(costs)} tasks\n")
    print("| seconds | median | 95th percentile | most | of |\n|---|---|---|---|---|")
    for name in ("reset", "epochs", "submission"):
        print(_row(name, costs, [getattr(cost, name) for cost in costs]))
    print(_row("whole episode", costs, [cost.reset + cost.epochs + cost.submission for cost in costs]))
    print(f"\nworker, most memory resident: {before:.0f} MB when it had started, {after:.0f} MB after all tasks")


def play(env: MLTrainerEnv, task: str) -> Cost:
    """Play a task with the settings that its run was left with."""
    begun = time.perf_counter()
    left = env.reset(task_id=task).observation.task.budget_epochs
    reset = time.perf_counter()
    while left > 0:
        env.call_tool("run_epochs", num_epochs=min(LARGEST_CALL, left))
        left -= LARGEST_CALL
    trained = time.perf_counter()
    env.call_tool("submit_model")
    return Cost(task, reset - begun, trained - reset, time.perf_counter() - trained)


def _row(name: str, costs: Sequence[Cost], seconds: Sequence[float]) -> str:
    most = max(range(len(costs)), key=seconds.__getitem__)
    high = sorted(seconds)[int(0.95 * (len(seconds) - 1))]
    return f"| {name} | {statistics.median(seconds):.3f} | {high:.3f} | {seconds[most]:.3f} | {costs[most].task} |"


def _peak_mb(server: Server) -> float:
    """Return the most memory that the worker ever had resident."""
    peaks = []
    for pid in children(server.pid):
        facts = Path(f"/proc/{pid}/status").read_text().splitlines()
        peaks += [int(line.split()[1]) / 1024 for line in facts if line.startswith("VmHWM")]
    return max(peaks)


if __name__ == "__main__":
    main()
