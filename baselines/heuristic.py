"""A practitioner's rules: a sound recipe for the task, then changes where the figures ask.

No result is written down here: what it does follows from the brief and from the replies.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from ml_trainer_env.baselines.agent import Call, Decision, Outcome, Script
from ml_trainer_env.baselines.play import RUN, SUBMIT
from ml_trainer_env.baselines.recipes import Recipe, counts_the_gap, grades_what_is_submitted, recipe_for
from ml_trainer_env.baselines.session import Brief, Reply, ToolSpec

__all__ = ["HeuristicAgent"]

CONFIGURE = "configure_training"

FIRST_LOOK_EPOCHS = 5
"""Enough to see a divergence before much is spent."""

STRIDE_EPOCHS = 10
"""Between two looks while the rate is high."""

TAIL_SHARE = 0.8
"""From here on the cosine holds the rate below a tenth of its peak: gains are small."""

TAIL_PATIENCE = 8
"""Epochs without a new best after which the tail is not expected to bring one."""

MAX_RESTARTS = 3
"""After so many divergences a rate 27 times lower has failed too."""

GRADED_GAP = 0.05
"""Train minus validation accuracy that is tolerated where it is graded."""

OTHER_GAP = 0.15
"""The same where only its effect on validation counts."""


class HeuristicAgent:
    """Configures once, looks every ten epochs, and corrects.

    It begins again at a third of the rate after a divergence, regularises more when the gap
    opens, less when the network cannot learn its own training images, and in the last fifth
    of the schedule stops at the first new best, or when there has been none for a while: there
    an epoch gains little, and epochs run after the best one are a waste. Where the model is graded
    as it stands when it is submitted, it goes to the end of the schedule. Where seconds count and
    will not last for the epochs left, it takes the largest batches.
    """

    name = "heuristic"

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        """Play by the rules; a refusal that they do not foresee ends the script."""
        recipe, restarts, why = recipe_for(brief), 0, "the budget is spent"
        outcome = yield Call(CONFIGURE, recipe.arguments(), _why(brief))
        spent = 0
        while outcome.reply is not None and spent < brief.budget_epochs:
            epochs = _stride(spent, brief.budget_epochs)
            outcome = yield Call(RUN, {"num_epochs": epochs}, _purpose(spent, brief.budget_epochs))
            if outcome.reply is None:
                return
            look = _Look.at(outcome.reply)
            spent = brief.budget_epochs if look.is_out_of_budget else look.epoch
            if look.diverged:
                if restarts == MAX_RESTARTS or spent >= brief.budget_epochs:
                    why = "it diverged again: what there is counts"
                    break
                recipe, restarts = recipe.calmer(), restarts + 1
                again = {**recipe.arguments(), "reinitialize": True}
                outcome = yield Call(CONFIGURE, again, "it diverged: fresh weights, a third of the rate")
            elif _in_tail(spent, brief.budget_epochs):
                if not grades_what_is_submitted(brief) and (look.since_best == 0 or look.since_best >= TAIL_PATIENCE):
                    why = _reason_to_stop(look.since_best)
                    break
            else:
                recipe, outcome = yield from _correct(recipe, look, brief, outcome)
        yield Call(SUBMIT, {}, why)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a reply says, as far as the rules ask."""

    epoch: int
    diverged: bool
    overfitting: bool
    since_best: int
    train_accuracy: float
    gap: float
    is_out_of_budget: bool
    is_late: bool

    @classmethod
    def at(cls, reply: Reply) -> "_Look":
        train, val = _figure(reply, "train_accuracy"), _figure(reply, "val_accuracy")
        signal = reply.get("convergence_signal")
        needed_s = _figure(reply, "remaining_budget") * _figure(reply, "epoch_time_s")
        return cls(
            epoch=int(reply.get("current_epoch") or 0),
            diverged=bool(reply.get("is_diverged")) or signal == "diverged",
            overfitting=signal == "overfitting",
            since_best=int(reply.get("current_epoch") or 0) - int(reply.get("best_val_epoch") or 0),
            train_accuracy=train,
            gap=train - val,
            is_out_of_budget=reply.get("remaining_budget") == 0,
            is_late=needed_s > _figure(reply, "remaining_seconds"),
        )


def _figure(reply: Reply, name: str) -> float:
    """A figure, NaN where there is none: no rule that compares it then applies."""
    value = reply.get(name)
    return float(value) if isinstance(value, int | float) else math.nan


def _correct(
    recipe: Recipe, look: _Look, brief: Brief, outcome: Outcome
) -> Generator[Decision, Outcome, tuple[Recipe, Outcome]]:
    """Change dropout, augmentation or batch size, which leave weights, momentum and schedule alone."""
    if look.is_late and not recipe.is_fastest:
        changed = recipe.faster()
        why = "at this pace the seconds end before the epochs: larger batches"
        return changed, (yield Call(CONFIGURE, {"batch_size": changed.batch_size}, why))
    tolerated = GRADED_GAP if counts_the_gap(brief) else OTHER_GAP
    if (look.gap > tolerated or (look.overfitting and look.gap > tolerated / 2)) and not recipe.is_strongest:
        changed, why = recipe.stronger(), f"the gap of {100 * look.gap:.1f} points asks for more regularisation"
    elif look.epoch >= 2 * STRIDE_EPOCHS and look.gap < 0.0 and look.train_accuracy < brief.target_value - 0.1:
        changed, why = recipe.gentler(), "it cannot learn its own training images: less regularisation"
    else:
        return recipe, outcome
    arguments: dict[str, object] = {
        "dropout": changed.dropout,
        "augmentation": True,
        "augmentation_strength": changed.augmentation_strength,
    }
    return changed, (yield Call(CONFIGURE, arguments, why))


def _in_tail(spent: int, budget: int) -> bool:
    return spent >= math.ceil(TAIL_SHARE * budget)


def _stride(spent: int, budget: int) -> int:
    """Epochs of the next call: one at a time in the tail, and never across its beginning."""
    if _in_tail(spent, budget):
        return 1
    wanted = FIRST_LOOK_EPOCHS if spent < FIRST_LOOK_EPOCHS else STRIDE_EPOCHS
    return min(wanted, math.ceil(TAIL_SHARE * budget) - spent)


def _why(brief: Brief) -> str:
    few = f"{brief.dataset.train_size:,} images for {brief.parameter_count:,} parameters"
    graded = ", and the gap is graded" if counts_the_gap(brief) else ""
    return f"{few}{graded}: augment and regularise, and anneal the rate over the budget"


def _reason_to_stop(since_best: int) -> str:
    if since_best == 0:
        return "a new best, with the rate almost at zero: little more can come"
    return f"no new best for {since_best} epochs, and the rate is almost at zero"


def _purpose(spent: int, budget: int) -> str:
    if spent < FIRST_LOOK_EPOCHS:
        return "a first look"
    return "the tail: stop at the next best" if _in_tail(spent, budget) else "on with the schedule"
