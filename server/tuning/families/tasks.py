"""The tasks of the family: `tuning/<split>/<index>`."""

import re
from functools import lru_cache

from ml_trainer_env.server.datasets import ExampleKind, TargetKind
from ml_trainer_env.server.trainer.kinds import NetworkKind
from ml_trainer_env.server.trainer.network_specs import NetworkSpec
from ml_trainer_env.server.tuning.families.draw import FAMILY_SPLITS, draw_instance
from ml_trainer_env.server.tuning.families.instance import Instance
from ml_trainer_env.server.tuning.families.table import Row, load_table
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.tasks import Budget, Task

__all__ = ["UNCALIBRATED_SPLIT", "count_family_tasks", "family_task", "read_task_id", "task_of"]

UNCALIBRATED_SPLIT = "train"
"""The split whose indices beyond its table can be drawn, too. Those tasks have no references."""

_LARGEST_INDEX = 2**31
_ID = re.compile(r"tuning/(train|validation|test)/(0|[1-9][0-9]{0,9})")
_CACHED_TASKS = 1_024

_NETWORKS = {
    NetworkKind.MLP: "perceptron",
    NetworkKind.CNN: "convolutional network",
    NetworkKind.CNN_1D: "1-D convolutional network",
    NetworkKind.TRANSFORMER: "transformer",
}
_EXAMPLES = {
    ExampleKind.IMAGES: "images",
    ExampleKind.TABLES: "rows",
    ExampleKind.SEQUENCES: "sequences",
    ExampleKind.TOKENS: "texts",
}


def count_family_tasks(split: str) -> int:
    """Return the number of calibrated tasks of a split. 0 for an unknown split."""
    return len(load_table(split)) if split in FAMILY_SPLITS else 0


def read_task_id(task_id: str) -> tuple[str, int] | None:
    """Return split and index of `tuning/<split>/<index>`. None for any other text."""
    found = _ID.fullmatch(task_id)
    return (found[1], int(found[2])) if found else None


@lru_cache(maxsize=_CACHED_TASKS)
def family_task(split: str, index: int) -> Task:
    """Return a task of the family. Beyond the table of `train`, the task is drawn and has no references.

    Raises:
        IndexError: The split has no task with this index.
    """
    rows = load_table(split) if split in FAMILY_SPLITS else ()
    if 0 <= index < len(rows):
        return task_of(rows[index].instance, split, index, rows[index])
    if split == UNCALIBRATED_SPLIT and 0 <= index < _LARGEST_INDEX:
        # Calibration draws small numbers, so these are apart from it.
        return task_of(draw_instance(split, _LARGEST_INDEX + index), split, index)
    raise IndexError(f"there is no task {index} in the split {split!r}")


def task_of(instance: Instance, split: str, index: int, row: Row | None = None) -> Task:
    """Return the task of an instance.

    Args:
        instance: The instance.
        split: Its split.
        index: Its index in the split.
        row: Its row in the table. None for a task that was not calibrated.
    """
    calibrated = (RubricVersion.V3, RubricVersion.ACCURACY)
    return Task(
        id=f"tuning/{split}/{index}",
        split=split,
        index=index,
        name=_title(instance),
        description=_describe(instance, calibrated=row is not None),
        difficulty=str(row.tier) if row else "uncalibrated",
        network=instance.network,
        augmentation=instance.augmentation,
        examples=instance.examples,
        budget=Budget(instance.budget),
        seed=instance.seed,
        target_metric="score" if row else "hidden_accuracy",
        target_value=1.0,
        rubrics=calibrated if row else (RubricVersion.ACCURACY,),
        group=instance.examples.collection,
        cost_s=row.cost_s if row else None,
        reference=row.reference if row else None,
        largest_batch=instance.largest_batch,
        input_scale=instance.input_scale,
        diverged_above=float("inf"),
        start=instance.start,
        settings=instance.settings,
        change=instance.change,
        change_after=instance.change_after,
    )


def _title(instance: Instance) -> str:
    what = f"{len(instance.examples.classes)} classes" if instance.metric == "accuracy" else "next token"
    return f"{instance.collection.name.replace('_', ' ')}, {what}, {_NETWORKS[instance.network.kind]}"


def _describe(instance: Instance, *, calibrated: bool) -> str:
    """Describe data, network, sizes and budget. What the agent is to find out is not told."""
    drawn, collection = instance.examples, instance.collection
    things = _EXAMPLES[collection.kind]
    goal = (
        "predict the next token"
        if collection.target is TargetKind.NEXT_TOKEN
        else f"tell {len(drawn.classes)} classes apart"
    )
    apart = f" Hidden {things} share no {collection.apart} with them." if collection.apart else ""
    score = (
        "0 is as good as leaving the run or its weights alone, 1 as good as the best that was found for this task"
        if calibrated
        else "it is the accuracy there, since this task was not calibrated"
    )
    return (
        f"Train a {describe_network(instance.network)} to {goal}. {collection.title} There are "
        f"{drawn.train_size:,} training, {drawn.validation_size:,} validation and {drawn.test_size:,} hidden "
        f"{things}.{apart} The budget is {instance.budget} epochs with batches of up to {instance.largest_batch}. "
        "Labels may be wrong, classes unequal, inputs noisy or badly scaled. You take over a run: its settings are "
        "seldom the right ones, its weights may be spoilt, and something may change on the way. Read the figures. The "
        f"model is graded as it stands when it is submitted, on the hidden {things}: {score}."
    )


def describe_network(network: NetworkSpec) -> str:
    """Return the shape of a network in words, without the scale of its initial weights."""
    layers = "block" if network.kind in {NetworkKind.CNN, NetworkKind.CNN_1D} else "layer"
    norm = "with norm" if network.norm else "without norm"
    return (
        f"{_NETWORKS[network.kind]} of {network.depth} {layers}{'s' if network.depth > 1 else ''} of width "
        f"{network.width} ({network.activation}, {norm})"
    )
