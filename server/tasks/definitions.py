"""The task table: network, images, budget, seed, target and grader of each task."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ml_trainer_env.server.datasets import DatasetName, ImageRequest
from ml_trainer_env.server.tasks.grading import (
    Grader,
    grade_accuracy,
    grade_efficiency,
    grade_generalization,
)
from ml_trainer_env.server.trainer.kinds import AugmentationKind, NetworkName

__all__ = ["TASKS", "Task", "UnknownTaskError", "find_task"]


class UnknownTaskError(ValueError):
    """There is no task of that name. The message lists those there are."""


@dataclass(frozen=True, slots=True)
class Task:
    """What an agent is asked to do.

    Attributes:
        id: The task's name in calls.
        name: Its title.
        description: What to train on what, and what counts, in prose for the agent.
        difficulty: easy, medium or hard.
        network: The network to train.
        parameter_count: Its trainable parameters.
        augmentation: Which family of image transforms the task offers.
        images: Which images, drawn with which seed.
        budget_epochs: Epochs an episode may run.
        seed: The seed of an episode that names none.
        target_metric: What the target is about.
        target_value: The value to reach.
        grader: Turns a run's figures into its score.
    """

    id: str
    name: str
    description: str
    difficulty: str
    network: NetworkName
    parameter_count: int
    augmentation: AugmentationKind
    images: ImageRequest
    budget_epochs: int
    seed: int
    target_metric: str
    target_value: float
    grader: Grader


_EASY = Task(
    id="easy_mnist",
    name="MNIST digit classifier",
    description=(
        "Train a perceptron with one hidden layer to read handwritten digits: 4,000 training "
        "and 1,000 validation images, 100 epochs. Plain Adam at 0.001 reaches about 93 % "
        "validation accuracy, good choices reach 97 %. The score is linear in the best "
        "validation accuracy, 0 at 88 % and 1 at 97.5 %."
    ),
    difficulty="easy",
    network=NetworkName.SIMPLE_MLP,
    parameter_count=101_770,
    augmentation=AugmentationKind.DIGITS,
    images=ImageRequest(DatasetName.MNIST, 4_000, 1_000, 5_000, seed=42),
    budget_epochs=100,
    seed=42,
    target_metric="val_accuracy",
    target_value=0.96,
    grader=grade_accuracy(0.88, 0.975),
)

_MEDIUM = Task(
    id="medium_fashion",
    name="Fashion item classifier",
    description=(
        "Train a small convolutional network to tell items of clothing apart: 6,500 training "
        "and 1,500 validation images, 80 epochs. So few images are easily learnt by heart. "
        "60 % of the score is the best validation accuracy (0 at 75 %, 1 at 90 %), 40 % how "
        "small the gap between train and validation accuracy is at the last epoch (0 at 12 "
        "points); aim for 87 % with a gap under 5 points."
    ),
    difficulty="medium",
    network=NetworkName.SMALL_CNN,
    parameter_count=194_290,
    augmentation=AugmentationKind.CLOTHES,
    images=ImageRequest(DatasetName.FASHION_MNIST, 6_500, 1_500, 2_000, seed=123),
    budget_epochs=80,
    seed=123,
    target_metric="val_accuracy",
    target_value=0.87,
    grader=grade_generalization(0.75, 0.90),
)

_HARD = Task(
    id="hard_cifar",
    name="CIFAR-10 under budget",
    description=(
        "Train a deeper convolutional network to recognise objects in small colour pictures: "
        "8,000 training and 2,000 validation images, 60 epochs. Without regularisation it "
        "overfits badly. Half of the score is the best validation accuracy (0 at 40 %, 1 at "
        "68 %), 30 % how few epochs were run after the best one, 20 % how steady the last 10 "
        "validation losses were."
    ),
    difficulty="hard",
    network=NetworkName.DEEPER_CNN,
    parameter_count=455_306,
    augmentation=AugmentationKind.OBJECTS,
    images=ImageRequest(DatasetName.CIFAR10, 8_000, 2_000, 2_000, seed=456),
    budget_epochs=60,
    seed=456,
    target_metric="val_accuracy",
    target_value=0.65,
    grader=grade_efficiency(0.40, 0.68),
)

TASKS: Mapping[str, Task] = MappingProxyType({task.id: task for task in (_EASY, _MEDIUM, _HARD)})
"""All tasks by id, from easy to hard."""


def find_task(task_id: object) -> Task:
    """The task of that id.

    Raises:
        UnknownTaskError: There is none.
    """
    if isinstance(task_id, str) and task_id in TASKS:
        return TASKS[task_id]
    raise UnknownTaskError(f"unknown task {task_id!r:.80}; the tasks are {', '.join(TASKS)}")
