"""A picture of an episode, as a tool of MCP clients. A picture is a value; a game without one has no such tool."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Picture"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A tool of MCP clients that draws the episode.

    Attributes:
        name: The tool's name.
        title: The name for people.
        description: What the tool draws, for the agent.
        beside: A tool that only reads. Its reply is returned with the picture.
        draw: Draws an open episode of the game. Returns a PNG. It takes up to a second, so call it in a thread.
    """

    name: str
    title: str
    description: str
    beside: str
    draw: Callable[[Any], bytes]
