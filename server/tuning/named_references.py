"""The references of rubric v3 for the named tasks. They hold for the very images that they were measured on."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ml_trainer_env.server.tuning.named_tasks import NAMED
from ml_trainer_env.server.tuning.reference import Reference
from ml_trainer_env.server.tuning.tasks import Task

__all__ = ["with_named_reference"]

_REFERENCES: Mapping[tuple[str, str], Reference] = MappingProxyType({})
"""References by task id and checksum of the examples. `ml-trainer-calibrate --named` measures them."""


def with_named_reference(task: Task, checksum: str) -> Task:
    """Return a named task with the reference for its examples. Other tasks are returned unchanged.

    Args:
        task: The task.
        checksum: Checksum of the examples.
    """
    return replace(task, reference=_REFERENCES.get((task.id, checksum))) if task.split == NAMED else task
