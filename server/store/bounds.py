"""How much is kept of a call that was refused. What it asked for came from a client, and has no other limit."""

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["KEPT_CHARACTERS", "bounded_arguments", "bounded_text", "bounded_tool"]

KEPT_CHARACTERS = 2_000
"""Of the arguments as JSON, and of the error."""

_TOOL_CHARACTERS = 64


def bounded_tool(tool: str) -> str:
    """The beginning of a tool's name."""
    return bounded_text(tool, _TOOL_CHARACTERS)


def bounded_text(text: str, characters: int = KEPT_CHARACTERS) -> str:
    """The beginning of a text, and how much there was of it if there was more."""
    return text if len(text) <= characters else f"{text[:characters]}... ({len(text)} characters)"


def bounded_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as they are, or else `{"cut": ...}` with the beginning of their JSON.

    No tool has a parameter of that name, so a call with it is refused like the call that it stands for.
    """
    text = json.dumps(dict(arguments), default=repr)
    return dict(arguments) if len(text) <= KEPT_CHARACTERS else {"cut": bounded_text(text)}
