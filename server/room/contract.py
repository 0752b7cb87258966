"""The contract between the surfaces and the pages of a game. A game without a room is played without pictures."""

from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Picture", "Room"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A tool of MCP clients that draws the episode.

    Attributes:
        name: The tool's name.
        title: The name that people read.
        description: What the tool draws, for the agent.
        beside: The tool that only reads, whose reply comes with the picture.
    """

    name: str
    title: str
    description: str
    beside: str


class Room(Protocol):
    """Shows the episodes of one game to people."""

    @property
    def picture(self) -> Picture:
        """The tool that draws an episode."""
        ...

    def draw(self, episode: Any) -> bytes:
        """An episode as PNG. Takes up to a second: not for the event loop."""
        ...

    def page(self, episode: Any) -> str:
        """An episode as HTML."""
        ...

    def actions(self, episode: Any) -> list[tuple[str, dict[str, Any]]]:
        """The calls that make sense now: a label and an OpenEnv action each."""
        ...
