"""Tools as values. A game declares its tools once. Every surface reads the same table.

Schemas show choices and bounds. The episode checks values, so that every surface refuses with the same message. Input
schemas use what OpenAI, Anthropic and Gemini all accept: a type, a description, choices of text, and inclusive bounds.
The description says the rest.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from ml_trainer_env.server.episodes.arguments import read_flag, read_number
from ml_trainer_env.server.episodes.errors import ArgumentsError, UnknownToolError
from ml_trainer_env.server.episodes.progress import OnProgress
from ml_trainer_env.server.trainer.limits import Limit, shown

__all__ = [
    "ANY_REPLY",
    "Arguments",
    "Effect",
    "Parameter",
    "Reply",
    "Tool",
    "Toolbox",
    "choice",
    "flag",
    "number",
    "text",
]

Reply = dict[str, Any]
"""The answer to a tool call: JSON values by name. Every reply has `reward` and `done`."""

Arguments = Mapping[str, Any]
"""The arguments of a tool call by parameter. Omitted parameters are not in it."""

ANY_REPLY: Mapping[str, Any] = MappingProxyType({"type": "object", "additionalProperties": True})
"""The JSON schema of a reply with any fields."""

_MESSAGE_CHARACTERS = 2_000
"""Length limit of a message about wrong arguments. It quotes what the client sent."""

EpisodeT = TypeVar("EpisodeT")


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a tool.

    Attributes:
        schema: Its JSON schema, with a description.
        required: Whether a call must have it.
        read: Converts a value that came as text; see `arguments`.
    """

    schema: Mapping[str, Any]
    required: bool = False
    read: Callable[[Any], Any] = _unchanged


def number(limit: Limit, description: str, *, required: bool = False) -> Parameter:
    """Declare a number within a limit. The bounds are in its description too, because forms and models read that."""
    return Parameter({**limit.json_schema(), "description": f"{description}: {limit}"}, required, read_number)


def choice(choices: Iterable[object], description: str, *, required: bool = False) -> Parameter:
    """Declare a choice. Gemini accepts only choices of text, so numbers are written as text."""
    texts = [str(one) for one in choices]
    read = read_number if all(one.isdigit() for one in texts) else _unchanged
    return Parameter({"type": "string", "enum": texts, "description": description}, required, read)


def flag(description: str, *, required: bool = False) -> Parameter:
    """Declare a boolean."""
    return Parameter({"type": "boolean", "description": description}, required, read_flag)


def text(description: str, *, required: bool = False) -> Parameter:
    """Declare a text."""
    return Parameter({"type": "string", "description": description}, required)


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect of a call.

    Attributes:
        reads_only: Whether the call changes nothing while there is budget left.
        destroys: Whether the call may delete something.
        idempotent: Whether a second call with the same arguments changes nothing.
        spends: The parameter with the number of units of work. None if the tool runs no units.
        marks: The parameter that names a place where a fork may begin. None if the tool names no place.
    """

    reads_only: bool = False
    destroys: bool = False
    idempotent: bool = False
    spends: str | None = None
    marks: str | None = None


@dataclass(frozen=True, slots=True)
class Tool(Generic[EpisodeT]):
    """A tool that an agent may call.

    Attributes:
        name: The name in calls.
        title: The name for people.
        description: What the tool does, for the agent.
        effect: The effect of a call.
        carry_out: Carries out a call on an episode.
        parameters: Its parameters by name.
        reply_schema: The JSON schema of its reply.
    """

    name: str
    title: str
    description: str
    effect: Effect
    carry_out: Callable[[EpisodeT, Arguments, OnProgress], Awaitable[Reply]]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    reply_schema: Mapping[str, Any] = field(default_factory=lambda: ANY_REPLY)

    @property
    def input_schema(self) -> dict[str, Any]:
        """The JSON schema of its arguments.

        It has no `additionalProperties`, because Gemini refuses that. `read` refuses unknown parameters.
        """
        properties = {name: dict(parameter.schema) for name, parameter in self.parameters.items()}
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        required = [name for name, parameter in self.parameters.items() if parameter.required]
        return {**schema, "required": required} if required else schema

    def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call, with numbers and booleans converted from text.

        A null is an omitted parameter. A required parameter may be null; the episode then refuses the call.

        Raises:
            ArgumentsError: A parameter is missing or unknown.
        """
        missing = [name for name, parameter in self.parameters.items() if parameter.required and name not in given]
        problems = [f"{shown(name)}: Missing required argument" for name in missing]
        problems += [_unexpected(name) for name in given if name not in self.parameters]
        if problems:
            raise ArgumentsError("; ".join(problems)[:_MESSAGE_CHARACTERS])
        given = {name: given[name] for name in self.parameters if given.get(name) is not None}
        return {name: self.parameters[name].read(value) for name, value in given.items()}


class Toolbox(Generic[EpisodeT]):
    """The tools of a game, in their order.

    Args:
        tools: The tools.
    """

    def __init__(self, *tools: Tool[EpisodeT]) -> None:
        self._tools = {tool.name: tool for tool in tools}

    def __iter__(self) -> Iterator[Tool[EpisodeT]]:
        return iter(self._tools.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tools."""
        return tuple(self._tools)

    def effect(self, name: str) -> Effect:
        """Return the effect of a tool. A call of an unknown tool is refused, so it has no effect."""
        return self._tools[name].effect if name in self._tools else Effect(reads_only=True)

    def find(self, name: str) -> Tool[EpisodeT]:
        """Return the tool of a name.

        Raises:
            UnknownToolError: No tool has this name.
        """
        if name in self._tools:
            return self._tools[name]
        raise UnknownToolError(f"Unknown tool: {name!r}"[:_MESSAGE_CHARACTERS])


def _unexpected(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return "names of parameters must be valid Unicode"
    return f"{shown(name)}: Unexpected keyword argument"
