"""The contract of a game's pages. A game without a room has no pages and no pictures."""

from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Picture", "Room"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A tool of MCP clients that draws the episode.

    Attributes:
        name: The tool's name.
        title: The name for people.
        description: What the tool draws, for the agent.
        beside: A tool that only reads. Its reply is returned with the picture.
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
        """Draw an episode as PNG. Takes up to a second, so call it in a thread."""
        ...

    def page(self, episode: Any) -> str:
        """Return an episode as HTML."""
        ...

    def actions(self, episode: Any) -> list[tuple[str, dict[str, Any]]]:
        """Return suggested calls: a label and an OpenEnv action each."""
        ...
