"""The interface of an agent: a generator that yields decisions and receives their outcomes.

`next(script)` returns the first decision, `script.send(outcome)` each further one. So a strategy reads as a sequence of
steps, and tests need no server.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from ml_trainer_env.baselines.session import Brief, EpisodeBrief, Reply, ToolSpec

__all__ = ["Agent", "BadDecision", "Call", "Decision", "GameAgent", "Outcome", "Script"]


@dataclass(frozen=True, slots=True)
class Call:
    """A decision to call a tool.

    Attributes:
        name: Name of the tool.
        arguments: Arguments by name.
        reason: Short explanation, shown in the report.
    """

    name: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BadDecision:
    """A decision that is not a valid call. It is not sent to the environment.

    Attributes:
        attempted: The text that came instead of a call, or the intended tool.
        problem: Why it is not a valid call.
    """

    attempted: str
    problem: str


Decision = Call | BadDecision


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a decision: a reply, or the reason for a refusal."""

    reply: Reply | None = None
    refusal: str = ""

    @property
    def done(self) -> bool:
        """Whether the episode has ended."""
        return self.reply is not None and bool(self.reply.get("done"))


Script = Generator[Decision, Outcome, None]
"""Yields decisions and receives outcomes. It returns when the agent has nothing more to do."""


BriefT_contra = TypeVar("BriefT_contra", bound=EpisodeBrief, contravariant=True)


class GameAgent(Protocol[BriefT_contra]):
    """Plays episodes of a game, one after another."""

    @property
    def name(self) -> str:
        """Short name, used in reports."""

    def script(self, brief: BriefT_contra, tools: Sequence[ToolSpec]) -> Script:
        """Play one episode.

        The caller stops when the episode has ended. If the script returns earlier, the caller submits the model.
        """


Agent = GameAgent[Brief]
"""Plays episodes of the tuning game."""
