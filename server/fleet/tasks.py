"""A fleet task as a value, the named tasks, and all tasks by id and by split and index."""

from collections.abc import Mapping
from dataclasses import dataclass

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.fleet.draw import DRAWN_COUNTS, TIERS, draw_run_seed, draw_setup, tier_of
from ml_trainer_env.server.fleet.incidents import Incident, Setup, lone_setup

__all__ = ["NAMED", "SPLITS", "FleetTask", "UnknownTaskError", "count_tasks", "find_task", "task_at"]

NAMED = "named"
SPLITS = (NAMED, *DRAWN_COUNTS)
"""The splits. The first is the default."""

_PREFIX = "fleet"

_FIRST_SEEDS = {split: 1_000_000 * (number + 1) for number, split in enumerate(DRAWN_COUNTS)}
"""Default seed of the first task of a split. No two drawn tasks have the same seed, nor the same clean run."""


class UnknownTaskError(MLTrainerError, ValueError):
    """No task has this id. The message says what ids look like."""


@dataclass(frozen=True, slots=True)
class FleetTask:
    """A task.

    Attributes:
        id: Its name in calls.
        split: The split of the task API.
        index: Its position in the split.
        name: Its title.
        description: Text for the agent.
        difficulty: The tier, "1" is the easiest. Of named tasks "named".
        group: What it is about. Of drawn tasks the tier, so that nothing tells what goes wrong.
        incident: What goes wrong. None for a drawn task.
        seed: The default seed of an episode.
    """

    id: str
    split: str
    index: int
    name: str
    description: str
    difficulty: str
    group: str
    incident: Incident | None = None
    seed: int = 0

    def setup(self, seed: int) -> Setup:
        """Return what goes wrong in the episode of a seed."""
        if self.incident is not None:
            return lone_setup(self.incident, seed)
        return draw_setup(self.split, self.index, seed)

    def run_seed(self, seed: int) -> int:
        """Return the seed of weights, data and noise in the episode of a seed.

        For a drawn task it depends on the task, too: if two tasks had the same clean run, the first loss that differs
        would tell when something begins. The task's own seed is used as it is, since no other task has it. The named
        tasks of a seed have the same clean run.
        """
        if self.incident is not None or seed == self.seed:
            return seed
        return draw_run_seed(self.split, self.index, seed)


_GENERAL = (
    "A character transformer trains on 8 ranks. The nodes are reserved for 360 s of virtual time, about 300 steps of a "
    "clean run, and the learning rate reaches zero at their end. Something may go wrong, or nothing. The score is the "
    "share of the harm that you repair, measured as loss on held-out text. Where nothing is wrong, whatever you do "
    "beyond letting it run costs."
)

_NAMED: Mapping[Incident, tuple[str, str]] = {
    Incident.BAD_SHARDS: ("Bad shards", "Some shards of the text are spoilt from some step on."),
    Incident.POISONED_BATCH: ("A poisoned batch", "Some batches in a row have huge gradients."),
    Incident.SILENT_CORRUPTION: ("Silent corruption", "One node computes wrong gradients and says nothing."),
    Incident.STRAGGLER: ("A straggler", "One node computes slowly."),
    Incident.CRASHES: ("Crashes", "Nodes die now and then, and checkpoints are far apart."),
    Incident.STICKY_NODE: ("A sticky node", "One node dies again soon after each start."),
    Incident.DRIFTING_REPLICA: ("A drifting replica", "One node has missed updates of its weights."),
    Incident.HALF_PRECISION: ("Half precision", "Gradients are half precision, and the loss scale does not fit."),
    Incident.LOADER_STALL: ("A slow loader", "Some shards are read slowly."),
    Incident.CORRUPT_CHECKPOINT: ("A corrupt checkpoint", "A node dies, and what was saved last is damaged."),
    Incident.SLOW_LINK: ("A slow link", "The link of one node slows every reduction down."),
    Incident.NOTHING: ("Nothing wrong", "Whatever it looks like, nothing is wrong."),
}


def _named() -> dict[str, FleetTask]:
    tasks = {}
    for index, (incident, (name, what)) in enumerate(_NAMED.items()):
        key = f"{_PREFIX}_{incident.value}"
        tasks[key] = FleetTask(key, NAMED, index, name, f"{what} {_GENERAL}", "named", incident.value, incident)
    return tasks


NAMED_TASKS = _named()


def count_tasks(split: str) -> int:
    """Return the number of tasks of a split. 0 for an unknown split."""
    return len(NAMED_TASKS) if split == NAMED else DRAWN_COUNTS.get(split, 0)


def task_at(split: str, index: int) -> FleetTask:
    """Return the task of a split and an index.

    Raises:
        IndexError: The split has no task with this index.
    """
    if not 0 <= index < count_tasks(split):
        raise IndexError(f"there is no task {index} in the split {split!r}")
    if split == NAMED:
        return list(NAMED_TASKS.values())[index]
    tier = tier_of(index)
    name = f"Fleet {split} {index}"
    group, seed = f"tier {tier} of {len(TIERS)}", _FIRST_SEEDS[split] + index
    return FleetTask(f"{_PREFIX}/{split}/{index}", split, index, name, _GENERAL, str(tier), group, seed=seed)


def find_task(task_id: object) -> FleetTask:
    """Return the task of an id.

    Raises:
        UnknownTaskError: No task has this id.
    """
    if isinstance(task_id, str):
        if task_id in NAMED_TASKS:
            return NAMED_TASKS[task_id]
        prefix, _, place = task_id.partition("/")
        split, _, index = place.partition("/")
        is_number = index.isascii() and index.isdigit() and len(index) < 10 and str(int(index)) == index
        if prefix == _PREFIX and split in DRAWN_COUNTS and is_number and int(index) < count_tasks(split):
            return task_at(split, int(index))
    raise UnknownTaskError(
        f"unknown task {task_id!r:.80}; the tasks are {', '.join(NAMED_TASKS)} and fleet/<split>/<index> with the "
        "splits " + ", ".join(f"{split} ({count})" for split, count in DRAWN_COUNTS.items())
    )
