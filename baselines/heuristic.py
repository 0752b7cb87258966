"""A rule-based agent: starts with a recipe for the task and adapts it to the metrics.

It contains no results of earlier runs. Its decisions depend only on the brief and on the replies.
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
"""Epochs of the first call. Enough to detect divergence early."""

STRIDE_EPOCHS = 10
"""Epochs of a call while the learning rate is high."""

TAIL_SHARE = 0.8
"""The tail begins at this share of the budget. The cosine schedule then keeps the rate below a tenth of its peak."""

TAIL_PATIENCE = 8
"""The agent stops in the tail after this many epochs without a new best."""

MAX_RESTARTS = 3
"""Restarts after divergence. The last one has a 27 times lower learning rate."""

GRADED_GAP = 0.05
"""Tolerated gap between training and validation accuracy if the gap is graded."""

OTHER_GAP = 0.15
"""Tolerated gap if the gap is not graded."""


class HeuristicAgent:
    """Configures training once, then checks the metrics every ten epochs and corrects settings.

    - After divergence it restarts with a third of the learning rate.
    - It increases regularisation if the gap is large, and reduces it if the network underfits its training images.
    - In the last fifth of the schedule it stops at the first new best, or after several epochs without one. If the
      submitted model itself is graded, it runs the whole schedule.
    - If the remaining seconds do not suffice for the remaining epochs, it uses the largest batch size.
    """

    name = "heuristic"

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode. An unexpected refusal ends the script."""
        recipe, restarts, why = recipe_for(brief), 0, "the budget is spent"
        outcome = yield Call(CONFIGURE, recipe.arguments(), _explain_recipe(brief))
        spent = 0
        while outcome.reply is not None and spent < brief.budget_epochs:
            epochs = _stride(spent, brief.budget_epochs)
            outcome = yield Call(RUN, {"num_epochs": epochs}, _explain_run(spent, brief.budget_epochs))
            if outcome.reply is None:
                return
            metrics = _Metrics.at(outcome.reply)
            spent = brief.budget_epochs if metrics.is_out_of_budget else metrics.epoch
            if metrics.diverged:
                if restarts == MAX_RESTARTS or spent >= brief.budget_epochs:
                    why = "it diverged again: submit the best epoch so far"
                    break
                recipe, restarts = recipe.calmer(), restarts + 1
                again = {**recipe.arguments(), "reinitialize": True}
                outcome = yield Call(CONFIGURE, again, "it diverged: fresh weights, a third of the rate")
            elif _in_tail(spent, brief.budget_epochs):
                if not grades_what_is_submitted(brief) and (
                    metrics.since_best == 0 or metrics.since_best >= TAIL_PATIENCE
                ):
                    why = _explain_stop(metrics.since_best)
                    break
            else:
                recipe, outcome = yield from _correct(recipe, metrics, brief, outcome)
        yield Call(SUBMIT, {}, why)


@dataclass(frozen=True, slots=True)
class _Metrics:
    """The values of a reply that the rules use."""

    epoch: int
    diverged: bool
    overfitting: bool
    since_best: int
    train_accuracy: float
    gap: float
    is_out_of_budget: bool
    is_late: bool

    @classmethod
    def at(cls, reply: Reply) -> "_Metrics":
        train, val = _get_number(reply, "train_accuracy"), _get_number(reply, "val_accuracy")
        signal = reply.get("convergence_signal")
        needed_s = _get_number(reply, "remaining_budget") * _get_number(reply, "epoch_time_s")
        return cls(
            epoch=int(reply.get("current_epoch") or 0),
            diverged=bool(reply.get("is_diverged")) or signal == "diverged",
            overfitting=signal == "overfitting",
            since_best=int(reply.get("current_epoch") or 0) - int(reply.get("best_val_epoch") or 0),
            train_accuracy=train,
            gap=train - val,
            is_out_of_budget=reply.get("remaining_budget") == 0,
            is_late=needed_s > _get_number(reply, "remaining_seconds"),
        )


def _get_number(reply: Reply, name: str) -> float:
    """Get a number from a reply, NaN if it is missing. Comparisons with NaN are false, so no rule applies."""
    value = reply.get(name)
    return float(value) if isinstance(value, int | float) else math.nan


def _correct(
    recipe: Recipe, metrics: _Metrics, brief: Brief, outcome: Outcome
) -> Generator[Decision, Outcome, tuple[Recipe, Outcome]]:
    """Change dropout, augmentation or batch size. These changes keep weights, momentum and schedule."""
    if metrics.is_late and not recipe.is_fastest:
        changed = recipe.faster()
        why = "the seconds will end before the epochs: larger batches"
        return changed, (yield Call(CONFIGURE, {"batch_size": changed.batch_size}, why))
    tolerated = GRADED_GAP if counts_the_gap(brief) else OTHER_GAP
    if (metrics.gap > tolerated or (metrics.overfitting and metrics.gap > tolerated / 2)) and not recipe.is_strongest:
        changed, why = recipe.stronger(), f"the gap is {100 * metrics.gap:.1f} points: more regularisation"
    elif metrics.epoch >= 2 * STRIDE_EPOCHS and metrics.gap < 0.0 and metrics.train_accuracy < brief.target_value - 0.1:
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
    """Get the number of epochs of the next call. In the tail it is 1. No call crosses the beginning of the tail."""
    if _in_tail(spent, budget):
        return 1
    wanted = FIRST_LOOK_EPOCHS if spent < FIRST_LOOK_EPOCHS else STRIDE_EPOCHS
    return min(wanted, math.ceil(TAIL_SHARE * budget) - spent)


def _explain_recipe(brief: Brief) -> str:
    few = f"{brief.dataset.train_size:,} images for {brief.parameter_count:,} parameters"
    graded = ", and the gap is graded" if counts_the_gap(brief) else ""
    return f"{few}{graded}: augment and regularise, and anneal the rate over the budget"


def _explain_stop(since_best: int) -> str:
    if since_best == 0:
        return "a new best, and the rate is almost zero: little improvement is left"
    return f"no new best for {since_best} epochs, and the rate is almost zero"


def _explain_run(spent: int, budget: int) -> str:
    if spent < FIRST_LOOK_EPOCHS:
        return "a first look"
    return "the tail: stop at the next best" if _in_tail(spent, budget) else "continue the schedule"
