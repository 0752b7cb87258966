"""Evaluates an agent on a series of tasks, each in a new process."""

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

__all__ = ["NoAgentError", "agent_seed", "copy_agent", "evaluate"]


class NoAgentError(Exception):
    """The path contains no agent. The message says what was expected."""


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
        folder: Folder with `agent.py` and its files. It is copy_agent first, so later changes have no effect.
        mnist: The result of `load_digits` for the variant.
        layers: Sandbox layers; see `find_layers`.
        episodes: Number of tasks, at least 1.
        variant: Variant of the images.
        seed: Determines the tasks and the agent's seeds. None draws a secret seed. The seed reveals the answers.
        limits: Resource limits; None for the competition's.
        on_episode: Called with each result at once.
        delivery: The form of images and labels.

    Raises:
        NoAgentError: `agent.py` does not exist.
        OSError: The sandbox cannot be started.
    """
    limits = limits or Limits()
    drawn = secrets.randbits(64) if seed is None else seed
    results: list[EpisodeResult] = []
    with copy_agent(folder) as copy:
        for number in range(episodes):
            task = draw_task(mnist, drawn, number, variant)
            results.append(run_episode(number + 1, copy, task, limits, layers, agent_seed(drawn, number), delivery))
            on_episode(results[-1])
    return Evaluation(folder.resolve().name, variant, str(mnist.source), seed, limits, layers, tuple(results), delivery)


@contextmanager
def copy_agent(folder: Path) -> Iterator[Path]:
    """Copy an agent's folder so that every user can read it. The copy is deleted at the end of the block.

    Links are copy_agent as links. Files outside the folder are not copy_agent.

    Raises:
        NoAgentError: `agent.py` does not exist.
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
    """Derive a seed for the agent. The seed of the tasks cannot be computed from it."""
    digest = hashlib.sha256(f"agent {seed} {number}".encode()).digest()
    return int.from_bytes(digest[:4])
