"""The references of rubric v3 for the named tasks. They hold for the very images that they were measured on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from pydantic import TypeAdapter

from ml_trainer_env.server.tuning.named_tasks import NAMED
from ml_trainer_env.server.tuning.reference import Reference
from ml_trainer_env.server.tuning.tasks import Task

__all__ = ["NamedReference", "named_reference_to_json", "with_named_reference"]

_FILE = files("ml_trainer_env.server.tuning.families") / "tables" / "named.jsonl"


@dataclass(frozen=True, slots=True)
class NamedReference:
    """The references of a named task.

    Attributes:
        task: Id of the task.
        checksum: Checksum of the examples.
        reference: The references.
        identity: Key of the identity of the executor that measured them.
    """

    task: str
    checksum: str
    reference: Reference
    identity: str


_ADAPTER = TypeAdapter(NamedReference)


def named_reference_to_json(found: NamedReference) -> str:
    """Return the references as JSON on one line."""
    return _ADAPTER.dump_json(found).decode()


def with_named_reference(task: Task, checksum: str) -> Task:
    """Return a named task with the reference for its examples. Other tasks are returned unchanged.

    Args:
        task: The task.
        checksum: Checksum of the examples.
    """
    return replace(task, reference=_references().get((task.id, checksum))) if task.split == NAMED else task


@cache
def _references() -> Mapping[tuple[str, str], Reference]:
    lines = _FILE.read_text().splitlines() if _FILE.is_file() else ()
    found = map(_ADAPTER.validate_json, lines)
    return {(one.task, one.checksum): one.reference for one in found}
