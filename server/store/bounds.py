"""Limits what the journal keeps of a refused call, and of reasons, which clients choose and nothing else limits."""

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["MAX_CHARACTERS", "MAX_REASON", "truncate_arguments", "truncate_text", "truncate_tool"]

MAX_CHARACTERS = 2_000
"""Limit for the arguments as JSON, and for the error."""

MAX_REASON = 500
"""Limit for the reason of a call."""

_TOOL_CHARACTERS = 64
_CUT = re.compile(r"\.\.\. \(\d+ characters\)")
"""The end of a truncated text."""


def truncate_tool(tool: str) -> str:
    """Truncate the name of a tool."""
    return truncate_text(tool, _TOOL_CHARACTERS)


def truncate_text(text: str, characters: int = MAX_CHARACTERS) -> str:
    """Truncate a text. The length of a truncated text is appended. A text that was truncated before stays as it is."""
    if len(text) <= characters or _CUT.fullmatch(text, characters):
        return text
    return f"{text[:characters]}... ({len(text)} characters)"


def truncate_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments, or `{"cut": ...}` with the beginning of their JSON if they are too long.

    No tool has a parameter of that name, so a replay refuses this call like the original one.
    """
    text = json.dumps(dict(arguments), default=repr)
    return dict(arguments) if len(text) <= MAX_CHARACTERS or _is_cut(arguments) else {"cut": truncate_text(text)}


def _is_cut(arguments: Mapping[str, Any]) -> bool:
    """Whether arguments were truncated before."""
    cut = arguments.get("cut")
    return len(arguments) == 1 and isinstance(cut, str) and bool(_CUT.fullmatch(cut, MAX_CHARACTERS))
