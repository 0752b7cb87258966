"""A rule-based agent that diagnoses the run it is given, probes the remedies, and reads the figures of each epoch.

It contains no results of earlier runs. Its decisions depend only on the brief and on the replies.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from ml_trainer_env.baselines.agent import Call, Script
from ml_trainer_env.baselines.play import SUBMIT
from ml_trainer_env.baselines.search.space import Configuration
from ml_trainer_env.baselines.search.trials import (
    BEST,
    CONFIGURE,
    RESTORE,
    SAVE,
    Part,
    Reading,
    run,
    save_start,
    standard_error,
    start_trial,
)
from ml_trainer_env.baselines.session import Brief, CallRefusedError, Reply, ToolSpec

__all__ = ["AdaptiveAgent", "Signs"]

LAST = "last"
"""Checkpoint of the model before the last epoch."""

MOST_CALLS = 30
"""The training after the probes has at most about this many calls of `run_epochs`."""

HOT = 0.1
"""Steps of more than this share of the weights are too long: the rate is too high."""

DEAD = 0.5
"""If more hidden units are dead, the weights are not worth keeping."""

ABOVE_CHANCE = 1.2
"""An initial loss above this multiple of chance shows weights that were trained and then spoilt."""

CREDIT = 0.02
"""Accuracy that fresh weights are credited with for each doubling of 4 epochs left: they learn more than kept ones."""

SECOND_PROBE = 12
"""With so many epochs left there is a second probe of fresh weights, at another rate."""

LOSS_JUMP, BOTH_JUMP, TRAIN_JUMP = 0.35, 0.12, 0.25
"""The inputs have changed if the validation loss rose by the first share within one call, or both losses by the second.
The labels have changed if the training loss alone rose by the third."""

DOUBT = 0.04
"""After such a fall of the worth, the best model of before may have become worse than the present one."""

PATIENCE, WIDE_GAP = 3, 0.12
"""After so many calls without a new best, with so wide a gap between training and validation accuracy, the agent goes
back to the best model and regularises more."""

TAIL = 0.15
"""In the last share of the budget the rate is almost zero. The agent stops there after `PATIENCE` calls without a new
best. It never stops earlier, since examples may change late."""

_CLASSES = re.compile(r"tell (\d+) classes apart")
_MEASURING_RATE = 1e-6
_NOTHING = math.nan


@dataclass(frozen=True, slots=True)
class Signs:
    """The figures of an epoch that the rules read. A figure that is missing is NaN, and no rule applies to it.

    Attributes:
        reading: Epochs left, worth and divergence.
        loss: Validation loss, in nats.
        train_loss: Training loss, in nats.
        initial_loss: Loss before the first step of the epoch, in nats.
        gap: Training accuracy minus validation accuracy.
        gradient_norm: L2 norm of all gradients.
        update_ratio: Norm of a step by the norm of the weights.
        dead_units: Share of hidden units that are dead.
    """

    reading: Reading
    loss: float
    train_loss: float
    initial_loss: float
    gap: float
    gradient_norm: float
    update_ratio: float
    dead_units: float

    @classmethod
    def of(cls, brief: Brief, reply: Reply) -> Self:
        """Read a reply to `run_epochs`."""

        def number(name: str) -> float:
            value = reply.get(name)
            return float(value) if isinstance(value, int | float) and math.isfinite(value) else _NOTHING

        return cls(
            reading=Reading.of(brief, reply),
            loss=number("val_loss"),
            train_loss=number("train_loss"),
            initial_loss=number("initial_loss"),
            gap=number("train_accuracy") - number("val_accuracy"),
            gradient_norm=number("gradient_norm"),
            update_ratio=number("update_ratio"),
            dead_units=number("dead_units"),
        )

    @property
    def explodes(self) -> bool:
        """Whether the run diverged, or its steps are too long for its weights."""
        return self.reading.diverged or self.update_ratio > HOT

    def shows_lost_weights(self, chance: float) -> bool:
        """Whether the weights that were trained know nothing: at chance before and after, or mostly dead.

        Args:
            chance: Loss of a model that knows nothing, in nats.
        """
        at_chance = self.loss >= 0.98 * chance and self.initial_loss <= ABOVE_CHANCE * chance
        return at_chance or self.dead_units > DEAD


@dataclass(frozen=True, slots=True)
class _Probe:
    """A configuration that was tried for an epoch."""

    name: str
    configuration: Configuration
    signs: Signs

    @property
    def worth(self) -> float:
        """Its worth, with the credit of fresh weights."""
        left = max(4, self.signs.reading.left)
        return self.signs.reading.worth + (CREDIT * math.log2(left / 4) if self.configuration.fresh else 0.0)


class AdaptiveAgent:
    """Diagnoses, probes, trains on with the best probe, and corrects what the figures show.

    The budget: one epoch with the default configuration; one with the given weights at a low rate, unless the first one
    showed that they are lost; one with fresh weights; and if 12 epochs or more are left, another one with fresh weights
    at a rate that the first one's figures suggest. All the rest goes to the best of these. In budgets under 6 epochs
    there is no probe of the given weights at a low rate.

    - Loss at chance before and after an epoch, or mostly dead units: the given weights are lost.
    - Steps of a tenth of the weights, or divergence: a third of the rate, from the best model so far.
    - Validation accuracy that no longer rises, with a gap: back to the best model, with more regularisation.
    - Losses that jump: the examples have changed. If the inputs did, it anneals the rate anew; if the labels did, it
      regularises more. It spends the last epoch on the best model of before, to see whether that is still the best.
    - No new best in the last part of the budget: it stops.

    Args:
        name: Short name.
        default_first: Whether the first epoch is trained with the default configuration.
    """

    def __init__(self, name: str = "adaptive", *, default_first: bool = True) -> None:
        self.name = name
        self._default_first = default_first

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode. A refused training call ends the script."""
        try:
            default = yield from save_start()
            best, left = yield from _probe(brief, default if self._default_first else None)
            yield from _Training(brief, best, left).script()
            yield Call(SUBMIT, {}, "the budget is spent")
        except CallRefusedError:
            return


def _probe(brief: Brief, default: Configuration | None) -> Part[tuple[_Probe, int]]:
    """Try remedies for an epoch each. Returns the best one, whose model is the present one, and the epochs left."""
    classes = _CLASSES.search(brief.description)
    chance = math.log(int(classes[1])) if classes else math.inf
    batch = min(32, brief.largest_batch)
    fresh = Configuration("adamw", 0.01, batch, 0.05, 0.1, 0.3, fresh=True)
    gentle = Configuration("adamw", 0.0005, batch, 0.05, 0.1, 0.5, fresh=False)
    probes: list[_Probe] = []

    def attempt(name: str, configuration: Configuration, why: str) -> Part[_Probe]:
        yield from start_trial(configuration, why)
        probe = _Probe(name, configuration, Signs.of(brief, (yield from run(1))))
        probes.append(probe)
        if not probe.signs.reading.diverged:
            yield Call(SAVE, {"name": name})
        return probe

    is_lost = False
    if default is not None:
        first = yield from attempt("default", default, "what the run does as it is")
        is_lost = first.signs.shows_lost_weights(chance)
    if not is_lost and brief.budget_epochs >= 6:
        yield from attempt("gentle", gentle, "are the weights worth keeping?")
    found = yield from attempt("fresh", fresh, "fresh weights")
    if found.signs.reading.left >= SECOND_PROBE:
        rate = 0.003 if found.signs.explodes or found.signs.update_ratio > HOT / 4 else 0.03
        yield from attempt("other", replace(fresh, learning_rate=rate), "fresh weights at another rate")
    best = max(probes, key=lambda probe: probe.worth)
    if best.name != probes[-1].name and not best.signs.reading.diverged:
        yield Call(RESTORE, {"name": best.name}, f"worth {best.worth:.3f} with its credit")
    return best, probes[-1].signs.reading.left


class _Training:
    """Trains the best probe for the rest of the budget.

    Args:
        brief: The episode's brief.
        probe: The best probe.
        left: Epochs left.
    """

    def __init__(self, brief: Brief, probe: _Probe, left: int) -> None:
        self._brief = brief
        self._settings = probe.configuration.continued("cosine")
        self._signs = probe.signs
        self._left = left
        self._best = -math.inf
        self._since = 0
        self._is_doubtful = False

    def script(self) -> Script:
        """Train, and leave the best model as the present one."""
        yield from self._begin()
        stride = max(1, math.ceil(self._left / MOST_CALLS))
        while self._left > 0:
            before = self._signs
            if self._left == 1 and self._is_doubtful and self._best > before.reading.worth:
                yield from self._compare()
                return
            self._signs = Signs.of(self._brief, (yield from run(min(stride, self._left))))
            self._left = self._signs.reading.left
            yield from self._note(before)
            if self._left == 0 or self._is_through:
                break
            yield from self._correct(before)
        if self._best > self._signs.reading.worth + standard_error(self._best, self._brief.dataset.validation_size):
            yield Call(RESTORE, {"name": BEST}, "the best model so far is better by more than chance")

    @property
    def _is_through(self) -> bool:
        return self._left <= TAIL * self._brief.budget_epochs and self._since >= PATIENCE and not self._is_doubtful

    @property
    def _overfits(self) -> bool:
        is_stuck = self._since >= PATIENCE and self._left >= PATIENCE and not self._is_doubtful
        return is_stuck and self._signs.gap > WIDE_GAP

    def _begin(self) -> Script:
        if self._signs.reading.diverged:
            self._settings = replace(self._settings, learning_rate=0.003)
            yield Call(CONFIGURE, replace(self._settings, fresh=True).arguments(), "all diverged: a low rate")
            return
        self._best = self._signs.reading.worth
        yield Call(SAVE, {"name": BEST}, "the best so far")
        if self._signs.explodes:
            self._settings = replace(self._settings, learning_rate=self._settings.learning_rate / 3)
        yield Call(CONFIGURE, self._settings.arguments(), "anneal over the rest of the budget")

    def _note(self, before: Signs) -> Script:
        """Keep the best model."""
        self._since += 1
        worth = self._signs.reading.worth
        self._is_doubtful = self._is_doubtful or self._moved(before) or worth < before.reading.worth - DOUBT
        if worth > self._best:
            self._best, self._since, self._is_doubtful = worth, 0, False
            yield Call(SAVE, {"name": BEST}, "the best so far")

    def _moved(self, before: Signs) -> bool:
        """Whether the inputs have changed."""
        now = self._signs
        both = _jumped(before.loss, now.loss, BOTH_JUMP, 0.03) and _jumped(
            before.train_loss, now.train_loss, BOTH_JUMP, 0.03
        )
        return both or _jumped(before.loss, now.loss, LOSS_JUMP, 0.1)

    def _correct(self, before: Signs) -> Script:
        """Answer what the figures show."""
        now, settings = self._signs, self._settings
        if now.explodes:
            self._settings = replace(settings, learning_rate=settings.learning_rate / 3)
            if self._best > -math.inf:
                yield Call(RESTORE, {"name": BEST}, "back to the best model")
                yield Call(CONFIGURE, self._settings.arguments(), "steps were too long: a third of the rate")
            else:
                fresh = replace(self._settings, fresh=True)
                yield Call(CONFIGURE, fresh.arguments(), "it diverged: fresh weights, a third of the rate")
        elif self._moved(before):
            self._settings = replace(settings, learning_rate=settings.learning_rate * 0.8)
            yield Call(CONFIGURE, self._settings.arguments(), "the inputs have changed: anneal anew")
        elif _jumped(before.train_loss, now.train_loss, TRAIN_JUMP, 0.1) and settings.augmentation_strength < 0.6:
            yield from self._regularise(0.1, "the labels have changed: regularise")
        elif self._overfits and settings.dropout < 0.4:
            self._since = 0
            yield Call(RESTORE, {"name": BEST}, "it overfits: back to the best model")
            yield from self._regularise(0.15, f"a gap of {100 * now.gap:.0f} points: regularise")

    def _regularise(self, dropout: float, why: str) -> Script:
        """Raise dropout and augmentation. The schedule goes on."""
        self._settings = replace(
            self._settings,
            dropout=round(min(0.5, self._settings.dropout + dropout), 3),
            augmentation_strength=round(min(1.0, self._settings.augmentation_strength + 0.3), 3),
        )
        yield Call(CONFIGURE, self._settings.arguments(), why)

    def _compare(self) -> Script:
        """Spend the last epoch on measuring the best model of before, and keep the better one of it and the present."""
        present = self._signs.reading.worth
        yield Call(SAVE, {"name": LAST}, "the present model")
        yield Call(RESTORE, {"name": BEST}, "it was the best, perhaps on other examples")
        still = replace(self._settings, learning_rate=_MEASURING_RATE, lr_schedule="constant")
        yield Call(CONFIGURE, still.arguments(), "measure it as it is")
        measured = Reading.of(self._brief, (yield from run(1)))
        if measured.worth < present:
            yield Call(RESTORE, {"name": LAST}, "it is worse than the present model now")


def _jumped(before: float, now: float, share: float, least: float) -> bool:
    """Whether a loss rose by a share and by a least amount. A missing loss never did."""
    return now > before * (1 + share) + least
