"""What an agent is: a generator of decisions that is sent the outcome of each.

A strategy then reads as the plain sequence of steps that it is, and needs no server to be
tested: `next(script)` gives the first decision, `script.send(outcome)` each further one.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ml_trainer_env.baselines.session import Brief, Reply, ToolSpec

__all__ = ["Agent", "BadDecision", "Call", "Decision", "Outcome", "Script"]


@dataclass(frozen=True, slots=True)
class Call:
    """A decision to call a tool.

    Attributes:
        name: The tool.
        arguments: Its arguments by name.
        reason: Why, in a few words, for whoever reads the report.
    """

    name: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BadDecision:
    """A decision that is no call, so that the environment never sees it.

    Attributes:
        attempted: What was said instead, or the tool that was meant.
        problem: What is wrong with it.
    """

    attempted: str
    problem: str


Decision = Call | BadDecision


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a decision: a reply, or else the reason for a refusal."""

    reply: Reply | None = None
    refusal: str = ""

    @property
    def done(self) -> bool:
        """Whether the episode has ended."""
        return self.reply is not None and bool(self.reply.get("done"))


Script = Generator[Decision, Outcome, None]
"""Decisions out, outcomes in; it ends when the agent has nothing more to do."""


class Agent(Protocol):
    """Something that plays episodes. It may play many, one after another."""

    @property
    def name(self) -> str:
        """A short name for reports."""

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        """Play one episode.

        The caller stops asking once the episode has ended, and submits for an agent whose
        script ends before that.
        """
