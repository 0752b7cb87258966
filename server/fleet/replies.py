"""The replies of the fleet's tools, as models and as JSON schemas."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ml_trainer_env.fleet_models import FleetStatus
from ml_trainer_env.server.episodes.schemas import plain_schema

__all__ = [
    "CHECKPOINTS_SCHEMA",
    "INSPECTION_SCHEMA",
    "LOG_SCHEMA",
    "METRICS_SCHEMA",
    "STATUS_SCHEMA",
    "STEPS_SCHEMA",
    "TASK_SCHEMA",
]


class _Reply(FleetStatus):
    model_config = ConfigDict(extra="ignore")

    reward: float = Field(description="Paid for this call")
    done: bool = Field(description="Whether the episode is over")
    message: str = Field(description="What the call did, in words")
    reward_parts: dict[str, float] = Field(default={}, description="What the reward is made of")
    score: float = Field(default=0.0, description="The share of the harm that was repaired, at the end")
    held_out_loss: float = Field(default=0.0, description="Of the model, in nats a character, at the end")
    nothing_loss: float = Field(default=0.0, description="The same, had nobody acted")
    clean_loss: float = Field(default=0.0, description="The same, had nothing gone wrong")
    incidents: list[str] = Field(default=[], description="What had gone wrong, at the end")
    faults: list[dict[str, Any]] = Field(default=[], description="The same with all parameters")
    reports: list[dict[str, Any]] = Field(default=[], description="Your reports, and whether they were right")


class _StepsReply(_Reply):
    losses: list[list[float | None]] = Field(default=[], description="Pairs of a step and its loss, some of the call's")
    events: list[str] = Field(default=[], description="What happened besides, the last of the call's")


class _MetricsReply(_Reply):
    steps: list[int] = Field(default=[], description="The first and the last step")
    values: dict[str, Any] = Field(default={}, description="By group")


class _LogReply(_Reply):
    lines: list[str] = Field(default=[], description="The last lines, the newest last")


class _Checkpoint(BaseModel):
    id: str
    step: int
    saved_s: float | None = Field(description="When it was saved, in seconds of virtual time")
    loss: float | None


class _CheckpointsReply(_Reply):
    checkpoints: list[_Checkpoint] = Field(default=[], description="Those kept, oldest first")


class _InspectionReply(_Reply):
    model_config = ConfigDict(extra="allow")

    self_test: dict[str, float] = Field(default={}, description="Of a node")
    statistics: dict[str, float] = Field(default={}, description="Of a shard's characters")
    probe_loss: float = Field(default=0.0, description="Of a checkpoint, in nats a character")
    optimizer_norm: float = Field(default=0.0, description="L2 norm of Adam's second moment in a checkpoint")


class _TaskRow(BaseModel):
    id: str
    split: str
    index: int
    name: str
    description: str
    difficulty: str
    group: str
    cost_s: float | None = Field(description="CPU seconds of an episode in which nobody acts, as measured once")
    reservation_s: float


STATUS_SCHEMA = plain_schema(_Reply)
STEPS_SCHEMA = plain_schema(_StepsReply)
METRICS_SCHEMA = plain_schema(_MetricsReply)
LOG_SCHEMA = plain_schema(_LogReply)
CHECKPOINTS_SCHEMA = plain_schema(_CheckpointsReply)
INSPECTION_SCHEMA = plain_schema(_InspectionReply)
TASK_SCHEMA = plain_schema(_TaskRow)
