"""What an agent plays against: one episode, described by values and driven by tool calls.

Agents know this Protocol and nothing of HTTP, so that they play a server, or a stand-in in
a test, alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ml_trainer_env.errors import MLTrainerError

__all__ = [
    "Brief",
    "CallRefusedError",
    "DatasetBrief",
    "EpisodeNotBegunError",
    "Reply",
    "Session",
    "ToolSpec",
]

Reply = Mapping[str, Any]
"""A tool's answer: a flat mapping, `None` where a figure is not finite or not there yet."""


class EpisodeNotBegunError(MLTrainerError, RuntimeError):
    """The environment refused to begin an episode. The text says why."""


class CallRefusedError(MLTrainerError, RuntimeError):
    """The environment refused a call and changed nothing. The text says why."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the server lists it.

    Attributes:
        name: What to call it by.
        description: One or more sentences.
        input_schema: JSON schema of its parameters, with choices and bounds.
    """

    name: str
    description: str
    input_schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DatasetBrief:
    """The images of a task.

    Attributes:
        name: The data set.
        source: `bundled`, `cache`, `download` or `synthetic`.
        train_size: Images to train on.
        validation_size: Images that the agent is shown the accuracy on.
        test_size: Held-out images.
    """

    name: str
    source: str
    train_size: int
    validation_size: int
    test_size: int


@dataclass(frozen=True, slots=True)
class Brief:
    """What a reset says about the episode.

    Attributes:
        episode_id: The server's name for the episode.
        task_id: Such as `easy_mnist`.
        name: The task in words.
        description: What is asked, in a sentence or more.
        difficulty: `easy`, `medium` or `hard`.
        network: Name of the network to train.
        parameter_count: Its trainable parameters.
        dataset: The images.
        budget_epochs: Epochs that may be spent.
        target_metric: What the target is about, such as `val_accuracy`.
        target_value: The figure aimed at.
        seed: The episode's seed.
        rubric: The grading, `v1` or `v2`.
        status: The first observation.
        budget_seconds: Seconds of training that may be spent, None where time is no matter.
    """

    episode_id: str
    task_id: str
    name: str
    description: str
    difficulty: str
    network: str
    parameter_count: int
    dataset: DatasetBrief
    budget_epochs: int
    target_metric: str
    target_value: float
    seed: int
    rubric: str
    status: Reply
    budget_seconds: float | None = None


class Session(Protocol):
    """An episode under way."""

    @property
    def brief(self) -> Brief:
        """What the episode is about."""

    @property
    def tools(self) -> Sequence[ToolSpec]:
        """The tools that may be called."""

    def call(self, name: str, arguments: Mapping[str, object]) -> Reply:
        """Call a tool.

        Raises:
            CallRefusedError: The environment refused the call.
            ConnectionError: The environment is gone.
        """
