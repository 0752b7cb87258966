"""Tools as values. A game declares its tools once, and every surface reads the same table.

Schemas show choices and bounds. The episode checks values, so that a refusal reads the same on every surface. Input
schemas keep to what OpenAI, Anthropic and Gemini all take: a type, a description, choices of text, and inclusive
bounds. What such a schema cannot say is in its description.
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
"""The arguments of a tool call by parameter. Parameters that were left out are not in it."""

ANY_REPLY: Mapping[str, Any] = MappingProxyType({"type": "object", "additionalProperties": True})
"""The JSON schema of a reply that says nothing of its fields."""

_MESSAGE_CHARACTERS = 2_000
"""Length limit of a message about wrong arguments, since it quotes what the client sent."""

EpisodeT = TypeVar("EpisodeT")


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a tool.

    Attributes:
        schema: Its JSON schema, with a description.
        required: Whether a call must have it.
        read: Reads a value that came as text; see `arguments`.
    """

    schema: Mapping[str, Any]
    required: bool = False
    read: Callable[[Any], Any] = _unchanged


def number(limit: Limit, description: str, *, required: bool = False) -> Parameter:
    """A number within a limit. Its description names the bounds, because forms and models read that."""
    return Parameter({**limit.json_schema(), "description": f"{description}: {limit}"}, required, read_number)


def choice(choices: Iterable[object], description: str, *, required: bool = False) -> Parameter:
    """A choice. Gemini takes choices of text only, so numbers to choose from are written as text."""
    texts = [str(one) for one in choices]
    read = read_number if all(one.isdigit() for one in texts) else _unchanged
    return Parameter({"type": "string", "enum": texts, "description": description}, required, read)


def flag(description: str, *, required: bool = False) -> Parameter:
    """A truth value."""
    return Parameter({"type": "boolean", "description": description}, required, read_flag)


def text(description: str, *, required: bool = False) -> Parameter:
    """Any text."""
    return Parameter({"type": "string", "description": description}, required)


@dataclass(frozen=True, slots=True)
class Effect:
    """What a call of a tool does.

    Attributes:
        reads_only: The call changes nothing while there is budget left.
        destroys: Something can be lost by the call.
        idempotent: The same call once more leaves everything as it is.
        spends: The parameter that says how many units of work the call asks for. None for a tool that runs none.
        marks: The parameter that names a place where a fork may begin. None for a tool that marks none.
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
        name: The name that calls use.
        title: The name that people read.
        description: What the tool does, for the agent.
        effect: What a call does.
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

        `additionalProperties` is left out, because Gemini refuses it: `read` refuses unknown parameters.
        """
        properties = {name: dict(parameter.schema) for name, parameter in self.parameters.items()}
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        required = [name for name, parameter in self.parameters.items() if parameter.required]
        return {**schema, "required": required} if required else schema

    def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call, without nulls, and with numbers and truth values that came as text read.

        Null is how a parameter is left out, also one that is required: the episode refuses it by its value.

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
    """The table of a game's tools, in their order.

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
        """What a call of a tool does. A call of an unknown tool is refused, so it does nothing."""
        return self._tools[name].effect if name in self._tools else Effect(reads_only=True)

    def find(self, name: str) -> Tool[EpisodeT]:
        """The tool of that name.

        Raises:
            UnknownToolError: There is none.
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
