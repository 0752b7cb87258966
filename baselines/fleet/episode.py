"""The result of an episode of the fleet as one value. Reports are written from it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from ml_trainer_env.baselines.agent import Call
from ml_trainer_env.baselines.episode import PlayedEpisode, call_fields, reward_of
from ml_trainer_env.baselines.fleet.brief import FleetBrief
from ml_trainer_env.baselines.fleet.simple import RUN
from ml_trainer_env.baselines.play import Turn
from ml_trainer_env.baselines.session import Reply

__all__ = ["FleetCall", "FleetResult", "LossPoint", "RunEvent", "summarise"]


@dataclass(frozen=True, slots=True)
class LossPoint:
    """The training loss of a step. It is None where it was not finite.

    Attributes:
        clock_s: About the virtual time after it: a call's steps are spread evenly over its time.
        step: Number of steps before it.
        loss: Mean loss of its batches, in nats a character.
    """

    clock_s: float
    step: int
    loss: float | None


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something that happened in the run, at the virtual time after the call that told it."""

    clock_s: float
    text: str


@dataclass(frozen=True, slots=True)
class FleetCall:
    """One decision, as a row of the report. Its fields are those of `baselines.episode.CallRecord`, and two more.

    Attributes:
        step: Steps of the state after the call; None if it was refused.
        clock_s: Virtual time after it; None if it was refused.
    """

    number: int
    name: str
    arguments: Mapping[str, Any]
    author: str
    reason: str
    answer: str
    refused: bool
    reward: float
    seconds: float
    step: int | None
    clock_s: float | None


@dataclass(frozen=True, slots=True)
class FleetResult(PlayedEpisode):
    """The result of an episode that the agent played to the end or that the program closed.

    Attributes:
        reservation_s: Virtual time for which the nodes were reserved.
        steps: Steps of the model that was graded.
        restarts: Number of restarts.
        held_out_loss: Loss of the model on held-out text; None if it was not graded.
        nothing_loss: The same, had nobody acted.
        clean_loss: The same, had nothing gone wrong.
        score: The share of the harm that was repaired; None if there is no grade.
        reward: Sum over all calls, including the score.
        tokens: Tokens used by a language model; 0 for other agents.
        incidents: What had gone wrong.
        faults: The same with all parameters.
        reports: What the agent reported, and whether it was right.
        curve: Training losses, in the order in which steps were taken.
        events: What happened in the run.
        calls: One record for each decision.
    """

    task_id: str
    task_name: str
    difficulty: str
    agent: str
    episode_id: str
    seed: int
    rubric: str
    reservation_s: float
    steps: int
    restarts: int
    held_out_loss: float | None
    nothing_loss: float | None
    clean_loss: float | None
    score: float | None
    reward: float
    seconds: float
    tokens: int
    incidents: Sequence[str]
    faults: Sequence[Mapping[str, Any]]
    reports: Sequence[Mapping[str, Any]]
    curve: Sequence[LossPoint]
    events: Sequence[RunEvent]
    calls: Sequence[FleetCall]

    @property
    def details(self) -> Mapping[str, Any]:
        """The losses that the score is made of."""
        names = ("held_out_loss", "nothing_loss", "clean_loss")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """Invert `to_dict`. Accepts parsed JSON."""
        own = {field.name: given[field.name] for field in fields(cls)}
        own["curve"] = tuple(LossPoint(**point) for point in given["curve"])
        own["events"] = tuple(RunEvent(**event) for event in given["events"])
        own["calls"] = tuple(FleetCall(**call) for call in given["calls"])
        for name in ("incidents", "faults", "reports"):
            own[name] = tuple(given[name])
        return cls(**own)


def summarise(agent: str, brief: FleetBrief, turns: Sequence[Turn], *, seconds: float, tokens: int = 0) -> FleetResult:
    """Create the result of an episode.

    Args:
        agent: Name of the agent.
        brief: The episode's brief.
        turns: All turns, in order.
        seconds: Wall-clock duration.
        tokens: Tokens used by a language model.
    """
    replies = [turn.outcome.reply for turn in turns if turn.outcome.reply is not None]
    last: Reply = replies[-1] if replies else brief.status
    return FleetResult(
        task_id=brief.task_id,
        task_name=brief.name,
        difficulty=brief.difficulty,
        agent=agent,
        episode_id=brief.episode_id,
        seed=brief.seed,
        rubric=brief.rubric,
        reservation_s=brief.reservation_s,
        steps=int(last.get("step") or 0),
        restarts=int(last.get("restarts") or 0),
        held_out_loss=last.get("held_out_loss"),
        nothing_loss=last.get("nothing_loss"),
        clean_loss=last.get("clean_loss"),
        score=last.get("score"),
        reward=round(sum(reward_of(reply) for reply in replies), 4),
        seconds=round(seconds, 3),
        tokens=tokens,
        incidents=tuple(last.get("incidents") or ()),
        faults=tuple(last.get("faults") or ()),
        reports=tuple(last.get("reports") or ()),
        curve=tuple(_curve(brief, turns)),
        events=tuple(_events(turns)),
        calls=tuple(_record(turn) for turn in turns),
    )


def _curve(brief: FleetBrief, turns: Sequence[Turn]) -> Iterator[LossPoint]:
    before_s = float(brief.status["clock_s"])
    for turn in turns:
        reply = turn.outcome.reply
        if reply is None:
            continue
        now_s = float(reply["clock_s"])
        if isinstance(turn.decision, Call) and turn.decision.name == RUN:
            losses = reply.get("losses") or ()
            for number, (step, loss) in enumerate(losses, start=1):
                yield LossPoint(round(before_s + (now_s - before_s) * number / len(losses), 1), int(step), loss)
        before_s = now_s


def _events(turns: Sequence[Turn]) -> Iterator[RunEvent]:
    for turn in turns:
        reply = turn.outcome.reply or {}
        for text in reply.get("events") or ():
            yield RunEvent(float(reply["clock_s"]), text)


def _record(turn: Turn) -> FleetCall:
    reply = turn.outcome.reply or {}
    return FleetCall(**call_fields(turn), step=reply.get("step"), clock_s=reply.get("clock_s"))
