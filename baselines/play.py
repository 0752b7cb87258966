"""The loop between an agent and a session: every episode it begins ends graded."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ml_trainer_env.baselines.agent import Agent, BadDecision, Call, Decision, Outcome
from ml_trainer_env.baselines.session import CallRefusedError, Reply, Session

__all__ = ["RUN", "SUBMIT", "Author", "Turn", "play"]

RUN = "run_epochs"
SUBMIT = "submit_model"

CLOSING_EPOCHS = 20
"""Epochs run for an agent that never trained: the most that one call may ask for."""


class Author(StrEnum):
    """Whose decision a turn was."""

    AGENT = "agent"
    """The agent's own."""
    CLOSING = "closing"
    """Made for an agent that had stopped, or was out of decisions, without submitting."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One decision and what became of it.

    Attributes:
        number: Counts from 1 within the episode.
        decision: The call, or what came instead of one.
        author: Who decided.
        outcome: The reply or the refusal.
        decide_s: Seconds that the agent took to decide.
        reply_s: Seconds that the environment took to answer.
    """

    number: int
    decision: Decision
    author: Author
    outcome: Outcome
    decide_s: float
    reply_s: float


Watch = Callable[[Turn], None]


def _look_away(_turn: Turn) -> None:
    pass


def play(
    agent: Agent,
    session: Session,
    watch: Watch = _look_away,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Turn, ...]:
    """Let an agent play an episode to its end.

    When the agent's script ends before the episode does, the model is submitted for it, in turns whose author is
    `Author.CLOSING`: such a grade is not the agent's. A submission before any epoch is refused, so then some epochs
    are run first.

    Args:
        agent: Who plays.
        session: The episode, fresh.
        watch: Called after each turn.
        clock: Seconds, from any origin.

    Returns:
        The turns, in order.

    Raises:
        ConnectionError: The environment is gone.
    """
    table = _Table(session, watch, clock)
    script = agent.script(session.brief, session.tools)
    try:
        decision = next(script)
        while not table.take(decision, Author.AGENT).done:
            decision = script.send(table.turns[-1].outcome)
    except StopIteration:
        table.close()
    finally:
        script.close()
    return tuple(table.turns)


class _Table:
    """Carries decisions to the session and keeps the turns."""

    def __init__(self, session: Session, watch: Watch, clock: Callable[[], float]) -> None:
        self.turns: list[Turn] = []
        self._session = session
        self._watch = watch
        self._clock = clock
        self._ready_at = clock()
        self._epochs_run = _epochs_in(session.brief.status)

    def take(self, decision: Decision, author: Author) -> Outcome:
        decided_at = self._clock()
        outcome = _outcome_of(decision, self._session)
        answered_at = self._clock()
        if outcome.reply is not None:
            self._epochs_run = max(self._epochs_run, _epochs_in(outcome.reply))
        turn = Turn(
            number=len(self.turns) + 1,
            decision=decision,
            author=author,
            outcome=outcome,
            decide_s=decided_at - self._ready_at,
            reply_s=answered_at - decided_at,
        )
        self.turns.append(turn)
        self._watch(turn)
        self._ready_at = self._clock()
        return outcome

    def close(self) -> None:
        if self._epochs_run == 0:
            epochs = min(CLOSING_EPOCHS, self._session.brief.budget_epochs)
            why = "no epoch had run, and an untrained model cannot be submitted"
            if self.take(Call(RUN, {"num_epochs": epochs}, why), Author.CLOSING).done:
                return
        why = "the agent made its last decision without submitting"
        self.take(Call(SUBMIT, {}, why), Author.CLOSING)


def _outcome_of(decision: Decision, session: Session) -> Outcome:
    if isinstance(decision, BadDecision):
        return Outcome(refusal=decision.problem)
    try:
        return Outcome(reply=session.call(decision.name, decision.arguments))
    except CallRefusedError as refusal:
        return Outcome(refusal=str(refusal))


def _epochs_in(reply: Reply | Mapping[str, object]) -> int:
    epochs = reply.get("current_epoch")
    return epochs if isinstance(epochs, int) else 0
