"""An agent that makes seeded random calls. The calls are valid by the schemas of the tools."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from ml_trainer_env.baselines.agent import Call, Script
from ml_trainer_env.baselines.play import RUN, SUBMIT
from ml_trainer_env.baselines.schema_sampling import sample
from ml_trainer_env.baselines.session import Brief, ToolSpec

__all__ = ["RandomAgent"]

EPOCHS_TO_SUBMIT = 20
"""Epochs that are run before the submission if none has run. This is the maximum of one call."""


class RandomAgent:
    """Calls random tools, then submits the model. Trains first if no epoch has run.

    Args:
        seed: Determines the calls, together with the episode's seed.
        calls: Number of random calls.
    """

    name = "random"

    def __init__(self, seed: int = 0, calls: int = 12) -> None:
        self._seed = seed
        self._calls = calls

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode with random calls."""
        source = Random(f"{self._seed}/{brief.task_id}/{brief.seed}")
        choices = [tool for tool in tools if tool.name != SUBMIT]
        for _ in range(self._calls if choices else 0):
            tool = source.choice(choices)
            yield Call(tool.name, random_arguments(tool.input_schema, source))
        outcome = yield Call(SUBMIT)
        if outcome.reply is None:
            yield Call(RUN, {"num_epochs": min(EPOCHS_TO_SUBMIT, brief.budget_epochs)})
            yield Call(SUBMIT)


def random_arguments(schema: Mapping[str, Any], source: Random) -> dict[str, object]:
    """Draw all required arguments, and each optional one with probability 0.5."""
    required = set(schema.get("required") or ())
    return {
        name: sample(parameter, source, schema.get("$defs") or {})
        for name, parameter in (schema.get("properties") or {}).items()
        if name in required or source.random() < 0.5
    }
