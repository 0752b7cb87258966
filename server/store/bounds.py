"""Limits what the journal keeps of a refused call, and of reasons, which clients choose and nothing else limits."""

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["MAX_CHARACTERS", "MAX_REASON", "truncate_arguments", "truncate_text", "truncate_tool"]

MAX_CHARACTERS = 2_000
"""Limit for the arguments as JSON, and for the error."""

MAX_REASON = 500
"""Limit for the reason of a call."""

_TOOL_CHARACTERS = 64


def truncate_tool(tool: str) -> str:
    """Truncate the name of a tool."""
    return truncate_text(tool, _TOOL_CHARACTERS)


def truncate_text(text: str, characters: int = MAX_CHARACTERS) -> str:
    """Truncate a text. The length of a truncated text is appended."""
    return text if len(text) <= characters else f"{text[:characters]}... ({len(text)} characters)"


def truncate_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments, or `{"cut": ...}` with the beginning of their JSON if they are too long.

    No tool has a parameter of that name, so a replay refuses this call like the original one.
    """
    text = json.dumps(dict(arguments), default=repr)
    return dict(arguments) if len(text) <= MAX_CHARACTERS else {"cut": truncate_text(text)}
