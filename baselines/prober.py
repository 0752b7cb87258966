"""An agent that probes, watches and adapts.

It contains no results of earlier runs. Its decisions depend only on the brief and on the replies.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from ml_trainer_env.baselines.agent import Call, Decision, Outcome, Script
from ml_trainer_env.baselines.play import RUN, SUBMIT
from ml_trainer_env.baselines.search.trials import standard_error
from ml_trainer_env.baselines.session import Brief, Reply, ToolSpec

__all__ = ["ProbingAgent"]

CONFIGURE = "configure_training"
SAVE, RESTORE = "save_checkpoint", "restore_checkpoint"

GENTLE, KEPT, FRESH, BEST, LAST = "gentle", "kept", "fresh", "best", "last"
"""Names of checkpoints: the weights that were found, after an epoch at a low rate and after another one at a higher
rate; fresh weights after an epoch; the best model so far; and the model before the last epoch."""

LEAST_PROBED_BUDGET, LEAST_TRIPLY_PROBED_BUDGET, LARGEST_PROBED_BUDGET = 4, 8, 30
"""In a smaller budget a probe is too dear. In a larger one fresh weights catch up with any others."""

MOST_CALLS = 40
"""The budget is split into at most this many calls of `run_epochs`."""

LOSS_JUMP, BOTH_JUMP, TRAIN_JUMP = 0.35, 0.12, 0.25
"""The inputs have changed if the validation loss rose by the first share within one call, or both losses by the second.
The labels have changed if the training loss alone rose by the third."""

FALL, LEAST_FALL = 0.3, 0.08
"""The inputs have changed, too, if the validation accuracy fell by this share, and by the second number at least."""

ABOVE_CHANCE = 1.2
"""Losses above this multiple of chance show that the weights were trained and then spoilt."""

DOUBT = 0.04
"""After such a fall of the validation accuracy the best model of before may have become worse than the present one."""

MEASURING_RATE = 1e-6
"""At this learning rate an epoch measures a model and does not change it."""

PATIENCE = 3
"""After this many calls without a new best, with a gap, the agent goes back and regularises more."""

WIDE_GAP = 0.12
"""If training accuracy exceeds validation accuracy by more, the network overfits."""


@dataclass(slots=True)
class _Settings:
    """The settings that the agent changes."""

    batch: int
    learning_rate: float = 0.01
    dropout: float = 0.1
    strength: float = 0.3
    weight_decay: float = 0.05

    def arguments(self, *, fresh: bool = False) -> dict[str, object]:
        return {
            "optimizer": "adamw",
            "learning_rate": self.learning_rate,
            "batch_size": self.batch,
            "weight_decay": self.weight_decay,
            "lr_schedule": "cosine",
            "reinitialize": fresh,
            **self.regularisation(),
        }

    def follow(self, other: "_Settings") -> None:
        """Take over the learning rate and the regularisation of others."""
        self.learning_rate, self.dropout, self.strength = other.learning_rate, other.dropout, other.strength

    def regularisation(self) -> dict[str, object]:
        return {
            "dropout": round(self.dropout, 3),
            "augmentation": self.strength > 0,
            "augmentation_strength": round(self.strength, 3),
        }


@dataclass(slots=True)
class _Seen:
    """What the last reply told.

    Attributes:
        left: Epochs left.
        by_loss: Whether a model's worth is minus its loss, since the next token is predicted.
        chance: Loss of a model that knows nothing, in nats. Infinite if it is not known.
        worth: The worth of the model: its validation accuracy; the loss decides between equals.
        best: The worth of the best model when it was measured.
        gap: Training accuracy minus validation accuracy.
        loss: Validation loss, infinite if it was not finite.
        train_loss: Training loss, infinite if it was not finite.
        initial_loss: Loss before the first step of the last epoch, infinite if it was not finite.
        diverged: Whether the last epoch diverged.
    """

    left: int
    by_loss: bool
    chance: float
    worth: float = -math.inf
    best: float = -math.inf
    gap: float = 0.0
    loss: float = math.inf
    train_loss: float = math.inf
    initial_loss: float = math.inf
    diverged: bool = False

    @property
    def knows_nothing(self) -> bool:
        """Whether the model was at chance before and after the last epoch. One far above chance may be repairable."""
        return self.loss >= self.chance and self.initial_loss <= ABOVE_CHANCE * self.chance

    def read(self, reply: Reply) -> None:
        self.left = int(reply.get("remaining_budget") or 0)
        self.loss, self.train_loss = _finite(reply.get("val_loss")), _finite(reply.get("train_loss"))
        self.initial_loss = _finite(reply.get("initial_loss"))
        self.diverged = bool(reply.get("is_diverged"))
        accuracy = float(reply.get("val_accuracy") or 0.0)
        self.gap = float(reply.get("train_accuracy") or 0.0) - accuracy
        self.worth = -self.loss if self.by_loss else accuracy - 0.001 * min(self.loss, 10.0)
        if self.diverged:
            self.worth = -math.inf


class ProbingAgent:
    """Probes whether the weights it was given are worth keeping, then trains and corrects its course.

    - In a tiny budget it trains fresh weights fast: there is nothing to spend on probes.
    - In a small budget it trains the given weights for an epoch at a low rate and for another one at a higher rate, and
      fresh weights for an epoch, and goes on with the best of these.
    - It keeps the best model of all as a checkpoint, and submits it if it is better than the last by more than chance.
    - If a network overfits and gets no better, it goes back to the best model and regularises more.
    - If the losses jump, the examples have changed. If the inputs did, it anneals the rate anew; if the labels did, it
      regularises more. It spends the last epoch on the best model of before, to see whether that is still the best.
    """

    name = "prober"

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode. A refused training call ends the script."""
        chance = math.log(brief.class_count) if brief.class_count else math.inf
        seen = _Seen(brief.budget_epochs, brief.is_graded_by_loss, chance)
        batch = min(32, brief.largest_batch)
        if brief.budget_epochs < LEAST_PROBED_BUDGET:
            settings = _Settings(batch, dropout=0.0, strength=0.0)
            yield Call(CONFIGURE, settings.arguments(fresh=True), "few epochs: fresh weights at a high rate")
            yield from self._train(seen, settings)
        else:
            settings = _Settings(batch)
            if brief.budget_epochs <= LARGEST_PROBED_BUDGET:
                yield from self._probe(seen, settings)
            else:
                yield Call(CONFIGURE, settings.arguments(fresh=True), "enough epochs to begin with fresh weights")
            yield from self._train(seen, settings)
        if seen.best > seen.worth + standard_error(seen.best, brief.dataset.validation_size):
            yield Call(RESTORE, {"name": BEST}, "the best model so far is better by more than chance")
        yield Call(SUBMIT, {}, "the budget is spent")

    def _probe(self, seen: _Seen, settings: _Settings) -> Generator[Decision, Outcome, None]:
        """Train the given weights gently and fast and fresh ones, for an epoch each, and go on with the best."""
        gentle = _Settings(settings.batch, learning_rate=settings.learning_rate / 20, strength=0.5)
        kept = _Settings(settings.batch, learning_rate=settings.learning_rate / 3)
        probes = {GENTLE: gentle, KEPT: kept, FRESH: settings}
        if seen.left < LEAST_TRIPLY_PROBED_BUDGET:
            del probes[GENTLE]
        worth: dict[str, float] = {}
        for name, chosen in probes.items():
            yield Call(CONFIGURE, chosen.arguments(fresh=name == FRESH), f"probe: {name}")
            outcome = yield Call(RUN, {"num_epochs": 1}, "one epoch tells how much the weights know")
            if outcome.reply is not None:
                seen.read(outcome.reply)
            worth[name] = seen.worth
            yield Call(SAVE, {"name": name}, "to go on from it")
            if name != FRESH and seen.knows_nothing:
                yield Call(CONFIGURE, settings.arguments(fresh=True), "the weights know nothing: fresh ones")
                return
        best = max(worth, key=worth.__getitem__)
        if best != FRESH:
            yield Call(RESTORE, {"name": best}, f"they know more than fresh ones: {worth}")
            settings.follow(probes[best])
        seen.worth = seen.best = worth[best]
        yield Call(SAVE, {"name": BEST}, "the best so far")
        yield Call(CONFIGURE, {"learning_rate": settings.learning_rate * 0.99}, "anneal over the rest of the budget")

    def _train(self, seen: _Seen, settings: _Settings) -> Generator[Decision, Outcome, None]:
        """Train for the rest of the budget."""
        stride = max(1, math.ceil(seen.left / MOST_CALLS))
        since, doubtful = 0, False
        while seen.left > 0:
            loss, train_loss, worth = seen.loss, seen.train_loss, seen.worth
            if seen.left == 1 and doubtful and seen.best > worth:
                yield from self._compare(seen)
                return
            outcome = yield Call(RUN, {"num_epochs": min(stride, seen.left)}, "train on")
            if outcome.reply is None:
                return
            seen.read(outcome.reply)
            fell = not seen.by_loss and seen.worth < worth - max(LEAST_FALL, FALL * worth)
            both = seen.loss > loss * (1 + BOTH_JUMP) + 0.03 and seen.train_loss > train_loss * (1 + BOTH_JUMP) + 0.03
            moved = math.isfinite(loss) and (fell or both or seen.loss > loss * (1 + LOSS_JUMP) + 0.1)
            noisier = math.isfinite(train_loss) and seen.train_loss > train_loss * (1 + TRAIN_JUMP) + 0.1
            doubtful = doubtful or moved or seen.worth < worth - DOUBT
            since += 1
            if seen.worth > seen.best:
                seen.best, since, doubtful = seen.worth, 0, False
                yield Call(SAVE, {"name": BEST}, "the best so far")
            if not seen.left:
                break
            if seen.diverged:
                settings.learning_rate /= 3
                has_best = seen.best > -math.inf
                yield Call(RESTORE, {"name": BEST}) if has_best else Call(CONFIGURE, {"reinitialize": True})
                yield Call(CONFIGURE, {"learning_rate": settings.learning_rate}, "it diverged: a third of the rate")
            elif moved:
                settings.learning_rate *= 0.8
                yield Call(CONFIGURE, {"learning_rate": settings.learning_rate}, "the inputs have changed: anneal anew")
            elif noisier and settings.strength < 0.6:
                settings.dropout, settings.strength = settings.dropout + 0.1, settings.strength + 0.3
                yield Call(CONFIGURE, settings.regularisation(), "the labels have changed: regularise")
            elif (
                since >= PATIENCE
                and seen.left >= PATIENCE
                and not doubtful
                and seen.gap > WIDE_GAP
                and settings.dropout < 0.4
            ):
                settings.dropout, settings.strength = settings.dropout + 0.15, min(1.0, settings.strength + 0.3)
                since = 0
                yield Call(RESTORE, {"name": BEST}, "it overfits: back to the best model")
                yield Call(CONFIGURE, settings.regularisation(), f"a gap of {100 * seen.gap:.0f} points: regularise")

    def _compare(self, seen: _Seen) -> Generator[Decision, Outcome, None]:
        """Spend the last epoch on measuring the best model of before, and keep the better one of it and the present."""
        worth = seen.worth
        yield Call(SAVE, {"name": LAST}, "the present model")
        yield Call(RESTORE, {"name": BEST}, "it was the best, perhaps on other examples")
        yield Call(CONFIGURE, {"learning_rate": MEASURING_RATE, "lr_schedule": "constant"}, "measure it as it is")
        outcome = yield Call(RUN, {"num_epochs": 1}, "the last epoch")
        if outcome.reply is not None:
            seen.read(outcome.reply)
        if seen.worth < worth:
            yield Call(RESTORE, {"name": LAST}, "it is worse than the present model now")
        seen.best = -math.inf


def _finite(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.inf
