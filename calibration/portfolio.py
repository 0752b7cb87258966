"""The players of calibration: one that changes nothing, expert recipes, random settings, and agents that adapt."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random

from ml_trainer_env.baselines.agent import Agent, Call, Script
from ml_trainer_env.baselines.heuristic import HeuristicAgent
from ml_trainer_env.baselines.one_epoch_probes import OneEpochProbes
from ml_trainer_env.baselines.play import RUN, SUBMIT
from ml_trainer_env.baselines.prober import ProbingAgent
from ml_trainer_env.baselines.session import Brief, ToolSpec
from ml_trainer_env.server.trainer.config import TrainingConfig

__all__ = [
    "DEFAULT",
    "EXPERTS",
    "NEIGHBOURS",
    "RANDOM_RUNS",
    "RECIPES",
    "UNTOUCHED",
    "FixedRecipe",
    "Untouched",
    "neighbour",
    "random_recipe",
]

RANDOM_RUNS = 6
"""Runs of random settings for each task."""

NEIGHBOURS = 6
"""Runs of settings near the best ones so far, after the random ones. Each is near the best of all before it."""

_EPOCHS = 20
_NO_RATE = 1e-9

_DEFAULTS = asdict(TrainingConfig())


@dataclass(frozen=True, slots=True)
class FixedRecipe:
    """Sets the settings once, trains for the whole budget and submits.

    Attributes:
        name: Its name.
        settings: Arguments of `configure_training`. Empty to leave all as it is. Settings that are not named are the
            default ones, and the batch size is limited to the largest one that the task allows.
    """

    name: str
    settings: Mapping[str, object]

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode."""
        if self.settings:
            batch = self.settings.get("batch_size", 64)
            assert isinstance(batch, int)
            whole = {**_DEFAULTS, **self.settings, "batch_size": min(batch, brief.largest_batch)}
            yield Call("configure_training", whole)
        left = brief.budget_epochs
        while left > 0:
            outcome = yield Call(RUN, {"num_epochs": min(_EPOCHS, left)})
            if outcome.reply is None or outcome.reply.get("is_diverged"):
                break
            left = int(outcome.reply["remaining_budget"])
        yield Call(SUBMIT)


DEFAULT = FixedRecipe("default", {})
"""Leaves the settings alone that the task begins with."""


@dataclass(frozen=True, slots=True)
class Untouched:
    """Hands in the weights that the task begins with. Its only epoch has steps of nothing.

    Attributes:
        name: Its name.
    """

    name: str = "untouched"

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode."""
        yield Call("adjust_learning_rate", {"new_lr": _NO_RATE})
        yield Call(RUN, {"num_epochs": 1})
        yield Call(SUBMIT)


UNTOUCHED = Untouched()
"""The other player that needs no decision."""

_ADAMW = {"optimizer": "adamw", "lr_schedule": "cosine", "weight_decay": 0.05}
_SGD = {"optimizer": "sgd", "lr_schedule": "cosine", "weight_decay": 0.0005}
_MILD = {"augmentation": True, "augmentation_strength": 0.3, "dropout": 0.1, "batch_size": 32}
_STRONG = {
    "augmentation": True,
    "augmentation_strength": 1.0,
    "dropout": 0.4,
    "weight_decay": 0.2,
    "batch_size": 32,
    "reinitialize": True,
}
_AUGMENTED = {"augmentation": True, "augmentation_strength": 0.7}

RECIPES: Sequence[FixedRecipe] = (
    DEFAULT,
    FixedRecipe("adamw fresh, regularised", {**_ADAMW, **_MILD, "learning_rate": 0.01, "reinitialize": True}),
    FixedRecipe("adamw fresh, fast", {**_ADAMW, "learning_rate": 0.01, "batch_size": 32, "reinitialize": True}),
    FixedRecipe("one line", {**_ADAMW, **_AUGMENTED, "learning_rate": 0.002, "dropout": 0.2}),
    FixedRecipe("adamw fresh", {**_ADAMW, "learning_rate": 0.003, "batch_size": 32, "reinitialize": True}),
    FixedRecipe("sgd fresh", {**_SGD, "learning_rate": 0.05, "reinitialize": True}),
)
"""The fixed recipes, most telling first. "one line" is the one that reached the cap of every named task."""

EXPERTS: Sequence[Agent] = (
    HeuristicAgent(),
    OneEpochProbes(),
    ProbingAgent(),
    FixedRecipe("adamw kept", {**_ADAMW, "learning_rate": 0.003, "batch_size": 32}),
    FixedRecipe("adamw kept, slow", {**_ADAMW, **_MILD, "learning_rate": 0.0005}),
    FixedRecipe("adamw fresh, strongly regularised", {**_ADAMW, **_STRONG, "learning_rate": 0.005}),
)
"""More players that look for the oracle of a task."""


def random_recipe(seed: str) -> FixedRecipe:
    """Draw settings from wide ranges.

    Args:
        seed: Fixes the draw.
    """
    source = Random(seed)
    optimizer = source.choice(("adamw", "adamw", "sgd"))
    low, high = (-2.7, -0.3) if optimizer == "sgd" else (-3.7, -1.5)
    augmentation = source.choice((0.0, 0.3, 0.7, 1.0))
    settings: dict[str, object] = {
        "optimizer": optimizer,
        "learning_rate": float(f"{10 ** source.uniform(low, high):.3g}"),
        "batch_size": source.choice((32, 32, 64, 128)),
        "weight_decay": float(f"{10 ** source.uniform(-4, -0.5):.3g}"),
        "dropout": source.choice((0.0, 0.0, 0.2, 0.4)),
        "lr_schedule": source.choice(("cosine", "cosine", "constant")),
        "augmentation": augmentation > 0,
        "augmentation_strength": augmentation,
        "reinitialize": source.random() < 0.6,
    }
    return FixedRecipe(f"random {seed}", settings)


def neighbour(recipe: FixedRecipe, seed: str) -> FixedRecipe:
    """Draw settings near those of a recipe.

    Args:
        recipe: The recipe.
        seed: Fixes the draw.
    """
    source, known = Random(seed), dict(recipe.settings)

    def number(name: str, default: float) -> float:
        value = known.get(name, default)
        assert isinstance(value, int | float)
        return float(value)

    strength = number("augmentation_strength", 0.0) if known.get("augmentation") else 0.0
    strength = round(min(1.0, max(0.0, strength + source.uniform(-0.3, 0.3))), 2)
    known |= {
        "learning_rate": float(f"{min(1.0, number('learning_rate', 0.001) * 10 ** source.gauss(0.0, 0.25)):.3g}"),
        "weight_decay": float(f"{min(0.9, number('weight_decay', 0.01) * 10 ** source.gauss(0.0, 0.4)):.3g}"),
        "dropout": round(min(0.5, max(0.0, number("dropout", 0.0) + source.uniform(-0.15, 0.15))), 2),
        "augmentation": strength > 0,
        "augmentation_strength": strength,
        "lr_schedule": "cosine",
    }
    return FixedRecipe(f"near {seed}", known)
