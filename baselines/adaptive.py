"""A rule-based agent that diagnoses the run it is given, probes the remedies, and reads the figures of each epoch.

It contains no results of earlier runs. Its decisions depend only on the brief and on the replies.
"""

import math
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
"""Steps of more than this share of the weights are too long if they make the loss higher: the rate is too high."""

DEAD = 0.5
"""If more hidden units are dead, the weights are not worth keeping."""

NEAR_CHANCE = 0.95
"""A loss above this multiple of chance after an epoch shows weights that hardly know more than fresh ones."""

ABOVE_CHANCE = 1.2
"""An initial loss above this multiple of chance shows weights that were trained and then spoilt."""

CREDIT = 0.02
"""Accuracy that fresh weights are credited with for each doubling of 4 epochs left: they learn more than kept ones."""

FASTER = 6.0
"""The next probe of weights that are worth keeping goes on at a rate so many times as high."""

TINY = 0.003
"""Steps of less than this share of the weights are short: while the model gets better, the rate may be tripled."""

LEAST_LEFT = 5
"""With fewer epochs left, weights that may be worth keeping are not probed at a low rate."""

LEAST_FOR_SLOW = 6
"""With fewer epochs left, fresh weights get no second probe."""

LEARNT = 0.9
"""Fresh weights come to less than this share of the loss of a model that knows nothing, unless their rate is wrong."""

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
        """Whether the run diverged, or its steps are too long for its weights and make the loss higher."""
        return self.reading.diverged or (self.update_ratio > HOT and self.loss > self.initial_loss)

    def shows_lost_weights(self, chance: float) -> bool:
        """Whether the weights that were trained know nothing: near chance before and after, or mostly dead.

        Args:
            chance: Loss of a model that knows nothing, in nats.
        """
        at_chance = self.loss >= NEAR_CHANCE * chance and self.initial_loss <= ABOVE_CHANCE * chance
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
    showed that they are lost; one with fresh weights; another one with fresh weights at a lower rate, if those learnt
    little; and if the given weights are the best, one more of these at a higher rate. All the rest goes to the best. In
    tiny budgets there is no probe of the given weights at a low rate.

    - Loss at chance before and after an epoch, or mostly dead units: the given weights are lost.
    - Steps of a tenth of the weights that make the loss higher, or divergence: a third of the rate, from the best model
      so far.
    - Short steps by which validation accuracy rises, early in the budget: three times the rate.
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
            probing = _Probing(brief, default if self._default_first else None)
            best = yield from probing.script()
            yield from _Training(brief, best, probing.left).script()
            yield Call(SUBMIT, {}, "the budget is spent")
        except CallRefusedError:
            return


class _Probing:
    """Tries remedies for an epoch each.

    Args:
        brief: The episode's brief.
        default: The configuration of the first probe. None for no such probe.
    """

    def __init__(self, brief: Brief, default: Configuration | None) -> None:
        batch = min(32, brief.largest_batch)
        self._brief = brief
        self._default = default
        self._chance = math.log(brief.class_count) if brief.class_count else math.inf
        self._gentle = Configuration("adamw", 0.0005, batch, 0.05, 0.1, 0.5, fresh=False)
        self._fresh = Configuration("adamw", 0.01, batch, 0.05, 0.1, 0.3, fresh=True)
        self._probes: list[_Probe] = []

    @property
    def left(self) -> int:
        """Epochs left."""
        return self._probes[-1].signs.reading.left if self._probes else self._brief.budget_epochs

    def script(self) -> Part[_Probe]:
        """Try remedies. Returns the best one, whose model is the present one."""
        is_lost = False
        if self._default is not None:
            first = yield from self._attempt("default", self._default, "what the run does as it is")
            is_lost = first.signs.shows_lost_weights(self._chance)
        if not is_lost and self.left >= LEAST_LEFT:
            yield from self._attempt("gentle", self._gentle, "are the weights worth keeping?")
        if self.left > 0:
            yield from self._try_fresh()
        best = self._best
        if best.name == "gentle" and self.left > 0 and not best.signs.reading.diverged:
            best = yield from self._try_faster(best)
        if best is not self._probes[-1] and not best.signs.reading.diverged:
            yield Call(RESTORE, {"name": best.name}, f"worth {best.worth:.3f} with its credit")
        return best

    @property
    def _best(self) -> _Probe:
        return max(self._probes, key=lambda probe: probe.worth)

    def _try_fresh(self) -> Part[None]:
        found = yield from self._attempt("fresh", self._fresh, "fresh weights")
        if self.left >= LEAST_FOR_SLOW and (found.signs.explodes or found.signs.loss > LEARNT * self._chance):
            slow = replace(self._fresh, learning_rate=0.002)
            yield from self._attempt("slow", slow, "fresh weights learnt little: a lower rate")

    def _try_faster(self, gentle: _Probe) -> Part[_Probe]:
        """Go on from the gentle probe at a higher rate. Returns the better one of the two."""
        yield Call(RESTORE, {"name": gentle.name}, "the given weights are worth keeping")
        rate = FASTER * self._gentle.learning_rate
        faster = replace(self._gentle, learning_rate=rate, augmentation_strength=self._fresh.augmentation_strength)
        yield Call(CONFIGURE, faster.arguments(), "can they be trained faster?")
        probe = yield from self._run("faster", faster)
        return max(probe, gentle, key=lambda one: one.worth)

    def _attempt(self, name: str, configuration: Configuration, why: str) -> Part[_Probe]:
        yield from start_trial(configuration, why)
        return (yield from self._run(name, configuration))

    def _run(self, name: str, configuration: Configuration) -> Part[_Probe]:
        probe = _Probe(name, configuration, Signs.of(self._brief, (yield from run(1))))
        self._probes.append(probe)
        if not probe.signs.reading.diverged:
            yield Call(SAVE, {"name": name})
        return probe


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

    def _is_slow(self, before: Signs) -> bool:
        """Whether longer steps would teach the model more, early in the budget."""
        now, is_early = self._signs, self._left > 0.5 * self._brief.budget_epochs
        is_rising = now.reading.worth > before.reading.worth + DOUBT / 4
        return is_early and is_rising and now.update_ratio < TINY and now.gap < WIDE_GAP

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
        elif self._is_slow(before):
            self._settings = replace(settings, learning_rate=settings.learning_rate * 3)
            yield Call(CONFIGURE, self._settings.arguments(), "it gets better by short steps: three times the rate")
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
