"""What the tools answer, as JSON schemas: for MCP clients, which check structured content against them.

A property that some replies lack is not required. A reply may have more than its schema names.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ml_trainer_env.models import ResetObservation, TrainingStatus
from ml_trainer_env.server.episodes.calls import TOOL_NAMES

__all__ = ["START_SCHEMA", "STATUS_SCHEMA", "TASKS_SCHEMA", "TOOL_SCHEMAS"]


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


class _EpochRow(BaseModel):
    epoch: int = Field(ge=1)
    train_loss: float | None
    val_loss: float | None
    train_accuracy: float | None
    val_accuracy: float | None
    learning_rate: float
    from_cache: bool


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
    index: int
    name: str
    description: str
    difficulty: str
    budget_epochs: int
    budget_seconds: float | None
    target_metric: str
    target_value: float


class _Tasks(BaseModel):
    tasks: list[_TaskRow]


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    plain = _plain(schema, schema.get("$defs", {}))
    assert isinstance(plain, dict)
    return plain


def _plain(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """A schema that simple readers understand: without references, unions, defaults, and titles that repeat names.

    What may be of several types, mostly null, lists them. A reply is given as it is, so defaults mean nothing.
    """
    if isinstance(schema, list):
        return [_plain(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        named = definitions[schema["$ref"].rpartition("/")[2]]
        return _plain({**named, **{key: value for key, value in schema.items() if key != "$ref"}}, definitions)
    if "anyOf" in schema:
        merged = {key: part for branch in schema["anyOf"] for key, part in branch.items()}
        rest = {key: part for key, part in schema.items() if key != "anyOf"}
        return _plain({**merged, "type": [branch["type"] for branch in schema["anyOf"]], **rest}, definitions)
    return {
        key: {name: _plain(part, definitions) for name, part in value.items()}
        if key == "properties"
        else _plain(value, definitions)
        for key, value in schema.items()
        if key not in {"title", "default", "$defs"}
    }


_MODELS: dict[str, type[_Reply]] = {
    "run_epochs": _TrainingReply,
    "save_checkpoint": _CheckpointsReply,
    "restore_checkpoint": _CheckpointsReply,
    "list_checkpoints": _CheckpointsReply,
}

STATUS_SCHEMA = _schema(_Reply)
"""Of a reply that has nothing of its tool's own."""

START_SCHEMA = _schema(ResetObservation)
"""Of what begins an episode."""

TASKS_SCHEMA = _schema(_Tasks)
"""Of the list of tasks."""

TOOL_SCHEMAS = {name: _schema(_MODELS.get(name, _Reply)) for name in TOOL_NAMES}
"""Of the nine tools of an episode, by name."""
