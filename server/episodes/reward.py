"""A reward as an OpenEnv rubric that is a sum of named parts, so that a trainer can read the last value of each."""

from typing import Any

from openenv.core.rubrics import Rubric

__all__ = ["EpisodeReward", "Part"]

_PLACES = 6
"""Decimal places of rewards."""


class Part(Rubric):
    """A part of the reward. OpenEnv's rubric with a typed constructor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]


class EpisodeReward(Part):
    """The sum of its parts.

    Args:
        parts: The parts by name.
    """

    def __init__(self, **parts: Part) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, action: Any, observation: Any) -> float:
        """Judge a transition."""
        total: float = sum(part(action, observation) for part in self.children())
        return round(total, _PLACES)

    def parts(self) -> dict[str, float]:
        """Return the last value of each part, by name."""
        return {name: round(part.last_score or 0.0, _PLACES) for name, part in self.named_children()}
