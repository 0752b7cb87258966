"""What happened in a run besides steps: the events that logs, status and reports tell."""

from dataclasses import dataclass

__all__ = ["Event"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        clock_us: The moment of virtual time, in microseconds.
        text: What happened, in words.
        rank: The rank whose log has it. None for the launcher.
    """

    clock_us: int
    text: str
    rank: int | None = None
