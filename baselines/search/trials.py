"""What searches do with an episode: trials from the checkpoint of its start, and training of the winner to the end.

All functions are parts of an agent's script: they yield calls and receive outcomes.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Self, TypeVar

from ml_trainer_env.baselines.agent import Call, Decision, Outcome
from ml_trainer_env.baselines.play import RUN, SUBMIT
from ml_trainer_env.baselines.search.space import Configuration
from ml_trainer_env.baselines.session import Brief, CallRefusedError, GameSession, Reply

__all__ = [
    "BEST",
    "CONFIGURE",
    "RESTORE",
    "SAVE",
    "Contender",
    "Part",
    "Reading",
    "carry_out",
    "finish",
    "keep",
    "require",
    "restore",
    "run",
    "run_for",
    "save_start",
    "standard_error",
    "start_trial",
    "train_with",
]

CONFIGURE, SAVE, RESTORE, SET_RATE = (
    "configure_training",
    "save_checkpoint",
    "restore_checkpoint",
    "adjust_learning_rate",
)

START, BEST = "start", "best"
"""Checkpoints: the model that the episode began with, and the best one of the last phase."""

MOST_EPOCHS = 20
"""The most epochs of one call."""

MOST_STRIDES = 16
"""The last phase has at most this many calls of `run_epochs`."""

MOST_DIVERGENCES = 3
"""After so many divergences in the last phase the best model is submitted."""

LEAST_FALL, FALL = 0.08, 0.3
"""If the validation figure falls by more than both, the second one a share of it, the examples have changed. Figures of
before cannot be compared any more, and the best model is one of those that follow."""

FALLBACK = Configuration("adamw", 0.003, 32, 0.05, 0.1, 0.3, fresh=True)
"""What is trained if every trial diverged."""

Returned = TypeVar("Returned")
Part = Generator[Decision, Outcome, Returned]
"""A part of a script, with a result."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply tells of the model.

    Attributes:
        left: Epochs left in the episode.
        worth: Validation accuracy, or minus the validation loss where the next token is predicted. Of two models of
            equal accuracy, the one with the lower loss is worth a little more. Minus infinity if the run diverged.
        diverged: Whether the run diverged.
    """

    left: int
    worth: float
    diverged: bool

    @classmethod
    def of(cls, brief: Brief, reply: Reply) -> Self:
        """Read a reply to `run_epochs`."""
        shown = reply.get("val_loss")
        loss = float(shown) if isinstance(shown, int | float) and math.isfinite(shown) else math.inf
        accuracy = float(reply.get("val_accuracy") or 0.0)
        worth = -loss if brief.is_graded_by_loss else accuracy - 0.001 * min(loss, 10.0)
        diverged = bool(reply.get("is_diverged"))
        return cls(int(reply.get("remaining_budget") or 0), -math.inf if diverged else worth, diverged)


@dataclass(frozen=True, slots=True)
class Contender:
    """A configuration that was tried.

    Attributes:
        configuration: The configuration.
        reading: What its last epoch told.
        checkpoint: The checkpoint of its model. "" if it diverged, and has none.
    """

    configuration: Configuration
    reading: Reading
    checkpoint: str = ""


def require(call: Call) -> Part[Reply]:
    """Make a call that must not be refused, and return its reply.

    Raises:
        CallRefusedError: It was refused.
    """
    outcome = yield call
    if outcome.reply is None:
        raise CallRefusedError(f"{call.name} was refused: {outcome.refusal}")
    return outcome.reply


def run(epochs: int) -> Part[Reply]:
    """Train for at most 20 epochs in one call, and return the reply.

    Raises:
        CallRefusedError: Training was refused.
    """
    return (yield from require(Call(RUN, {"num_epochs": epochs})))


def save_start() -> Part[Configuration]:
    """Save the model that the episode begins with, and return the default configuration.

    Raises:
        CallRefusedError: The save was refused.
    """
    reply = yield from require(Call(SAVE, {"name": START}, "each trial begins here"))
    return Configuration.default(reply["configuration"])


def train_with(brief: Brief, configuration: Configuration, epochs: int, reason: str) -> Part[Contender]:
    """Carry out a trial: go back to the start, set a configuration and train.

    Args:
        brief: The episode's brief.
        configuration: What to try.
        epochs: Epochs of the trial.
        reason: Shown in the report.
    """
    yield from start_trial(configuration, reason)
    return Contender(configuration, (yield from run_for(brief, epochs)))


def start_trial(configuration: Configuration, reason: str) -> Part[None]:
    """Go back to the start, or to fresh weights, and set a configuration."""
    if not configuration.fresh:
        yield Call(RESTORE, {"name": START})
    yield Call(CONFIGURE, configuration.arguments(), reason)


def keep(contender: Contender, name: str) -> Part[Contender]:
    """Save the present model as that of a contender, unless it diverged."""
    if contender.reading.diverged:
        return contender
    yield Call(SAVE, {"name": name})
    return replace(contender, checkpoint=name)


def restore(contender: Contender) -> Part[None]:
    """Go on from the model of a contender. Its settings have to be set anew."""
    yield Call(RESTORE, {"name": contender.checkpoint}, f"worth {contender.reading.worth:.3f}")


def run_for(brief: Brief, epochs: int) -> Part[Reading]:
    """Train for some epochs, in as few calls as possible. Stops at divergence and when the budget is spent.

    Raises:
        CallRefusedError: Training was refused.
    """
    while True:
        stride = min(MOST_EPOCHS, epochs)
        reading = Reading.of(brief, (yield from run(stride)))
        epochs -= stride
        if epochs <= 0 or reading.left == 0 or reading.diverged:
            return reading


def finish(brief: Brief, winner: Contender | None, left: int, epochs: int | None = None) -> Part[None]:
    """Train the winner for the rest of the budget, annealing its rate to zero, and submit the best model.

    The model of the highest validation figure is submitted if it is better than the last one by more than the standard
    error of the figure.

    Args:
        brief: The episode's brief.
        winner: Whose model to go on from. None if every trial diverged.
        left: Epochs left in the episode.
        epochs: Epochs to train. None for all that are left. With fewer, the agent sets each rate itself, because the
            schedules of the tools span all that are left.
    """
    if winner is None:
        configuration, best = FALLBACK, -math.inf
        yield Call(CONFIGURE, configuration.arguments(), "every trial diverged: fresh weights at a low rate")
    else:
        configuration, best = winner.configuration, winner.reading.worth
        yield from restore(winner)
        yield Call(SAVE, {"name": BEST})
    wanted = left if epochs is None else min(epochs, left)
    last = yield from _anneal(brief, configuration, best, left, wanted)
    if last is not None:
        yield Call(RESTORE, {"name": BEST}, "it is better than the last model by more than chance")
    yield Call(SUBMIT, {}, "the budget is spent")


def _anneal(brief: Brief, configuration: Configuration, best: float, left: int, epochs: int) -> Part[str | None]:
    """Train with a falling rate. Returns the checkpoint to submit, or None if it is the present model."""
    anneals_itself = epochs == left
    settings = configuration.continued("cosine" if anneals_itself else "constant")
    stride = min(MOST_EPOCHS, max(1, math.ceil(epochs / MOST_STRIDES)))
    until, worth, divergences = left - epochs, best, 0
    if epochs:
        yield Call(CONFIGURE, settings.arguments(), "anneal the rate over the rest of the budget")
    while left > until and divergences < MOST_DIVERGENCES:
        if not anneals_itself:
            yield Call(SET_RATE, {"new_lr": settings.learning_rate * _cosine((left - until) / epochs)})
        reading = yield from run_for(brief, min(stride, left - until))
        has_changed = not reading.diverged and worth - reading.worth > max(LEAST_FALL, FALL * abs(worth))
        left, worth = reading.left, reading.worth
        if worth > best or has_changed:
            best = worth
            yield Call(SAVE, {"name": BEST}, "the examples have changed" if has_changed else "the best so far")
        if reading.diverged:
            divergences += 1
            settings = replace(settings, learning_rate=settings.learning_rate / 3)
            again = settings if best > -math.inf else replace(settings, fresh=True)
            if best > -math.inf:
                yield Call(RESTORE, {"name": BEST})
            yield Call(CONFIGURE, again.arguments(), "it diverged: a third of the rate")
    return BEST if best > worth + standard_error(best, brief.dataset.validation_size) else None


def _cosine(share_left: float) -> float:
    """Return the factor of the peak rate when this share of the epochs is left."""
    return max(0.02, 0.5 * (1 - math.cos(math.pi * share_left)))


def standard_error(worth: float, count: int) -> float:
    """Return the standard error of an accuracy over `count` examples. For losses it is taken to be as large as any."""
    accuracy = min(1.0, worth) if worth > 0 else 0.5
    return math.sqrt(max(0.01, accuracy * (1 - accuracy)) / count)


def carry_out(part: Part[Returned], session: GameSession[Brief]) -> Returned:
    """Carry out a part of a script on a session, and return its result.

    Raises:
        CallRefusedError: The environment refused a call that the part needs.
        ConnectionError: The connection to the environment is lost.
    """
    try:
        decision = next(part)
        while True:
            assert isinstance(decision, Call)
            try:
                outcome = Outcome(reply=session.call(decision.name, decision.arguments, decision.reason))
            except CallRefusedError as refusal:
                outcome = Outcome(refusal=str(refusal))
            decision = part.send(outcome)
    except StopIteration as end:
        returned: Returned = end.value
        return returned
