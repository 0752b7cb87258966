"""The result of an episode as one value. Reports are written from it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol, Self

from ml_trainer_env.baselines.agent import Call
from ml_trainer_env.baselines.play import RUN, Author, Turn
from ml_trainer_env.baselines.session import Brief, Reply

__all__ = [
    "CallRecord",
    "EpisodeResult",
    "EpochPoint",
    "PlayedEpisode",
    "Result",
    "call_fields",
    "reward_of",
    "summarise",
]


@dataclass(frozen=True, slots=True)
class EpochPoint:
    """Metrics of one epoch. A metric that was not finite is None."""

    epoch: int
    train_loss: float | None
    val_loss: float | None
    train_accuracy: float | None
    val_accuracy: float | None
    learning_rate: float | None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One decision, as a row of the report.

    Attributes:
        number: Number of the decision, from 1.
        name: The tool, or the text that came instead of a call.
        arguments: Arguments of the call.
        author: `agent` or `closing`.
        reason: The agent's explanation.
        answer: The message of the reply, or the reason for the refusal.
        refused: Whether the call was refused.
        epoch: Epochs spent after the call; None if it was refused.
        reward: Reward of the call.
        seconds: Time to decide and to answer.
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


class Result(Protocol):
    """What the program has to know of the result of an episode, whichever game it is of."""

    @property
    def task_id(self) -> str:
        """Id of the task."""

    @property
    def agent(self) -> str:
        """Name of the agent."""

    @property
    def score(self) -> float | None:
        """The grade; None if there is none."""

    @property
    def played_to_end(self) -> bool:
        """Whether a call by the agent ended the episode."""

    @property
    def counted_score(self) -> float:
        """The grade if the agent played to the end, otherwise 0."""

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON types."""


class PlayedEpisode:
    """What the results of all games share. Subclasses are dataclasses.

    Attributes:
        score: The grade; None if there is none.
        calls: One record for each decision, with its `author`.
    """

    __slots__ = ()

    score: float | None
    calls: Sequence[Any]

    @property
    def played_to_end(self) -> bool:
        """Whether a call by the agent ended the episode."""
        return self.score is not None and bool(self.calls) and self.calls[-1].author == Author.AGENT

    @property
    def counted_score(self) -> float:
        """The grade if the agent played to the end, otherwise 0."""
        return self.score if self.score is not None and self.played_to_end else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON types. Adds `played_to_end` and `counted_score`."""
        plain: dict[str, Any] = asdict(self)  # type: ignore[call-overload]
        return plain | {"played_to_end": self.played_to_end, "counted_score": self.counted_score}


@dataclass(frozen=True, slots=True)
class EpisodeResult(PlayedEpisode):
    """The result of an episode that the agent played to the end or that the program closed.

    An agent plays an episode to the end if its own call ends it: `submit_model`, or the call after which the
    environment submits automatically. If the agent stops earlier or has no decisions left, the program makes the
    closing calls. Such a grade counts 0 in a mean.

    Attributes:
        reward: Sum over all calls, including the score of the submission.
        score: The grade; None if there is none. Use `counted_score` for comparisons.
        details: Components of the grade.
        tokens: Tokens used by a language model; 0 for other agents.
        curve: One point for each epoch.
        calls: One record for each decision.
        data_source: Source of the images; `synthetic` means that they are not the real ones.
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

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """Invert `to_dict`. Accepts parsed JSON."""
        own = {field.name: given[field.name] for field in fields(cls)}
        own["curve"] = tuple(EpochPoint(**point) for point in given["curve"])
        own["calls"] = tuple(CallRecord(**call) for call in given["calls"])
        return cls(**own)


def summarise(agent: str, brief: Brief, turns: Sequence[Turn], *, seconds: float, tokens: int = 0) -> EpisodeResult:
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
        reward=round(sum(reward_of(reply) for reply in replies), 4),
        seconds=round(seconds, 3),
        tokens=tokens,
        details=dict(last.get("details") or {}),
        configuration=dict(last.get("configuration") or {}),
        curve=tuple(_curve(turns)),
        calls=tuple(_record(turn) for turn in turns),
    )


def reward_of(reply: Reply | None) -> float:
    """Return the reward of a reply. 0 for a call that was refused."""
    return float((reply or {}).get("reward") or 0.0)


def _curve(turns: Sequence[Turn]) -> Iterable[EpochPoint]:
    names = [field.name for field in fields(EpochPoint)]
    for turn in turns:
        if isinstance(turn.decision, Call) and turn.decision.name == RUN and turn.outcome.reply:
            for epoch in turn.outcome.reply.get("epochs") or ():
                yield EpochPoint(**{name: epoch.get(name) for name in names})


def _record(turn: Turn) -> CallRecord:
    reply = turn.outcome.reply
    return CallRecord(**call_fields(turn), epoch=reply.get("current_epoch") if reply else None)


def call_fields(turn: Turn) -> dict[str, Any]:
    """Return the fields of a `CallRecord` that calls of every game have."""
    decision, reply = turn.decision, turn.outcome.reply
    called = isinstance(decision, Call)
    return {
        "number": turn.number,
        "name": decision.name if isinstance(decision, Call) else decision.attempted,
        "arguments": dict(decision.arguments) if isinstance(decision, Call) else {},
        "author": str(turn.author),
        "reason": decision.reason if isinstance(decision, Call) else "not a call",
        "answer": str((reply or {}).get("message") or "") if reply else turn.outcome.refusal,
        "refused": reply is None or not called,
        "reward": round(reward_of(reply), 4),
        "seconds": round(turn.decide_s + turn.reply_s, 3),
    }
