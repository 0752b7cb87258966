"""The replies of the tuning game's tools, as models and as JSON schemas.

MCP clients check replies against these schemas. A property that some replies lack is not required. A reply may have
more properties than its schema.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ml_trainer_env.models import TrainingStatus
from ml_trainer_env.server.episodes.schemas import plain_schema

__all__ = ["CHECKPOINTS_SCHEMA", "STATUS_SCHEMA", "TASK_SCHEMA", "TRAINING_SCHEMA"]


class _Reply(TrainingStatus):
    model_config = ConfigDict(extra="ignore")

    reward: float = Field(description="Paid for this call")
    done: bool = Field(description="Whether the episode is over")
    configuration: dict[str, Any] = Field(description="The settings of the next epoch")
    message: str = Field(description="What the call did, in words")
    weights_hash: str | None = Field(description="SHA-256 of the weights, null before the first epoch")
    from_cache: bool = Field(description="Whether all epochs of the call had been trained before, by whomever")
    reward_parts: dict[str, float] = Field(default={}, description="What the reward is made of, where one was paid")
    score: float = Field(default=0.0, description="The grade, at the end of the episode")
    details: dict[str, float | None] = Field(default={}, description="What the score is made of")
    grade: dict[str, Any] = Field(default={}, description="score and details in one place, at the end")
    graded_epoch: int | None = Field(default=None, description="The epoch whose model was graded, at the end")
    test_accuracy: float | None = Field(default=None, description="On held-out images, at the end")
    submitted_accuracy: float = Field(default=0.0, description="v3: the submitted model on hidden examples")
    submitted_loss: float = Field(default=0.0, description="v3: its loss there, in nats")
    best_accuracy: float = Field(default=0.0, description="v3: the model of the best validation accuracy there")
    best_loss: float = Field(default=0.0, description="v3: its loss there, in nats")


class _EpochRow(BaseModel):
    epoch: int = Field(ge=1)
    train_loss: float | None
    val_loss: float | None
    train_accuracy: float | None
    val_accuracy: float | None
    learning_rate: float
    from_cache: bool
    epoch_time_s: float = Field(default=0.0, description="Wall time of the epoch, in seconds")
    initial_loss: float | None = None
    gradient_norm: float | None = None
    update_ratio: float | None = None
    dead_units: float | None = None


class _TrainingReply(_Reply):
    epochs: list[_EpochRow] = Field(default=[], description="The epochs of this call")


class _Checkpoint(BaseModel):
    name: str
    epoch: int
    val_accuracy: float | None


class _CheckpointsReply(_Reply):
    checkpoints: list[_Checkpoint] = Field(default=[], description="Those kept, oldest first")


class _TaskRow(BaseModel):
    id: str
    split: str
    index: int
    name: str
    description: str
    difficulty: str
    group: str
    cost_s: float | None = Field(description="Seconds of an episode that spends the whole budget, as measured once")
    budget_epochs: int
    budget_seconds: float | None
    target_metric: str
    target_value: float
    rubrics: list[str] = Field(description="The rubrics that can grade it; the first is its own")


STATUS_SCHEMA = plain_schema(_Reply)
"""The reply of tools that add no fields."""

TRAINING_SCHEMA = plain_schema(_TrainingReply)
"""The reply of `run_epochs`."""

CHECKPOINTS_SCHEMA = plain_schema(_CheckpointsReply)
"""The reply of the tools for checkpoints."""

TASK_SCHEMA = plain_schema(_TaskRow)
"""A row of the task table."""
