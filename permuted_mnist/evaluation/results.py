"""What comes out of an evaluation."""

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
    """Train and predict, or the imports and the constructor before them, took longer than they may."""

    OOM_KILLED = "oom_killed"
    """All its processes together took more memory than they may."""

    CODE_ERROR = "code_error"
    """It raised an exception, or is no agent."""

    CRASH = "crash"
    """Its process ended without an answer."""

    BAD_OUTPUT = "bad_output"
    """Predictions of another shape or with other values than they should have, or more output than is allowed."""


def failure_of(error: SandboxError) -> Failure:
    """What to call the end of a sandboxed program; all that floods or garbles is bad output."""
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
    """One task with one agent.

    Attributes:
        number: From 1.
        accuracy: Share of the test labels that are right; None if it failed.
        time_s: Seconds from the delivery of the training data to the predictions, or to the failure.
        train_s: Seconds of it until `train` returned; None if it did not.
        start_s: Seconds before that, for imports and the constructor.
        peak_memory_bytes: The most that all processes of the agent held, measured every 50 ms.
        failure: Why there is no accuracy; None if there is one.
        detail: What the failure was: a traceback, or what was expected and what came.
        log: The end of what the agent printed.
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
    """An agent's episodes.

    Attributes:
        agent: Name of its folder.
        variant: `standard` or `hardened`.
        source: `cache` for all of MNIST, `bundled` for the package's 10,000 images, `synthetic` for drawn digits.
        seed: The one that was given; None if it was a secret one.
        limits: What was enforced.
        layers: How.
        episodes: In order.
        delivery: The form in which images and labels were handed over.
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
        """Mean accuracy; an episode that failed counts as 0."""
        return float(np.mean([episode.accuracy or 0.0 for episode in self.episodes]))

    @property
    def hint(self) -> str | None:
        """What to try when the agent answered and learned nothing; None otherwise."""
        right = [episode.accuracy for episode in self.episodes if episode.accuracy is not None]
        return self.delivery.hint(float(np.mean(right))) if right else None

    @property
    def total_s(self) -> float:
        """Seconds for train and predict, all episodes."""
        return sum(episode.time_s for episode in self.episodes)

    @property
    def passed(self) -> bool:
        """Whether every episode has an accuracy, and all together kept to the time for so many."""
        return (
            all(episode.failure is None for episode in self.episodes)
            and self.total_s < len(self.episodes) * self.limits.wall_s
        )

    def as_json(self) -> dict[str, Any]:
        """As values that JSON has."""
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
