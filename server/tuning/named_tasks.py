"""The named tasks. Their formulas, images and seeds never change."""

from collections.abc import Mapping
from types import MappingProxyType

from ml_trainer_env.server.datasets import DatasetName, ImageRequest
from ml_trainer_env.server.trainer.kinds import AugmentationKind
from ml_trainer_env.server.trainer.network_specs import NETWORKS
from ml_trainer_env.server.tuning.grading import (
    RubricVersion,
    grade_accuracy,
    grade_efficiency,
    grade_generalization,
    grade_test_accuracy,
)
from ml_trainer_env.server.tuning.tasks import Budget, Task

__all__ = ["NAMED", "TASKS"]

NAMED = "named"
"""The split of the named tasks."""

_EASY = Task(
    id="easy_mnist",
    split=NAMED,
    index=0,
    name="MNIST digit classifier",
    description=(
        "Train a perceptron with one hidden layer to read handwritten digits: 4,000 training "
        "and 1,000 validation images, 100 epochs. Plain Adam at 0.001 reaches about 93 % "
        "validation accuracy, good choices reach 97 %. The score is linear in the best "
        "validation accuracy, 0 at 88 % and 1 at 97.5 %."
    ),
    difficulty="easy",
    network=NETWORKS["simple_mlp"],
    augmentation=AugmentationKind.DIGITS,
    examples=ImageRequest(DatasetName.MNIST, 4_000, 1_000, 5_000, seed=42),
    budget=Budget(100),
    seed=42,
    target_metric="val_accuracy",
    target_value=0.96,
    rubrics=(RubricVersion.V1, RubricVersion.V2, RubricVersion.V3),
    grader=grade_accuracy(0.88, 0.975),
    group="mnist",
)

_MEDIUM = Task(
    id="medium_fashion",
    split=NAMED,
    index=1,
    name="Fashion item classifier",
    description=(
        "Train a small convolutional network to tell items of clothing apart: 6,500 training "
        "and 1,500 validation images, 80 epochs. So few images are easily learnt by heart. "
        "Submitting hands in the best epoch's model on the way to the present weights. 60 % of "
        "the score is its validation accuracy (0 at 75 %, 1 at 90 %), 40 % how small its gap "
        "between train and validation accuracy is (0 at 12 points); aim for 87 % with a gap "
        "under 5 points."
    ),
    difficulty="medium",
    network=NETWORKS["small_cnn"],
    augmentation=AugmentationKind.CLOTHES,
    examples=ImageRequest(DatasetName.FASHION_MNIST, 6_500, 1_500, 2_000, seed=123),
    budget=Budget(80),
    seed=123,
    target_metric="val_accuracy",
    target_value=0.87,
    rubrics=(RubricVersion.V1, RubricVersion.V2, RubricVersion.V3),
    grader=grade_generalization(0.75, 0.90),
    group="fashion_mnist",
)

_HARD = Task(
    id="hard_cifar",
    split=NAMED,
    index=2,
    name="CIFAR-10 under budget",
    description=(
        "Train a deeper convolutional network to recognise objects in small colour pictures: "
        "8,000 training and 2,000 validation images, 60 epochs. Without regularisation it "
        "overfits badly. Submitting hands in the best epoch's model on the way to the present "
        "weights. Half of the score is its validation accuracy (0 at 40 %, 1 at 68 %), 30 % how "
        "few epochs were run since that accuracy was first reached, 20 % how steady the 10 "
        "validation losses up to that epoch were."
    ),
    difficulty="hard",
    network=NETWORKS["deeper_cnn"],
    augmentation=AugmentationKind.OBJECTS,
    examples=ImageRequest(DatasetName.CIFAR10, 8_000, 2_000, 2_000, seed=456),
    budget=Budget(60),
    seed=456,
    target_metric="val_accuracy",
    target_value=0.65,
    rubrics=(RubricVersion.V1, RubricVersion.V2, RubricVersion.V3),
    grader=grade_efficiency(0.40, 0.68),
    group="cifar10",
)

_PERMUTED = Task(
    id="permuted_mnist",
    split=NAMED,
    index=3,
    name="Permuted MNIST against the clock",
    description=(
        "Train a perceptron with batch norm to read handwritten digits whose pixels and labels are permuted, by the "
        "episode's seed: 55,000 training, 5,000 validation and 10,000 test images where all of MNIST is there, else "
        "7,000, 1,000 and 2,000. The budget is 30 epochs and 60 seconds of training, whichever ends first; an "
        "epoch that has begun is finished, one from the cache costs what it took when it was trained, and larger "
        "batches make shorter epochs. Schedules span the epochs. Neighbouring pixels mean nothing here, so "
        "augmentation is Gaussian noise on every pixel. The score is linear in the test accuracy of the model as it "
        "stands when it is submitted, 0 at 90 % and 1 at 98.5 %; no reply shows that accuracy before."
    ),
    difficulty="medium",
    network=NETWORKS["batch_norm_mlp"],
    augmentation=AugmentationKind.SCATTERED,
    examples=ImageRequest(
        DatasetName.MNIST,
        55_000,
        5_000,
        10_000,
        seed=789,
        instead=ImageRequest(DatasetName.MNIST, 7_000, 1_000, 2_000, seed=789),
    ),
    budget=Budget(30, seconds=60.0),
    seed=789,
    target_metric="test_accuracy",
    target_value=0.985,
    rubrics=(RubricVersion.V1, RubricVersion.V2),
    grader=grade_test_accuracy(0.90, 0.985),
    group="mnist",
    graded_on_test=True,
    permuted=True,
)

TASKS: Mapping[str, Task] = MappingProxyType({task.id: task for task in (_EASY, _MEDIUM, _HARD, _PERMUTED)})
"""The named tasks by id: from easy to hard, then the one with a time budget."""
