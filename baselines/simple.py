"""Agents of the tuning game that decide at most once: nothing, or one fixed recipe."""

from collections.abc import Generator, Sequence
from types import MappingProxyType

from ml_trainer_env.baselines.agent import Call, Decision, Outcome, Script
from ml_trainer_env.baselines.play import RUN, SUBMIT
from ml_trainer_env.baselines.session import Brief, ToolSpec

__all__ = ["BEST_RECIPE", "NothingAgent", "RecipeAgent"]

_EPOCHS = 20

BEST_RECIPE = MappingProxyType(
    {
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "batch_size": 32,
        "weight_decay": 0.05,
        "dropout": 0.1,
        "lr_schedule": "cosine",
        "warmup_epochs": 0,
        "augmentation": True,
        "augmentation_strength": 0.3,
        "reinitialize": True,
    }
)
"""The best of the fixed recipes of calibration on the split `validation`; docs/tasks.md has their scores."""


class NothingAgent:
    """Trains with the settings that the episode begins with, and submits. It spends the whole budget on one run."""

    name = "nothing"

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode."""
        yield from _run_and_submit(brief.budget_epochs)


class RecipeAgent:
    """Sets the best fixed recipe, trains and submits. It spends the whole budget on one run, with fresh weights."""

    name = "recipe"

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode."""
        yield Call("configure_training", dict(BEST_RECIPE), "the best fixed recipe")
        yield from _run_and_submit(brief.budget_epochs)


def _run_and_submit(left: int) -> Generator[Decision, Outcome, None]:
    while left > 0:
        outcome = yield Call(RUN, {"num_epochs": min(_EPOCHS, left)})
        if outcome.reply is None or outcome.reply.get("is_diverged"):
            break
        left = int(outcome.reply["remaining_budget"])
    yield Call(SUBMIT)
