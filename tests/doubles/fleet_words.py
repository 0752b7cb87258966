"""The words of a scenario, and a search for them."""

import json
import re

from ml_trainer_env.server.fleet.draw import draw_setup
from ml_trainer_env.server.fleet.incidents import Incident
from ml_trainer_env.server.fleet.tasks import task_at
from ml_trainer_env.server.fleet.tools import TOOLS
from ml_trainer_env.server.trainer.fleet import faults
from ml_trainer_env.server.trainer.fleet.faults import Fault, FaultKind

__all__ = ["WORDS", "drawn", "leaks"]

KINDS = {*(kind.value for kind in FaultKind), *(incident.value for incident in Incident)}
NAMES = {
    name
    for fault in vars(faults).values()
    if isinstance(fault, type) and issubclass(fault, Fault)
    for name in [fault.__name__, *getattr(fault, "__dataclass_fields__", ())]
}
COMMON = {
    "begins",
    "node",
    "rank",
    "shard",
    "shards",
    "size",
    "count",
    "text",
    "first",
    "length",
    "position",
    "weight",
    "kind",
}
"""Parameters' names that are words of their own, in replies of every episode."""
CHECKPOINTS = {"learning_rate", "checkpoint_every"}
"""Settings."""
WORDS = (KINDS | NAMES) - COMMON - CHECKPOINTS

STATIC = json.dumps([task_at("train", 0).description, *((tool.description, tool.input_schema) for tool in TOOLS)])
"""What is told of drawn tasks and of the tools. It is the same in every episode."""


def leaks(heard: str) -> set[str]:
    return {word for word in WORDS if _has(heard, word) and not _has(STATIC, word)}


def _has(heard: str, word: str) -> bool:
    return re.search(rf"(?<![a-z_]){re.escape(word)}(?![a-z_])", heard) is not None


def drawn(incident: Incident) -> str:
    """A drawn task in which this goes wrong, alone, at the seed of these tests."""
    return next(
        f"fleet/train/{index}" for index in range(512) if draw_setup("train", index, 3).incidents == (incident,)
    )
