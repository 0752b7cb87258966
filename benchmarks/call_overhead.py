"""What a call of `run_epochs(5)` costs beside its training.

    python benchmarks/call_overhead.py [--task easy_mnist] [--epochs 5] [--calls 19] [--episodes 3] [--json FILE]

A server of this tree runs on the loopback interface with one worker and no cache. The Python client is in this process.
The overhead of a call is the wall time that the client waits less the training time of the call's epochs. The journal
keeps the training time of each epoch as the worker measured it. So the overhead is that of the wire, the rules, the
journal, the store of models, and the way to the worker and back. The first call of an episode warms up and is not
counted. Nothing else should run meanwhile.

To compare two versions of the program, run them in turn, and look at the wall time too: a version may measure the
training time of an epoch in another way.
"""

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from serving.figures import circumstances
from serving.processes import Server

from ml_trainer_env import MLTrainerEnv

JOURNAL = "journal.sqlite3"
FIRST_SEED = 2026
THREADS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="easy_mnist")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of a call (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=19, help="calls of an episode that are counted")
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    arguments = parser.parse_args()
    where = circumstances()
    print(f"{where}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="call-overhead-") as folder:
        calls = measure(Path(folder), arguments.task, arguments.epochs, arguments.calls, arguments.episodes)
    overheads = [1000 * (wall - training) for wall, training in calls]
    walls = [1000 * wall for wall, _ in calls]
    trainings = [1000 * training for _, training in calls]
    print(f"`run_epochs({arguments.epochs})` on {arguments.task}, {THREADS} threads, no cache, n = {len(calls)} calls:")
    print(f"- overhead, ms: {spread(overheads)}")
    print(f"- training, ms: {spread(trainings)}")
    print(f"- wall time of the call, ms: {spread(walls)}")
    if arguments.json:
        figures = {"circumstances": where, "overhead_ms": overheads, "training_ms": trainings, "wall_ms": walls}
        arguments.json.write_text(json.dumps(figures, indent=1))


def measure(folder: Path, task: str, epochs: int, calls: int, episodes: int) -> list[tuple[float, float]]:
    """Seconds of each call: as the client waited, and of its epochs' training."""
    measured = []
    with Server(folder, workers=1, torch_threads=THREADS, cache="no") as server:
        for number in range(episodes):
            with MLTrainerEnv(base_url=server.url) as env:
                begun = env.reset(task_id=task, seed=FIRST_SEED + number)
                walls = [_timed_call(env, epochs) for _ in range(calls + 1)]
                trainings = training_seconds(server.state_dir / JOURNAL, begun.observation.episode_id)
            measured += list(zip(walls, trainings, strict=True))[1:]
    return measured


def training_seconds(journal: Path, episode: str) -> list[float]:
    """Seconds that the epochs of each call took where they were trained, as the journal has them."""
    query = "SELECT calls.epochs FROM calls JOIN episodes ON calls.episode = episodes.id WHERE name = ? ORDER BY number"
    with closing(sqlite3.connect(journal)) as database:
        rows = database.execute(query, (episode,)).fetchall()
    return [sum(epoch[2] for epoch in json.loads(epochs)) for (epochs,) in rows]


def spread(values: list[float]) -> str:
    """Median, quartiles, least and greatest."""
    low, _, high = statistics.quantiles(values, n=4)
    median = statistics.median(values)
    return f"median {median:.1f}, quartiles {low:.1f} to {high:.1f}, range {min(values):.1f} to {max(values):.1f}"


def _timed_call(env: MLTrainerEnv, epochs: int) -> float:
    began = time.perf_counter()
    env.call_tool("run_epochs", num_epochs=epochs)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
