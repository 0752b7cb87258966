"""Wire values of HTTP, WebSocket and MCP. Needs no torch.

A loss that is not finite is null, because JSON has no NaN.
"""

from typing import Any

from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation
from openenv.core.env_server.types import Observation, State
from pydantic import BaseModel, ConfigDict, Field, model_serializer

__all__ = [
    "CallToolAction",
    "CallToolObservation",
    "DatasetDescription",
    "EpisodeObservation",
    "EpisodeState",
    "MLTrainerState",
    "ResetObservation",
    "TaskDescription",
    "TrainingStatus",
]


_SHOWN_BY_RULES_3 = frozenset({"initial_loss", "gradient_norm", "update_ratio", "dead_units"})
"""Fields of the training status that episodes of rules 1 and 2 do not have."""

_TOLD_BY_RULES_3 = frozenset({"split", "index", "group", "rubrics", "largest_batch"})
"""Fields of a task's description that episodes of rules 1 and 2 do not have."""


class TrainingStatus(BaseModel):
    """Where a training run stands: part of every reply."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    current_epoch: int = Field(ge=0, description="Epochs run: budget spent")
    max_epochs: int = Field(ge=1, description="The budget")
    remaining_budget: int = Field(ge=0, description="Epochs left; 0 once the seconds are spent")
    remaining_seconds: float | None = Field(
        default=None, ge=0, description="Seconds of training left, null where time is no matter"
    )
    train_loss: float | None = Field(description="Mean loss of the last epoch's batches, in nats")
    val_loss: float | None = Field(description="Validation loss after the last epoch, in nats")
    train_accuracy: float | None = Field(description="On clean training images, in evaluation mode")
    val_accuracy: float | None = Field(description="Validation accuracy after the last epoch")
    best_val_accuracy: float = Field(ge=0, le=1, description="Best validation accuracy so far")
    best_val_epoch: int = Field(ge=0, description="The epoch that reached it, 0 for none")
    loss_history_last_10: list[float | None] = Field(description="Training losses, oldest first")
    val_loss_history_last_10: list[float | None] = Field(description="Validation losses, oldest first")
    convergence_signal: str = Field(description="One word on where the run stands")
    is_diverged: bool = Field(description="The last epoch's loss was not finite or above 100")
    learning_rate: float = Field(ge=0, description="The rate of the next epoch")
    epoch_time_s: float | None = Field(description="Wall time of the last epoch, in seconds")
    initial_loss: float | None = Field(
        default=None, description="Loss of the last epoch's first batch before its first step, in nats"
    )
    gradient_norm: float | None = Field(default=None, description="L2 norm of all gradients, RMS over 4 steps")
    update_ratio: float | None = Field(
        default=None, description="Norm of a step's change of the weights by the norm of the weights, RMS over 4 steps"
    )
    dead_units: float | None = Field(
        default=None, description="Share of hidden units that are 0 or saturated for all of 256 training examples"
    )

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize):  # type: ignore[no-untyped-def]  # a type here would replace the JSON schema
        """Leave out the optional figures that were not set: earlier rules do not show them."""
        unset = _SHOWN_BY_RULES_3 - self.model_fields_set
        return {name: value for name, value in serialize(self).items() if name not in unset}


class DatasetDescription(BaseModel):
    """Which images a task uses, and where they came from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    source: str = Field(description="bundled, cache, download or synthetic (not the real images)")
    train_size: int
    validation_size: int
    test_size: int
    checksum: str = Field(description="SHA-256 of the images and labels before any permutation, whatever the source")


class TaskDescription(BaseModel):
    """What an episode's agent is asked to do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str
    split: str = Field(default="named", description="The split of the task API")
    index: int = Field(default=0, description="Its position in the split")
    description: str
    difficulty: str
    group: str = Field(default="", description="What the examples show: the data set or collection")
    network: str
    parameter_count: int
    dataset: DatasetDescription
    budget_epochs: int
    budget_seconds: float | None = Field(default=None, description="Of training, null where time is no matter")
    target_metric: str
    target_value: float
    rubrics: list[str] = Field(default=[], description="The rubrics that can grade it; the first is its own")
    largest_batch: int = Field(default=256, description="The largest batch size that is allowed")
    tools: list[str] = Field(description="The tools' names; list_tools gives their schemas")

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize):  # type: ignore[no-untyped-def]  # a type here would replace the JSON schema
        """Leave out the optional fields that were not set: earlier rules do not tell them."""
        unset = _TOLD_BY_RULES_3 - self.model_fields_set
        return {name: value for name, value in serialize(self).items() if name not in unset}


class EpisodeObservation(Observation):
    """The reply to a reset in any game: what the episode is, and what led to it."""

    episode_id: str
    seed: int = Field(ge=0, description="Fixes initial weights, shuffling, augmentation, dropout and any permutation")
    rubric: str = Field(description="v1, v2, v3 or accuracy")
    rules: int = Field(default=1, description="Version of the rules that the episode is played by")
    resumed: bool = Field(default=False, description="Whether the episode was begun in another session")
    forked_from: str | None = Field(default=None, description="The episode and place it was forked from")
    last_call: dict[str, Any] | None = Field(
        default=None, description="The last call written down: tool_name, arguments, reply or error"
    )


class ResetObservation(EpisodeObservation):
    """The reply to a reset: the task, and where the run stands: at its beginning, unless it is resumed or forked."""

    task: TaskDescription
    status: TrainingStatus
    configuration: dict[str, Any] = Field(default_factory=dict, description="The settings of the next epoch")


class EpisodeState(State):
    """The state of an episode in any game, without anything that is held out.

    `episode_id` and `step_count` (tool calls so far, refused ones included) come from the base.
    """

    task_id: str | None = None
    seed: int | None = None
    rubric: str | None = None
    done: bool = False


class MLTrainerState(EpisodeState):
    """An episode's state, without anything that is held out.

    `episode_id` and `step_count` (tool calls so far, refused ones included) come from the base.
    """

    status: TrainingStatus | None = None
    configuration: dict[str, Any] | None = None
    weights_hash: str | None = None
