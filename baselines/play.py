"""The loop between an agent and a session. Every episode ends with a grade."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ml_trainer_env.baselines.agent import BadDecision, Call, Decision, GameAgent, Outcome
from ml_trainer_env.baselines.session import BriefT, CallRefusedError, EpisodeBrief, GameSession, Reply

__all__ = ["RUN", "SUBMIT", "Author", "OnTurn", "Turn", "ignore_turn", "play"]

RUN = "run_epochs"
SUBMIT = "submit_model"


class Author(StrEnum):
    """Author of a decision."""

    AGENT = "agent"
    """The agent."""
    CLOSING = "closing"
    """The program, because the agent stopped or had no decisions left, and had not submitted."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One decision and its outcome.

    Attributes:
        number: Number within the episode, from 1.
        decision: The call, or the invalid decision.
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


OnTurn = Callable[[Turn], None]


def ignore_turn(_turn: Turn) -> None:
    """Do nothing."""


def play(
    agent: GameAgent[BriefT],
    session: GameSession[BriefT],
    watch: OnTurn = ignore_turn,
    clock: Callable[[], float] = time.perf_counter,
    *,
    closes: bool = True,
) -> tuple[Turn, ...]:
    """Let an agent play an episode to its end.

    If the agent's script ends before the episode, the program submits the model, in turns whose author is
    `Author.CLOSING`. If no epoch has run, it first runs some where such a submission would be refused.

    Args:
        agent: The agent.
        session: A new episode.
        watch: Called after each turn.
        clock: Returns seconds, from any origin.
        closes: Whether the program submits for an agent that does not.

    Returns:
        The turns, in order.

    Raises:
        ConnectionError: The connection to the environment is lost.
    """
    recorder = _TurnRecorder(session, watch, clock)
    script = agent.script(session.brief, session.tools)
    try:
        decision = next(script)
        while not recorder.take(decision, Author.AGENT).done:
            decision = script.send(recorder.turns[-1].outcome)
    except StopIteration:
        if closes:
            recorder.close()
    finally:
        script.close()
    return tuple(recorder.turns)


class _TurnRecorder:
    """Passes decisions to the session and records the turns."""

    def __init__(self, session: GameSession[EpisodeBrief], watch: OnTurn, clock: Callable[[], float]) -> None:
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
        epochs = self._session.brief.closing_epochs
        if self._epochs_run == 0 and epochs:
            why = "no epoch had run, and an untrained model cannot be submitted"
            if self.take(Call(RUN, {"num_epochs": epochs}, why), Author.CLOSING).done:
                return
        why = "the agent made its last decision without submitting"
        self.take(Call(SUBMIT, {}, why), Author.CLOSING)


def _outcome_of(decision: Decision, session: GameSession[EpisodeBrief]) -> Outcome:
    if isinstance(decision, BadDecision):
        return Outcome(refusal=decision.problem)
    try:
        return Outcome(reply=session.call(decision.name, decision.arguments, decision.reason))
    except CallRefusedError as refusal:
        return Outcome(refusal=str(refusal))


def _epochs_in(reply: Reply | Mapping[str, object]) -> int:
    epochs = reply.get("current_epoch")
    return epochs if isinstance(epochs, int) else 0
