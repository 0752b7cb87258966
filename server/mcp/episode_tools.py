"""The tools an agent may call: a name, a schema and a docstring each, and one call into the episode.

Schemas show choices and bounds; the episode checks them, so that every refusal reads the same
however the call came in. Input schemas keep to what OpenAI, Anthropic and Gemini all take: a type, a description,
choices of text, and inclusive bounds. What they cannot say is in the descriptions.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any

from fastmcp import FastMCP
from fastmcp.exceptions import NotFoundError, ToolError, ValidationError
from fastmcp.server.middleware import Middleware
from fastmcp.tools import Tool
from fastmcp.utilities.types import NotSet
from mcp.types import ToolAnnotations
from pydantic import ValidationError as PydanticValidationError
from pydantic import WithJsonSchema

from ml_trainer_env.server.episodes.arguments import read_arguments
from ml_trainer_env.server.episodes.calls import TOOL_NAMES
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.mcp.progress import report_progress
from ml_trainer_env.server.trainer.config import LIMITS, OptimizerKind
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.limits import Limit, shown
from ml_trainer_env.server.trainer.schedules import LrSchedule
from ml_trainer_env.server.tuning.episode import NUM_EPOCHS
from ml_trainer_env.server.tuning.observation import Reply

__all__ = [
    "TOOL_NAMES",
    "Boundary",
    "Refused",
    "ToolCall",
    "build_tool_server",
    "carry_out",
    "changes",
    "episode_tools",
    "looks",
    "mistake",
    "with_common_schema",
]


_TOLD_CHARACTERS = 2_000
"""Of what is wrong with a call: it quotes what the client sent."""


def _number(limit: Limit, description: str) -> WithJsonSchema:
    """A number's schema. The bounds are in its description too: forms and models read that."""
    return WithJsonSchema({**limit.json_schema(), "description": f"{description}: {limit}"})


def _choice(choices: Iterable[object], description: str) -> WithJsonSchema:
    """A choice's schema. Gemini takes choices of text only, also of numbers: text that spells a number is one here."""
    return WithJsonSchema({"type": "string", "enum": [str(c) for c in choices], "description": description})


def _flag(description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "boolean", "description": description})


_Optimizer = Annotated[Any, _choice(OptimizerKind, "sgd has momentum 0.9")]
_LearningRate = Annotated[Any, _number(LIMITS["learning_rate"], "Peak rate, 0.001 suits adam, 0.05 sgd")]
_BatchSize = Annotated[Any, _choice(LIMITS["batch_size"].choices, f"Images a step, a number: {LIMITS['batch_size']}")]
_WeightDecay = Annotated[Any, _number(LIMITS["weight_decay"], "L2 strength, decoupled for adamw")]
_Dropout = Annotated[Any, _number(LIMITS["dropout"], "Chance of dropping a hidden unit")]
_Schedule = Annotated[Any, _choice(LrSchedule, "Laid over the budget left at this call")]
_Warmup = Annotated[Any, _number(LIMITS["warmup_epochs"], "For warmup_cosine")]
_Augmentation = Annotated[Any, _flag("Random transforms of the training images")]
_Strength = Annotated[Any, _number(LIMITS["augmentation_strength"], "1 is the full recipe, 0 does nothing")]
_Reinitialize = Annotated[Any, _flag("Draw fresh weights; budget stays spent. False if left out")]
_NumEpochs = Annotated[Any, _number(NUM_EPOCHS, "Epochs to run")]
_NewRate = Annotated[Any, _number(LIMITS["learning_rate"], "The rate from now on")]
_Enabled = Annotated[Any, _flag("On or off")]
_NAME_SCHEMA = {"type": "string", "description": "1 to 64 letters, digits, . _ -"}
_Name = Annotated[Any, WithJsonSchema(_NAME_SCHEMA)]

ToolCall = Callable[[str, dict[str, Any]], Awaitable[Reply]]
"""Carries out a call: the tool's name, and the arguments it was given."""

Refused = Callable[[str, dict[str, Any], str], Awaitable[None]]
"""Told of a call that got no further: the tool's name, its arguments, and what was wrong with them."""


Schemas = Mapping[str, dict[str, Any]]
"""JSON schemas by tool."""


def build_tool_server(tools: Iterable[Tool], refused: Refused) -> FastMCP:
    """A tool server for one session.

    Args:
        tools: Made once for all sessions: FastMCP remembers the last thousands of functions it has seen, with all that
            they refer to.
        refused: Told of calls with parameters that there are not.
    """
    server: FastMCP = FastMCP("ml_trainer_env", middleware=[Boundary(refused)])
    for tool in tools:
        server.add_tool(tool)
    return server


def episode_tools(call: ToolCall, output_schemas: Schemas = MappingProxyType({})) -> list[Tool]:
    """The nine tools of an episode.

    Args:
        call: Carries out calls.
        output_schemas: What replies look like, by tool. Where none is given, a reply is any object: then
            FastMCP's clients hand it over as a dict.
    """
    return [
        with_common_schema(
            Tool.from_function(
                function,
                annotations=_ANNOTATIONS[function.__name__],
                output_schema=output_schemas.get(function.__name__, NotSet),
            )
        )
        for function in _functions(call)
    ]


async def carry_out(played: OpenEpisode, tool: str, arguments: dict[str, Any]) -> Reply:
    """Carry out the call that is being worked on, and tell its client of progress.

    Raises:
        ToolError: It was refused, or failed.
    """
    try:
        async with report_progress() as tell:
            return await played.call(tool, arguments, tell)
    except (EpisodeError, ConfigError) as refusal:
        raise mistake(str(refusal)) from refusal


def mistake(message: str) -> ToolError:
    """What an agent is told of a mistake of its own: not a line for the server's error log."""
    return ToolError(message, log_level=logging.DEBUG)


def looks(title: str) -> ToolAnnotations:
    """What clients are told of a tool that changes nothing."""
    return ToolAnnotations(title=title, readOnlyHint=True, idempotentHint=True, openWorldHint=False)


def changes(title: str, *, destroys: bool = False, again_is_the_same: bool = False) -> ToolAnnotations:
    """What clients are told of a tool that changes something.

    Args:
        title: Its name for people.
        destroys: Whether something can be lost by it.
        again_is_the_same: Whether the same call once more leaves everything as it is.
    """
    return ToolAnnotations(
        title=title,
        readOnlyHint=False,
        destructiveHint=destroys,
        idempotentHint=again_is_the_same,
        openWorldHint=False,
    )


_ANNOTATIONS: Mapping[str, ToolAnnotations] = {
    "configure_training": changes("Configure training", destroys=True),
    "run_epochs": changes("Run epochs"),
    "adjust_learning_rate": changes("Adjust the learning rate", again_is_the_same=True),
    "toggle_augmentation": changes("Toggle augmentation", again_is_the_same=True),
    "get_training_status": looks("Training status"),
    "submit_model": changes("Submit the model", destroys=True, again_is_the_same=True),
    "save_checkpoint": changes("Save a checkpoint", destroys=True, again_is_the_same=True),
    "restore_checkpoint": changes("Restore a checkpoint", destroys=True, again_is_the_same=True),
    "list_checkpoints": looks("Checkpoints"),
}


def _functions(call: ToolCall) -> tuple[Callable[..., Awaitable[Reply]], ...]:
    async def called(tool: str, given: Mapping[str, Any]) -> Reply:
        """Carry out a call with the arguments that were not left out."""
        return await call(tool, read_arguments({name: value for name, value in given.items() if value is not None}))

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
        reinitialize: _Reinitialize = None,
    ) -> dict[str, Any]:
        """Set or change the training configuration. What you leave out stays as it is.

        Weights are kept, and momentum too unless the optimizer changes. A new learning rate or
        schedule spans the epochs left. reinitialize=true starts again from fresh weights.
        """
        given = {
            "optimizer": optimizer,
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "weight_decay": weight_decay,
            "dropout": dropout,
            "lr_schedule": lr_schedule,
            "warmup_epochs": warmup_epochs,
            "augmentation": augmentation,
            "augmentation_strength": augmentation_strength,
            "reinitialize": reinitialize,
        }
        return await called("configure_training", given)

    async def run_epochs(num_epochs: _NumEpochs) -> dict[str, Any]:
        """Train for some epochs. Stops early at the end of the budget or if training diverges."""
        return await called("run_epochs", {"num_epochs": num_epochs})

    async def adjust_learning_rate(new_lr: _NewRate) -> dict[str, Any]:
        """Set the learning rate from now on; the schedule continues from it."""
        return await called("adjust_learning_rate", {"new_lr": new_lr})

    async def toggle_augmentation(enabled: _Enabled, strength: _Strength = None) -> dict[str, Any]:
        """Switch random transforms of the training images on or off, from the next epoch on."""
        return await called("toggle_augmentation", {"enabled": enabled, "strength": strength})

    async def get_training_status() -> dict[str, Any]:
        """Tell where training stands and how it is configured. Costs no epochs and pays nothing."""
        return await called("get_training_status", {})

    async def submit_model() -> dict[str, Any]:
        """Hand in a model for grading, end the episode and be paid the score.

        That is the model of the best epoch on the way to the present weights; on permuted_mnist, the present weights.
        """
        return await called("submit_model", {})

    async def save_checkpoint(name: _Name) -> dict[str, Any]:
        """Keep the present weights and optimizer under a name."""
        return await called("save_checkpoint", {"name": name})

    async def restore_checkpoint(name: _Name) -> dict[str, Any]:
        """Bring back weights and optimizer kept under a name. Budget stays spent."""
        return await called("restore_checkpoint", {"name": name})

    async def list_checkpoints() -> dict[str, Any]:
        """List the checkpoints kept, with the epoch and validation accuracy of each."""
        return await called("list_checkpoints", {})

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


class Boundary(Middleware):
    """Says in plain words which parameters a call got wrong, and that there is no such tool."""

    def __init__(self, refused: Refused) -> None:
        self._refused = refused

    async def on_call_tool(self, context: Any, call_next: Any) -> Any:
        """Pass a call on."""
        try:
            return await call_next(context)
        except (ValidationError, NotFoundError) as error:
            message = _told(error)
            await self._refused(context.message.name, context.message.arguments or {}, message)
            raise mistake(message) from error


def _told(error: Exception) -> str:
    """What is wrong with a call's arguments, without pydantic's prose."""
    cause = error.__cause__
    if not isinstance(cause, PydanticValidationError):
        return str(error)[:_TOLD_CHARACTERS]
    return "; ".join(map(_problem, cause.errors(include_url=False, include_input=False)))[:_TOLD_CHARACTERS]


def _problem(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "string_unicode":  # half a surrogate pair, which only names can hold and fail by
        return "names of parameters must be valid Unicode"
    return f"{shown('.'.join(map(str, problem['loc'])))}: {problem['msg']}"


def with_common_schema(tool: Tool) -> Tool:
    """A tool whose input schema all providers take.

    Null is how a tool sees a parameter left out, so no schema offers it as default. `additionalProperties` is left out
    too, because Gemini refuses it: the server refuses unknown parameters by name.
    """
    tool.parameters.pop("additionalProperties", None)
    for parameter in tool.parameters.get("properties", {}).values():
        parameter.pop("default", None)
    return tool
