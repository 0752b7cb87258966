"""All tasks of the tuning game: the named tasks and the families, by id and by split and index."""

from ml_trainer_env.server.tuning.named_tasks import NAMED, TASKS
from ml_trainer_env.server.tuning.tasks import Task, UnknownTaskError

__all__ = ["SPLITS", "count_tasks", "find_task", "task_at"]

SPLITS = (NAMED,)
"""The splits. The first is the default."""

_NAMED_TASKS = tuple(TASKS.values())


def count_tasks(split: str) -> int:
    """Return the number of tasks of a split. 0 for an unknown split."""
    return len(_NAMED_TASKS) if split == NAMED else 0


def task_at(split: str, index: int) -> Task:
    """Return the task of a split and an index.

    Raises:
        IndexError: The split has no task with this index.
    """
    if split == NAMED and 0 <= index < len(_NAMED_TASKS):
        return _NAMED_TASKS[index]
    raise IndexError(f"there is no task {index} in the split {split!r}")


def find_task(task_id: object) -> Task:
    """Return the task of an id.

    Raises:
        UnknownTaskError: No task has this id.
    """
    if isinstance(task_id, str) and task_id in TASKS:
        return TASKS[task_id]
    raise UnknownTaskError(f"unknown task {task_id!r:.80}; the tasks are {', '.join(TASKS)}")
