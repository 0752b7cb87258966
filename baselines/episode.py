"""What an episode came to, as one value that a report is written from. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from ml_trainer_env.baselines.agent import Call
from ml_trainer_env.baselines.play import RUN, Author, Turn
from ml_trainer_env.baselines.session import Brief, Reply

__all__ = ["CallRecord", "EpisodeResult", "EpochPoint", "summarise"]


@dataclass(frozen=True, slots=True)
class EpochPoint:
    """One epoch's figures; `None` where one was not finite."""

    epoch: int
    train_loss: float | None
    val_loss: float | None
    train_accuracy: float | None
    val_accuracy: float | None
    learning_rate: float | None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One decision, as a line of the report.

    Attributes:
        number: Counts from 1.
        name: The tool, or what was said instead of a call.
        arguments: What it was called with.
        author: `agent` or `closing`.
        reason: The agent's own.
        answer: The environment's sentence, or the refusal's.
        refused: Whether it was refused.
        epoch: Epochs spent after it, `None` if it was refused.
        reward: What it paid.
        seconds: Deciding and answering together.
    """

    number: int
    name: str
    arguments: Mapping[str, Any]
    author: str
    reason: str
    answer: str
    refused: bool
    epoch: int | None
    reward: float
    seconds: float


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """An episode that was played to the end, or closed for its agent by the program.

    An agent has played an episode to the end if a call of its own ended it: `submit_model`, or the call after which the
    environment submits by itself. Otherwise the program made the closing calls, for an agent that had stopped or was
    out of decisions. The grade of such an episode is not the agent's, and counts 0 in a mean.

    Attributes:
        reward: Sum over all calls, the submission's score included.
        score: The grade, `None` if it never came to one. See `counted_score` for comparisons.
        details: The figures that the grade was made of.
        tokens: Spent on a language model, 0 for other agents.
        curve: One point an epoch.
        calls: One record a decision.
        data_source: `synthetic` where the images are a stand-in.
    """

    task_id: str
    task_name: str
    difficulty: str
    agent: str
    episode_id: str
    seed: int
    rubric: str
    network: str
    parameter_count: int
    dataset: str
    data_source: str
    budget_epochs: int
    target_metric: str
    target_value: float
    epochs_run: int
    best_val_accuracy: float | None
    best_val_epoch: int | None
    test_accuracy: float | None
    score: float | None
    reward: float
    seconds: float
    tokens: int
    details: Mapping[str, Any]
    configuration: Mapping[str, Any]
    curve: Sequence[EpochPoint]
    calls: Sequence[CallRecord]

    @property
    def played_to_end(self) -> bool:
        """Whether a call of the agent's own ended the episode."""
        return self.score is not None and bool(self.calls) and self.calls[-1].author == Author.AGENT

    @property
    def counted_score(self) -> float:
        """The grade if the agent played to the end, else 0."""
        return self.score if self.score is not None and self.played_to_end else 0.0

    def to_dict(self) -> dict[str, Any]:
        """A copy made of JSON's own types, with `played_to_end` and `counted_score`."""
        return asdict(self) | {"played_to_end": self.played_to_end, "counted_score": self.counted_score}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`, also after a trip through JSON."""
        own = {field.name: given[field.name] for field in fields(cls)}
        own["curve"] = tuple(EpochPoint(**point) for point in given["curve"])
        own["calls"] = tuple(CallRecord(**call) for call in given["calls"])
        return cls(**own)


def summarise(agent: str, brief: Brief, turns: Sequence[Turn], *, seconds: float, tokens: int = 0) -> EpisodeResult:
    """Make the result of an episode.

    Args:
        agent: The agent's name.
        brief: What the episode was about.
        turns: What happened, in order.
        seconds: How long it took, on a wall clock.
        tokens: Spent on a language model.
    """
    replies = [turn.outcome.reply for turn in turns if turn.outcome.reply is not None]
    last: Reply = replies[-1] if replies else brief.status
    return EpisodeResult(
        task_id=brief.task_id,
        task_name=brief.name,
        difficulty=brief.difficulty,
        agent=agent,
        episode_id=brief.episode_id,
        seed=brief.seed,
        rubric=brief.rubric,
        network=brief.network,
        parameter_count=brief.parameter_count,
        dataset=brief.dataset.name,
        data_source=brief.dataset.source,
        budget_epochs=brief.budget_epochs,
        target_metric=brief.target_metric,
        target_value=brief.target_value,
        epochs_run=int(last.get("current_epoch") or 0),
        best_val_accuracy=last.get("best_val_accuracy"),
        best_val_epoch=last.get("best_val_epoch"),
        test_accuracy=last.get("test_accuracy"),
        score=last.get("score"),
        reward=round(sum(_reward(reply) for reply in replies), 4),
        seconds=round(seconds, 3),
        tokens=tokens,
        details=dict(last.get("details") or {}),
        configuration=dict(last.get("configuration") or {}),
        curve=tuple(_curve(turns)),
        calls=tuple(_record(turn) for turn in turns),
    )


def _reward(reply: Reply | None) -> float:
    return float((reply or {}).get("reward") or 0.0)


def _curve(turns: Sequence[Turn]) -> Iterable[EpochPoint]:
    names = [field.name for field in fields(EpochPoint)]
    for turn in turns:
        if isinstance(turn.decision, Call) and turn.decision.name == RUN and turn.outcome.reply:
            for epoch in turn.outcome.reply.get("epochs") or ():
                yield EpochPoint(**{name: epoch.get(name) for name in names})


def _record(turn: Turn) -> CallRecord:
    decision, reply = turn.decision, turn.outcome.reply
    called = isinstance(decision, Call)
    return CallRecord(
        number=turn.number,
        name=decision.name if isinstance(decision, Call) else decision.attempted,
        arguments=dict(decision.arguments) if isinstance(decision, Call) else {},
        author=str(turn.author),
        reason=decision.reason if isinstance(decision, Call) else "not a call",
        answer=str((reply or {}).get("message") or "") if reply else turn.outcome.refusal,
        refused=reply is None or not called,
        epoch=reply.get("current_epoch") if reply else None,
        reward=round(_reward(reply), 4),
        seconds=round(turn.decide_s + turn.reply_s, 3),
    )
