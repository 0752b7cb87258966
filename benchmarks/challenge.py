"""The agents of Permuted MNIST, under the competition's limits, and what the sandbox costs.

    python benchmarks/challenge.py [--episodes 10] [--seed 2026] [--only agents,layout,sandbox] [--json FILE]
    python benchmarks/challenge.py --only agents --agents FOLDER...     (agents of others, instead of ours)

- agents: accuracy, seconds and memory of each agent over the same tasks, handed over as the competition does,
  `unscramble` without its layout step among them (about 30 minutes);
- layout: how exactly the layout of those tasks is recovered, and how long that takes (about 1 minute);
- sandbox: seconds to start one, and the same agent inside and outside (about 3 minutes).

Needs all of MNIST (ML_TRAINER_DATA_DIR, else ../shared/data), two processors and nothing else that runs.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from serving.figures import circumstances, percentile, spread
from serving.processes import ROOT
from tqdm import tqdm

from permuted_mnist.agent.linear.agent import Agent as Linear
from permuted_mnist.agent.unscramble.layout import recover_layout
from permuted_mnist.cli import OWN_AGENTS
from permuted_mnist.evaluation.results import Evaluation
from permuted_mnist.evaluation.series import evaluate
from permuted_mnist.mnist import Mnist, load_mnist
from permuted_mnist.predictions import accuracy
from permuted_mnist.sandbox.layers import find_layers
from permuted_mnist.tasks import SIDE, draw_task

SHARED_DATA = ROOT.parent / "shared" / "data"
AGENTS = ("random", "linear", "mlp", "mlp_fast", "unscramble", "unscramble without its layout step")
STARTS = 100
ROUNDS = 10
MB = 2**20

NO_LAYOUT = '''"""The pixels as they come: what `unscramble` is worth without its layout step."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Layout:
    order: Any

    def applied(self, images: Any) -> Any:
        return images.reshape(len(images), -1)


def recover_layout(images: Any) -> Layout:
    return Layout(np.arange(images[0].size))
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--only", default="agents,layout,sandbox")
    parser.add_argument("--agents", nargs="+", default=AGENTS, metavar="FOLDER")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    named = os.environ.get("ML_TRAINER_DATA_DIR")
    mnist = load_mnist(Path(named) if named else SHARED_DATA)
    where = f"{circumstances()}; {len(mnist.train_labels)} training images; {', '.join(find_layers().names)}"
    print(f"{where}\n", flush=True)
    figures: dict[str, Any] = {"circumstances": where}
    parts = {
        "agents": lambda *given: agents(*given, arguments.agents),
        "layout": layout,
        "sandbox": sandbox,
    }
    for name in arguments.only.split(","):
        figures[name] = parts[name](mnist, arguments.episodes, arguments.seed)
        print(flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def agents(mnist: Mnist, episodes: int, seed: int, names: Sequence[str]) -> dict[str, Any]:
    """Each agent over the same tasks, one after the other."""
    print("| agent | accuracy, mean | sd | least | train and predict, s | loading, s | peak memory, MB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    found = {}
    for name in names:
        with folder_of(name) as folder, tqdm(total=episodes, desc=name, leave=False) as bar:
            result = evaluate(
                folder, mnist, find_layers(), episodes, seed=seed, on_episode=lambda _, bar=bar: bar.update()
            )
        print(f"| {Path(name).name} | {_row(result)} |", flush=True)
        found[name] = result.as_json()
    return found


def _row(result: Evaluation) -> str:
    failed = [str(episode.failure) for episode in result.episodes if episode.failure]
    if failed:
        return f"failed: {', '.join(failed)}"
    right = [episode.accuracy or 0.0 for episode in result.episodes]
    deviation = statistics.stdev(right) if len(right) > 1 else 0.0
    played, loaded = ([getattr(e, name) for e in result.episodes] for name in ("time_s", "start_s"))
    memory = max(episode.peak_memory_bytes for episode in result.episodes) / MB
    return (
        f"**{statistics.mean(right):.4f}** | {deviation:.4f} | {min(right):.4f} | {spread(played)} | {spread(loaded)} "
        f"| {memory:.0f}"
    )


@contextmanager
def folder_of(name: str) -> Iterator[Path]:
    """An agent's folder; for `unscramble` without its layout step one that is made for it."""
    if (Path(name) / "agent.py").is_file():
        yield Path(name)
        return
    plain = OWN_AGENTS / name.split()[0]
    if plain.name == name:
        yield plain
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "agent"
        shutil.copytree(plain, folder)
        (folder / "layout.py").write_text(NO_LAYOUT)
        yield folder


def layout(mnist: Mnist, episodes: int, seed: int) -> dict[str, Any]:
    """Recovers the layout of each task, in this process."""
    shares, seconds = [], []
    for number in range(episodes):
        task = draw_task(mnist, seed, number)
        began = time.perf_counter()
        order = recover_layout(task.train_images).order
        seconds.append(time.perf_counter() - began)
        shares.append(exactness(task.pixel_permutation[order], lit(mnist)))
    told = [100 * share for share in shares]
    print(f"Of {int(lit(mnist).sum())} pixels that vary, at their place (up to a rotation, a reflection and a shift):")
    print(f"{spread(told, 2)} %; {spread(seconds, 2)} s; n = {episodes} tasks.")
    return {"shares": shares, "seconds": seconds}


def lit(mnist: Mnist) -> np.ndarray:
    """Pixels that vary enough to be told apart, (784,) of bool."""
    deviations = mnist.train_images.reshape(len(mnist.train_images), -1).std(0)
    return deviations > 0.03 * deviations.max()


def exactness(board: np.ndarray, counted: np.ndarray) -> float:
    """Share of pixels that lie where they should, by the best rotation, reflection and shift.

    Args:
        board: (784,): the digit's pixel that came to lie at each place.
        counted: (784,) of bool: those that count.
    """
    places = np.empty(SIDE * SIDE, int)
    places[board] = np.arange(SIDE * SIDE)
    true = np.stack(np.divmod(np.flatnonzero(counted), SIDE), 1)
    came = np.stack(np.divmod(places[counted], SIDE), 1)
    best = 0.0
    for turned in (came, came[:, ::-1]):
        for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            _, counts = np.unique(turned * signs - true, axis=0, return_counts=True)
            best = max(best, float(counts.max() / len(true)))
    return best


def sandbox(mnist: Mnist, _: int, seed: int) -> dict[str, Any]:
    """What it costs to be held."""
    small = Mnist(
        mnist.train_images[:100], mnist.train_labels[:100], mnist.test_images[:10], mnist.test_labels[:10], mnist.source
    )
    starts = [
        1000 * e.start_s for e in evaluate(OWN_AGENTS / "random", small, find_layers(), STARTS, seed=seed).episodes
    ]
    plain = [1000 * _plain_start() for _ in range(STARTS)]
    print("| start-up | P50, ms | P99, ms | n |\n|---|---|---|---|")
    for name, values in (("an agent that needs numpy alone", starts), ("an interpreter that imports numpy", plain)):
        print(f"| {name} | {percentile(values, 50):.0f} | {percentile(values, 99):.0f} | {STARTS} |")
    print()
    inside, outside = [], []
    for number in range(ROUNDS):
        outside.append(_linear_outside(mnist, seed + number))
        held = evaluate(OWN_AGENTS / "linear", mnist, find_layers(), 1, seed=seed + number).episodes[0]
        inside.append((held.time_s, held.accuracy))
    print("| `linear` | accuracy, mean | train and predict, s |\n|---|---|---|")
    for name, rows in (("outside", outside), ("inside", inside)):
        print(f"| {name} | {statistics.mean(row[1] for row in rows):.4f} | {spread([row[0] for row in rows], 2)} |")
    ratio = [one[0] / other[0] for one, other in zip(inside, outside, strict=True)]
    print(f"\nInside over outside, n = {ROUNDS} interleaved pairs: {spread(ratio, 3)}.")
    return {"starts_ms": starts, "plain_ms": plain, "inside": inside, "outside": outside}


def _plain_start() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-B", "-c", "import numpy"], check=True)
    return time.perf_counter() - began


def _linear_outside(mnist: Mnist, seed: int) -> tuple[float, float]:
    task = draw_task(mnist, seed, 0)
    agent = Linear(output_dim=10, seed=1)
    began = time.perf_counter()
    agent.train(task.train_images, task.train_labels)
    predictions = agent.predict(task.test_images)
    return time.perf_counter() - began, accuracy(predictions, task.test_labels)


if __name__ == "__main__":
    main()
