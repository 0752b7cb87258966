"""Several tasks, one after another, each in a process of its own."""

import hashlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from permuted_mnist.delivery import Delivery
from permuted_mnist.evaluation.episode import run_episode
from permuted_mnist.evaluation.results import EpisodeResult, Evaluation
from permuted_mnist.hardening import DrawnDigits
from permuted_mnist.mnist import Mnist
from permuted_mnist.sandbox.layers import Layers
from permuted_mnist.sandbox.limits import Limits
from permuted_mnist.tasks import Variant, draw_task

__all__ = ["NoAgentError", "agent_seed", "copied", "evaluate"]


class NoAgentError(Exception):
    """There is no agent at the path. The message says what was looked for."""


def evaluate(
    folder: Path,
    mnist: Mnist | DrawnDigits,
    layers: Layers,
    episodes: int = 10,
    variant: Variant = Variant.STANDARD,
    seed: int | None = None,
    limits: Limits | None = None,
    on_episode: Callable[[EpisodeResult], None] = lambda _: None,
    delivery: Delivery = Delivery.COMPETITION,
) -> Evaluation:
    """Evaluate an agent.

    Args:
        folder: Holds `agent.py` and whatever it needs. What is there now is run, also if it changes meanwhile.
        mnist: The digits, as `load_digits` returns them for the variant.
        layers: What holds the agent; see `find_layers`.
        episodes: How many tasks, at least 1.
        variant: Which images are permuted.
        seed: Gives the same tasks again, and the agent the same seeds. A secret one if None: whoever can guess it can
            draw the tasks, answers included.
        limits: What the agent may use; the competition's if None.
        on_episode: Called with each result as it comes.
        delivery: The form in which the agent receives images and labels.

    Raises:
        NoAgentError: There is no `agent.py`.
        OSError: The sandbox cannot be started.
    """
    limits = limits or Limits()
    drawn = secrets.randbits(64) if seed is None else seed
    results: list[EpisodeResult] = []
    with copied(folder) as copy:
        for number in range(episodes):
            task = draw_task(mnist, drawn, number, variant)
            results.append(run_episode(number + 1, copy, task, limits, layers, agent_seed(drawn, number), delivery))
            on_episode(results[-1])
    return Evaluation(folder.resolve().name, variant, str(mnist.source), seed, limits, layers, tuple(results), delivery)


@contextmanager
def copied(folder: Path) -> Iterator[Path]:
    """A copy of an agent's folder that every user can read.

    Links stay links: what they lead to outside is not taken along.

    Raises:
        NoAgentError: There is no `agent.py`.
    """
    if not (folder / "agent.py").is_file():
        raise NoAgentError(f"there should be a file agent.py in {folder}")
    with tempfile.TemporaryDirectory(prefix="permuted-mnist-") as temporary:
        Path(temporary).chmod(0o711)
        copy = Path(temporary) / "agent"
        shutil.copytree(folder, copy, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".git", ".venv"))
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)
        yield copy


def agent_seed(seed: int, number: int) -> int:
    """A seed for the agent from which the task's cannot be computed."""
    digest = hashlib.sha256(f"agent {seed} {number}".encode()).digest()
    return int.from_bytes(digest[:4])
