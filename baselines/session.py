"""The interface between an agent and an episode: a brief, tools, and tool calls.

Agents depend on this protocol and not on HTTP.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ml_trainer_env.errors import MLTrainerError

__all__ = [
    "Brief",
    "BriefT",
    "CallRefusedError",
    "DatasetBrief",
    "EpisodeBrief",
    "EpisodeNotBegunError",
    "GameSession",
    "Reply",
    "Session",
    "ToolSpec",
]

_CLOSING_EPOCHS = 20
_CLASSES = re.compile(r"tell (\d+) classes apart")

Reply = Mapping[str, Any]
"""Answer of a tool: a flat mapping. A metric is None if it is not finite or not known yet."""


class EpisodeNotBegunError(MLTrainerError, RuntimeError):
    """The environment refused to begin an episode. The message gives the reason."""


class CallRefusedError(MLTrainerError, RuntimeError):
    """The environment refused a call and changed nothing. The message gives the reason."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool in the server's list.

    Attributes:
        name: Name of the tool.
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
        name: Name of the data set.
        source: `bundled`, `cache`, `download` or `synthetic`.
        train_size: Number of training images.
        validation_size: Number of validation images. The agent sees the accuracy on them.
        test_size: Number of held-out images.
    """

    name: str
    source: str
    train_size: int
    validation_size: int
    test_size: int


@dataclass(frozen=True, slots=True)
class EpisodeBrief:
    """Description of an episode of any game, from the reply to a reset.

    Attributes:
        episode_id: The server's id of the episode.
        task_id: Id of the task, such as `easy_mnist`.
        name: Title of the task.
        description: Description of the task, one or more sentences.
        difficulty: `easy`, `medium` or `hard`; in the fleet the tier.
        seed: Seed of the episode.
        rubric: The grading rubric.
        status: The first observation.
    """

    episode_id: str
    task_id: str
    name: str
    description: str
    difficulty: str
    seed: int
    rubric: str
    status: Reply

    @property
    def closing_epochs(self) -> int:
        """Epochs that the program runs before it submits for an agent that never trained. 0 if none are needed."""
        return 0


@dataclass(frozen=True, slots=True)
class Brief(EpisodeBrief):
    """Description of an episode of the tuning game.

    Attributes:
        network: Name of the network to train.
        parameter_count: Number of trainable parameters.
        dataset: The images.
        budget_epochs: Budget of epochs.
        target_metric: Metric of the target, such as `val_accuracy`.
        target_value: Value of the target.
        budget_seconds: Budget of training seconds; None without a time limit.
        largest_batch: The largest batch size that is allowed.
    """

    network: str
    parameter_count: int
    dataset: DatasetBrief
    budget_epochs: int
    target_metric: str
    target_value: float
    budget_seconds: float | None = None
    largest_batch: int = 256

    @property
    def is_graded_by_loss(self) -> bool:
        """Whether the figure of merit is the loss for the next token, and not the accuracy."""
        return "predict the next token" in self.description

    @property
    def class_count(self) -> int | None:
        """Number of classes. None where the description does not tell it."""
        found = _CLASSES.search(self.description)
        return int(found[1]) if found else None

    @property
    def closing_epochs(self) -> int:
        """The most of one call."""
        return min(_CLOSING_EPOCHS, self.budget_epochs)


BriefT = TypeVar("BriefT", bound=EpisodeBrief)
"""The briefs of a game."""
BriefT_co = TypeVar("BriefT_co", bound=EpisodeBrief, covariant=True)


class GameSession(Protocol[BriefT_co]):
    """A running episode of a game."""

    @property
    def brief(self) -> BriefT_co:
        """Description of the episode."""

    @property
    def tools(self) -> Sequence[ToolSpec]:
        """The tools that may be called."""

    def call(self, name: str, arguments: Mapping[str, object], reason: str = "") -> Reply:
        """Call a tool.

        Args:
            name: Name of the tool.
            arguments: Its arguments.
            reason: Why the agent calls it, for people who watch. It changes nothing.

        Raises:
            CallRefusedError: The environment refused the call.
            ConnectionError: The connection to the environment is lost.
        """


Session = GameSession[Brief]
"""A running episode of the tuning game."""
