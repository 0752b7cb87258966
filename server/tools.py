"""The tools an agent may call: a name, a schema and a docstring each, and one call into the episode.

Schemas show choices and bounds; the episode checks them, so that every refusal reads the same
however the call came in.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Annotated, Any

from fastmcp import FastMCP
from fastmcp.exceptions import ToolError, ValidationError
from fastmcp.server.middleware import Middleware
from fastmcp.tools import Tool
from pydantic import ValidationError as PydanticValidationError
from pydantic import WithJsonSchema

from ml_trainer_env.server.episodes.episode import NUM_EPOCHS, Episode
from ml_trainer_env.server.episodes.observation import Reply
from ml_trainer_env.server.trainer.config import LIMITS, OptimizerKind
from ml_trainer_env.server.trainer.limits import Limit, shown
from ml_trainer_env.server.trainer.schedules import LrSchedule

__all__ = ["TOOL_NAMES", "build_tool_server"]

TOOL_NAMES = (
    "configure_training",
    "run_epochs",
    "adjust_learning_rate",
    "toggle_augmentation",
    "get_training_status",
    "submit_model",
    "save_checkpoint",
    "restore_checkpoint",
    "list_checkpoints",
)


def _number(limit: Limit, description: str) -> WithJsonSchema:
    """A number's schema. The bounds are in its description too: forms and models read that."""
    return WithJsonSchema({**limit.json_schema(), "description": f"{description}: {limit}"})


def _choice(choices: Iterable[str], description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": [str(c) for c in choices], "description": description})


def _flag(description: str) -> WithJsonSchema:
    """A boolean's schema. With its values listed, a form offers to leave it out instead of sending false."""
    return WithJsonSchema({"type": "boolean", "enum": [True, False], "description": description})


_Optimizer = Annotated[Any, _choice(OptimizerKind, "sgd has momentum 0.9")]
_LearningRate = Annotated[Any, _number(LIMITS["learning_rate"], "Peak rate, 0.001 suits adam, 0.05 sgd")]
_BatchSize = Annotated[Any, _number(LIMITS["batch_size"], "Images a step")]
_WeightDecay = Annotated[Any, _number(LIMITS["weight_decay"], "L2 strength, decoupled for adamw")]
_Dropout = Annotated[Any, _number(LIMITS["dropout"], "Chance of dropping a hidden unit")]
_Schedule = Annotated[Any, _choice(LrSchedule, "Laid over the budget left at this call")]
_Warmup = Annotated[Any, _number(LIMITS["warmup_epochs"], "For warmup_cosine")]
_Augmentation = Annotated[Any, _flag("Random transforms of the training images")]
_Strength = Annotated[Any, _number(LIMITS["augmentation_strength"], "1 is the full recipe, 0 does nothing")]
_Reinitialize = Annotated[Any, _flag("Draw fresh weights; budget stays spent")]
_NumEpochs = Annotated[Any, _number(NUM_EPOCHS, "Epochs to run")]
_NewRate = Annotated[Any, _number(LIMITS["learning_rate"], "The rate from now on")]
_Enabled = Annotated[Any, _flag("On or off")]
_NAME_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 64, "description": "Letters, digits, . _ -"}
_Name = Annotated[Any, WithJsonSchema(_NAME_SCHEMA)]

EpisodeCall = Callable[[Callable[[Episode], Awaitable[Reply]]], Awaitable[Reply]]
"""Runs a function of the session's episode; raises if there is none yet."""


def build_tool_server(call: EpisodeCall, on_call: Callable[[], None]) -> FastMCP:
    """A tool server for one session.

    Args:
        call: Gives a tool its episode.
        on_call: Told of every call, before anything is checked.
    """
    server: FastMCP = FastMCP("ml_trainer_env", middleware=[_Boundary(on_call)])
    for function in _functions(call):
        server.add_tool(_without_null_defaults(Tool.from_function(function)))
    return server


def _functions(call: EpisodeCall) -> tuple[Callable[..., Awaitable[Reply]], ...]:
    async def configure_training(
        optimizer: _Optimizer = None,
        learning_rate: _LearningRate = None,
        batch_size: _BatchSize = None,
        weight_decay: _WeightDecay = None,
        dropout: _Dropout = None,
        lr_schedule: _Schedule = None,
        warmup_epochs: _Warmup = None,
        augmentation: _Augmentation = None,
        augmentation_strength: _Strength = None,
        reinitialize: _Reinitialize = False,
    ) -> dict[str, Any]:
        """Set or change the training configuration. What you leave out stays as it is.

        Weights are kept, and momentum too unless the optimizer changes. A new learning rate or
        schedule spans the epochs left. reinitialize=true starts again from fresh weights.
        """
        changes = {
            "optimizer": optimizer,
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "weight_decay": weight_decay,
            "dropout": dropout,
            "lr_schedule": lr_schedule,
            "warmup_epochs": warmup_epochs,
            "augmentation": augmentation,
            "augmentation_strength": augmentation_strength,
        }
        fresh = False if reinitialize is None else reinitialize
        return await call(lambda episode: episode.configure(_given(changes), fresh))

    async def run_epochs(num_epochs: _NumEpochs) -> dict[str, Any]:
        """Train for some epochs. Stops early at the end of the budget or if training diverges."""
        return await call(lambda episode: episode.run_epochs(num_epochs))

    async def adjust_learning_rate(new_lr: _NewRate) -> dict[str, Any]:
        """Set the learning rate from now on; the schedule continues from it."""
        return await call(lambda episode: episode.adjust_learning_rate(new_lr))

    async def toggle_augmentation(enabled: _Enabled, strength: _Strength = None) -> dict[str, Any]:
        """Switch random transforms of the training images on or off, from the next epoch on."""
        return await call(lambda episode: episode.toggle_augmentation(enabled, strength))

    async def get_training_status() -> dict[str, Any]:
        """Tell where training stands and how it is configured. Free: changes and pays nothing."""
        return await call(lambda episode: episode.status())

    async def submit_model() -> dict[str, Any]:
        """Submit the run for grading. Ends the episode and pays the score."""
        return await call(lambda episode: episode.submit())

    async def save_checkpoint(name: _Name) -> dict[str, Any]:
        """Keep the present weights and optimizer under a name."""
        return await call(lambda episode: episode.save_checkpoint(name))

    async def restore_checkpoint(name: _Name) -> dict[str, Any]:
        """Bring back weights and optimizer kept under a name. Budget stays spent."""
        return await call(lambda episode: episode.restore_checkpoint(name))

    async def list_checkpoints() -> dict[str, Any]:
        """List the checkpoints kept, with the epoch and validation accuracy of each."""
        return await call(lambda episode: episode.list_checkpoints())

    return (
        configure_training,
        run_epochs,
        adjust_learning_rate,
        toggle_augmentation,
        get_training_status,
        submit_model,
        save_checkpoint,
        restore_checkpoint,
        list_checkpoints,
    )


class _Boundary(Middleware):
    """Counts calls, and says in plain words which parameters a call got wrong."""

    def __init__(self, on_call: Callable[[], None]) -> None:
        self._on_call = on_call

    async def on_call_tool(self, context: Any, call_next: Any) -> Any:
        """Pass a call on."""
        self._on_call()
        try:
            return await call_next(context)
        except ValidationError as error:
            raise ToolError(_told(error), log_level=logging.DEBUG) from error


def _told(error: ValidationError) -> str:
    """What is wrong with a call's arguments, without pydantic's prose."""
    cause = error.__cause__
    if not isinstance(cause, PydanticValidationError):
        return str(error)
    return "; ".join(
        f"{shown('.'.join(map(str, problem['loc'])))}: {problem['msg']}"
        for problem in cause.errors(include_url=False, include_input=False)
    )


def _given(changes: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in changes.items() if value is not None}


def _without_null_defaults(tool: Tool) -> Tool:
    """Null is how a tool sees a parameter left out; its schema need not offer it."""
    for parameter in tool.parameters.get("properties", {}).values():
        if "default" in parameter and parameter["default"] is None:
            del parameter["default"]
    return tool
