"""Results of an evaluation."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from permuted_mnist.delivery import Delivery
from permuted_mnist.sandbox.errors import EndedError, OutOfMemoryError, SandboxError, TimedOutError
from permuted_mnist.sandbox.layers import Layers
from permuted_mnist.sandbox.limits import Limits

__all__ = ["EpisodeResult", "Evaluation", "Failure", "failure_of"]


class Failure(StrEnum):
    """Why an episode has no accuracy."""

    TIMEOUT = "timeout"
    """`train` and `predict`, or the imports and the constructor, exceeded their time limit."""

    OOM_KILLED = "oom_killed"
    """The agent's processes together exceeded the memory limit."""

    CODE_ERROR = "code_error"
    """The agent raised an exception, or the folder contains no valid agent."""

    CRASH = "crash"
    """The agent's process ended without an answer."""

    BAD_OUTPUT = "bad_output"
    """The predictions have a wrong shape or wrong values, or the output limit was exceeded."""


def failure_of(error: SandboxError) -> Failure:
    """Map an error of the sandbox to a failure. Invalid or excessive output is `BAD_OUTPUT`."""
    match error:
        case TimedOutError():
            return Failure.TIMEOUT
        case OutOfMemoryError():
            return Failure.OOM_KILLED
        case EndedError():
            return Failure.CRASH
    return Failure.BAD_OUTPUT


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """The result of one task with one agent.

    Attributes:
        number: Number of the episode, from 1.
        accuracy: Share of correct test labels; None after a failure.
        time_s: Seconds from the delivery of the training data to the predictions or the failure.
        train_s: Seconds from the delivery until `train` returned; None if it did not return.
        start_s: Seconds for imports and the constructor, before the delivery.
        peak_memory_bytes: Peak memory of all processes of the agent, measured every 50 ms.
        failure: Kind of failure; None if there is an accuracy.
        detail: A traceback, or what was expected and what came.
        log: The end of the agent's output.
    """

    number: int
    accuracy: float | None
    time_s: float
    train_s: float | None
    start_s: float
    peak_memory_bytes: int
    failure: Failure | None = None
    detail: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        agent: Name of the agent's folder.
        variant: `standard` or `hardened`.
        source: `cache` for all of MNIST, `bundled` for the package's 10,000 images, `synthetic` for drawn digits.
        seed: The given seed; None for a secret one.
        limits: The enforced limits.
        layers: The sandbox layers.
        episodes: Results in order.
        delivery: The form of images and labels.
    """

    agent: str
    variant: str
    source: str
    seed: int | None
    limits: Limits
    layers: Layers
    episodes: tuple[EpisodeResult, ...]
    delivery: Delivery = Delivery.COMPETITION

    @property
    def score(self) -> float:
        """Mean accuracy. A failed episode counts as 0."""
        return float(np.mean([episode.accuracy or 0.0 for episode in self.episodes]))

    @property
    def hint(self) -> str | None:
        """A hint if the agent answered but learned nothing; otherwise None."""
        right = [episode.accuracy for episode in self.episodes if episode.accuracy is not None]
        return self.delivery.hint(float(np.mean(right))) if right else None

    @property
    def total_s(self) -> float:
        """Total seconds for `train` and `predict`."""
        return sum(episode.time_s for episode in self.episodes)

    @property
    def passed(self) -> bool:
        """Whether every episode has an accuracy, and the total time is within the sum of their limits."""
        return (
            all(episode.failure is None for episode in self.episodes)
            and self.total_s < len(self.episodes) * self.limits.wall_s
        )

    def as_json(self) -> dict[str, Any]:
        """Convert to JSON types."""
        limits, layers = self.limits, self.layers
        return {
            "agent": self.agent,
            "score": round(self.score, 6),
            "total_s": round(self.total_s, 3),
            "passed": self.passed,
            "hint": self.hint,
            "variant": self.variant,
            "delivery": str(self.delivery),
            "source": self.source,
            "seed": self.seed,
            "limits": {name: getattr(limits, name) for name in limits.__slots__},
            "enforced_by": layers.names,
            "weaker_here": list(layers.missing),
            "episodes": [{name: getattr(episode, name) for name in episode.__slots__} for episode in self.episodes],
        }
