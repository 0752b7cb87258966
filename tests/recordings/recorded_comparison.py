"""Compares what was recorded with what happens now: bit for bit, or closely on a machine that rounds differently."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["differences", "rounds_alike"]

CLOCK_FIELDS = frozenset({"epoch_time_s", "remaining_seconds"})
"""Fields that depend on how long training takes. Only whether they are null is compared. They are the only fields that
no two runs have in common."""

ROUNDING_FIELDS = frozenset(
    {
        *("weights_hash", "best_val_epoch", "graded_epoch", "convergence_signal", "wasted_epochs", "loss_variance"),
        *("score", "accuracy_score", "generalization_score", "efficiency_score", "stability_score"),
        *("reward", "submission"),
    }
)
"""Fields that another rounding may change altogether. On another kind of machine only whether they are null is
compared. The formulas behind them are compared on every machine when the recorded episodes are resumed."""

_SHARE_TOLERANCE = 0.25
"""On another kind of machine figures may differ by this share of themselves, and by `_LEAST_TOLERANCE` at least."""

_LEAST_TOLERANCE = 0.08

_EXACT_NUMBERS = frozenset(
    {
        *("learning_rate", "batch_size", "weight_decay", "dropout", "warmup_epochs", "augmentation_strength"),
        *("current_epoch", "max_epochs", "remaining_budget", "epoch", "seed", "rules", "step_count", "parameter_count"),
        *("train_size", "validation_size", "test_size", "budget_epochs", "budget_seconds", "target_value"),
    }
)
"""Numbers that follow from the calls alone, whatever the machine."""

_ROUNDED_WORDS = re.compile(r"\d+\.\d+|(?<=The run is )[a-z ]+")
"""The parts of a message that another rounding may change: figures and the convergence signal."""


def rounds_alike(recorded: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether two machines must come to the same bits, by the facts that the journal keeps.

    The facts `engine` and `ml_trainer_env` name the source code, and are what is under test. Equal processors round
    alike, also where the source takes another probe of them.
    """
    same = {name for name in recorded if recorded[name] == now.get(name)}
    return {"torch", "numpy", "system", "torch_threads"} <= same and bool({"probe", "processor"} & same)


def differences(recorded: Any, now: Any, exact: bool, path: str = "", name: str = "") -> Iterator[str]:
    """In which fields two JSON values differ, in words.

    Args:
        recorded: What was recorded.
        now: What came now.
        exact: Whether the machine rounds as the one that recorded did.
        path: Where the values are, for the words.
        name: The field that holds the values.
    """
    if name in CLOCK_FIELDS or (not exact and name in ROUNDING_FIELDS):
        if (recorded is None) != (now is None):
            yield f"{path} was {recorded!r}, is {now!r}"
    elif isinstance(recorded, dict) and isinstance(now, dict):
        for key in {**recorded, **now}:
            if key in recorded and key in now:
                yield from differences(recorded[key], now[key], exact, f"{path}.{key}", key)
            else:
                yield f"{path}.{key} is {'missing' if key in recorded else 'new'}"
    elif isinstance(recorded, list) and isinstance(now, list) and len(recorded) == len(now):
        for index, (one, other) in enumerate(zip(recorded, now, strict=True)):
            yield from differences(one, other, exact, f"{path}[{index}]", name)
    elif not (_is_same(recorded, now) if exact or name in _EXACT_NUMBERS else _is_close(recorded, now)):
        yield f"{path} was {recorded!r}, is {now!r}"


def _is_same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON; a NaN is the same as a NaN."""
    return json.dumps(one) == json.dumps(other)


def _is_close(one: Any, other: Any) -> bool:
    """Whether two values are the same but for another rounding."""
    if isinstance(one, str) and isinstance(other, str):
        return _ROUNDED_WORDS.sub("#", one) == _ROUNDED_WORDS.sub("#", other)
    if isinstance(one, float | int) and isinstance(other, float | int) and type(one) is not bool is not type(other):
        return _is_same(one, other) or math.isclose(one, other, rel_tol=_SHARE_TOLERANCE, abs_tol=_LEAST_TOLERANCE)
    return _is_same(one, other)
