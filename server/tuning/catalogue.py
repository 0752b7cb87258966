"""All tasks of the tuning game: the named tasks and the families, by id and by split and index."""

from ml_trainer_env.server.tuning.families.draw import FAMILY_SPLITS
from ml_trainer_env.server.tuning.families.tasks import count_family_tasks, family_task, read_task_id
from ml_trainer_env.server.tuning.named_tasks import NAMED, TASKS
from ml_trainer_env.server.tuning.tasks import Task, UnknownTaskError

__all__ = ["SPLITS", "count_tasks", "find_task", "task_at"]

SPLITS = (NAMED, *FAMILY_SPLITS)
"""The splits. The first is the default."""

_NAMED_TASKS = tuple(TASKS.values())


def count_tasks(split: str) -> int:
    """Return the number of tasks of a split. 0 for an unknown split."""
    return len(_NAMED_TASKS) if split == NAMED else count_family_tasks(split)


def task_at(split: str, index: int) -> Task:
    """Return the task of a split and an index.

    Raises:
        IndexError: The split has no task with this index.
    """
    if split != NAMED:
        return family_task(split, index)
    if 0 <= index < len(_NAMED_TASKS):
        return _NAMED_TASKS[index]
    raise IndexError(f"there is no task {index} in the split {split!r}")


def find_task(task_id: object) -> Task:
    """Return the task of an id.

    Raises:
        UnknownTaskError: No task has this id.
    """
    if isinstance(task_id, str) and task_id in TASKS:
        return TASKS[task_id]
    place = read_task_id(task_id) if isinstance(task_id, str) else None
    if place is not None:
        try:
            return family_task(*place)
        except IndexError as error:
            raise UnknownTaskError(f"unknown task {task_id!r:.80}: {error}") from error
    raise UnknownTaskError(
        f"unknown task {task_id!r:.80}; the tasks are {', '.join(TASKS)} and tuning/<split>/<index>, such as "
        "tuning/train/17"
    )
