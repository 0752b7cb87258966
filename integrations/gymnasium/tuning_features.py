"""Observations of `MLTrainer-v0`: figures of the replies as numbers near 1. Pure, from what any agent is told."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_trainer_env.baselines.session import Brief, Reply
from ml_trainer_env.integrations.gymnasium.tuning_actions import REGULARISATION, nearest_level

__all__ = ["BOUND", "FEATURES", "Seen", "features"]

BOUND = 5.0
"""Features are clipped to this magnitude."""

FEATURES = (
    "log2 of the budget",
    "log10 of the training examples",
    "log10 of the validation examples",
    "chance accuracy",
    "log10 of the parameters",
    "log2 of the largest batch",
    "network: perceptron",
    "network: 1-D convolutional",
    "network: convolutional",
    "network: transformer",
    "network: with norm",
    "network: relu",
    "network: depth",
    "share of the budget spent",
    "before the first epoch",
    "budget is spent",
    "weights are fresh",
    "share of the budget since the weights were drawn or taken back",
    "share of the budget since the best",
    "log10 of the rate",
    "log10 of the peak rate",
    "optimizer: sgd",
    "optimizer: adam",
    "optimizer: adamw",
    "schedule anneals",
    "level of regularisation",
    "dropout",
    "augmentation",
    "log10 of the weight decay",
    "log2 of the batch",
    "diverged",
    "training loss",
    "validation loss",
    "initial loss",
    "training accuracy",
    "validation accuracy",
    "best validation accuracy",
    "below the best",
    "gap of the accuracies",
    "change of the training loss",
    "change of the validation loss",
    "change of the validation accuracy",
    "trend of the validation loss",
    "log10 of the gradient norm",
    "log10 of the update ratio",
    "dead units",
)
"""The names of the features, in their order."""

_DEPTH = re.compile(r"of (\d+) (?:block|layer)")
_KINDS = ("perceptron", "1-D convolutional", "convolutional", "transformer")
"""Words for kinds of networks. The first that a description has is its kind."""
_OPTIMIZERS = ("sgd", "adam", "adamw")

Observation = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Seen:
    """What an agent has been told by now.

    Attributes:
        brief: The description of the task.
        reply: The last reply that trained, or the first observation with its configuration.
        before: The one before it. None if there is none.
        is_fresh: Whether the present weights were drawn in this episode.
        kept_for: Number of epochs since the weights were drawn or taken back.
    """

    brief: Brief
    reply: Reply
    before: Reply | None = None
    is_fresh: bool = False
    kept_for: int = 0


def features(seen: Seen) -> Observation:
    """Return the features, float32 (len(FEATURES),), each between -5 and 5."""
    values = {**_task(seen.brief), **_progress(seen), **_settings(seen.reply), **_figures(seen)}
    return np.clip(np.array([values[name] for name in FEATURES], np.float32), -BOUND, BOUND)


def _task(brief: Brief) -> dict[str, float]:
    chance, network = _chance_accuracy(brief), brief.network
    kind = next((name for name in _KINDS if name in network), "")
    depth = _DEPTH.search(network)
    return {
        "log2 of the budget": math.log2(brief.budget_epochs) / 4,
        "log10 of the training examples": math.log10(brief.dataset.train_size) - 3,
        "log10 of the validation examples": math.log10(brief.dataset.validation_size) - 2.5,
        "chance accuracy": chance,
        "log10 of the parameters": math.log10(brief.parameter_count) - 4,
        "log2 of the largest batch": math.log2(brief.largest_batch) / 4 - 1.5,
        **{f"network: {name}": float(name == kind) for name in _KINDS},
        "network: with norm": float("with norm" in network),
        "network: relu": float("relu" in network),
        "network: depth": (int(depth[1]) if depth else 3) / 3,
    }


def _progress(seen: Seen) -> dict[str, float]:
    status, budget = seen.reply, seen.brief.budget_epochs
    return {
        "share of the budget spent": status["current_epoch"] / budget,
        "before the first epoch": float(status["current_epoch"] == 0),
        "budget is spent": float(status["remaining_budget"] == 0),
        "weights are fresh": float(seen.is_fresh),
        "share of the budget since the weights were drawn or taken back": seen.kept_for / budget,
        "share of the budget since the best": (status["current_epoch"] - status["best_val_epoch"]) / budget,
    }


def _settings(reply: Reply) -> dict[str, float]:
    settings: Mapping[str, Any] = reply["configuration"]
    return {
        "log10 of the rate": _log10(reply["learning_rate"], -7) / 2 + 1.25,
        "log10 of the peak rate": _log10(settings["learning_rate"], -7) / 2 + 1.25,
        **{f"optimizer: {name}": float(settings["optimizer"] == name) for name in _OPTIMIZERS},
        "schedule anneals": float(settings["lr_schedule"] != "constant"),
        "level of regularisation": nearest_level(settings) / (len(REGULARISATION) - 1),
        "dropout": 2 * settings["dropout"],
        "augmentation": settings["augmentation_strength"] if settings["augmentation"] else 0.0,
        "log10 of the weight decay": _log10(settings["weight_decay"], -5) / 2 + 1.5,
        "log2 of the batch": math.log2(settings["batch_size"]) / 2 - 3,
    }


def _figures(seen: Seen) -> dict[str, float]:
    reply, before, chance = seen.reply, seen.before, _chance_accuracy(seen.brief)

    def loss(of: Reply | None, name: str) -> float:
        """A loss as a multiple of the loss of a guess, compressed above it. 1 if it is missing."""
        value = None if of is None else of.get(name)
        share = 1.0 if value is None else value / -math.log(chance)
        return float(share) if share <= 1 else 1 + math.log(share)

    def skill(of: Reply | None, name: str) -> float:
        """An accuracy between that of a guess (0) and 1. 0 if it is missing."""
        value = None if of is None else of.get(name)
        return 0.0 if value is None else (float(value) - chance) / (1 - chance)

    best = skill(reply, "best_val_accuracy") if reply["best_val_epoch"] else 0.0
    losses = [value for value in reply["val_loss_history_last_10"][-5:] if value is not None]
    return {
        "diverged": float(reply["is_diverged"]),
        "training loss": loss(reply, "train_loss"),
        "validation loss": loss(reply, "val_loss"),
        "initial loss": loss(reply, "initial_loss"),
        "training accuracy": skill(reply, "train_accuracy"),
        "validation accuracy": skill(reply, "val_accuracy"),
        "best validation accuracy": best,
        "below the best": 3 * (best - skill(reply, "val_accuracy")),
        "gap of the accuracies": 2 * (skill(reply, "train_accuracy") - skill(reply, "val_accuracy")),
        "change of the training loss": 3 * (loss(reply, "train_loss") - loss(before, "train_loss")),
        "change of the validation loss": 3 * (loss(reply, "val_loss") - loss(before, "val_loss")),
        "change of the validation accuracy": 3 * (skill(reply, "val_accuracy") - skill(before, "val_accuracy")),
        "trend of the validation loss": 3 * _trend(losses) / -math.log(chance),
        "log10 of the gradient norm": _log10(reply.get("gradient_norm"), -4, missing=0.0) / 2,
        "log10 of the update ratio": _log10(reply.get("update_ratio"), -8, missing=-3.0) / 2 + 1.5,
        "dead units": reply.get("dead_units") or 0.0,
    }


def _chance_accuracy(brief: Brief) -> float:
    """Return the accuracy of a guess. 0.1 if the description does not say how many classes there are."""
    return 1 / (brief.class_count or 10)


def _log10(value: float | None, least: float, missing: float | None = None) -> float:
    """Return the logarithm, at least `least`. A value that is missing gives `missing`, or else `least`."""
    if value is None:
        return least if missing is None else missing
    return max(least, math.log10(value)) if value > 0 else least


def _trend(values: Sequence[float]) -> float:
    """Return the slope of a line through values one apart. 0 for fewer than two."""
    if len(values) < 2:
        return 0.0
    middle = (len(values) - 1) / 2
    spread = sum((place - middle) ** 2 for place in range(len(values)))
    return sum((place - middle) * value for place, value in enumerate(values)) / spread
