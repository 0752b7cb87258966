"""A tuning task as a value: network, examples, budget, and how it is graded."""

from dataclasses import dataclass

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.datasets import ExampleDraw, ImageRequest
from ml_trainer_env.server.trainer.changes import Change
from ml_trainer_env.server.trainer.config import DIVERGED_LOSS, TrainingConfig
from ml_trainer_env.server.trainer.kinds import AugmentationKind
from ml_trainer_env.server.trainer.network_specs import NetworkSpec
from ml_trainer_env.server.trainer.starts import StartSpec
from ml_trainer_env.server.tuning.grading import Grader, RubricVersion
from ml_trainer_env.server.tuning.reference import Reference

__all__ = ["Budget", "Task", "UnknownTaskError"]


class UnknownTaskError(MLTrainerError, ValueError):
    """No task has this id. The message says what ids look like."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget of an episode, or the rest of it.

    Attributes:
        epochs: Number of epochs.
        seconds: Training time in seconds. None if the time is not limited.
    """

    epochs: int
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A tuning task.

    Attributes:
        id: The task's name in calls.
        split: The split of the task API.
        index: Its position in the split.
        name: Its title.
        description: Text for the agent: network, data, budget and score.
        difficulty: easy, medium or hard. For a family, the tier: "1" is the easiest.
        network: The network to train.
        augmentation: The family of transforms.
        examples: The data set, the numbers of examples and the seed that draws them.
        budget: The budget of an episode.
        seed: The default seed of an episode.
        target_metric: The metric of the target.
        target_value: The value to reach.
        rubrics: The rubrics that can grade it. The first is its own.
        grader: Computes the score of rubrics v1 and v2 from a run's figures. None if neither can grade it.
        graded_on_test: Whether that score needs the accuracy on held-out images.
        permuted: Whether the episode's seed permutes pixels and labels.
        group: What its examples show: the data set or the collection.
        cost_s: Seconds of an episode that spends the whole budget, as measured once. None if not measured.
        reference: The figures that a score of rubric v3 is relative to. None if they were not calibrated, or if they
            depend on the images; see `named_references`.
        largest_batch: The largest batch size that the agent may choose.
        input_scale: Factor of the standardised inputs.
        diverged_above: A mean training loss (nats) above this counts as divergence.
        start: What happened to the weights before the episode. None for fresh weights.
        settings: The settings that the run was left with. None for the default ones.
        change: How the examples change on the way. None for not at all.
        change_after: The examples change once this many epochs are spent.
        withholds_grade: Whether no reply tells the grade: the task is part of a ranked run.
    """

    id: str
    split: str
    index: int
    name: str
    description: str
    difficulty: str
    network: NetworkSpec
    augmentation: AugmentationKind
    examples: ImageRequest | ExampleDraw
    budget: Budget
    seed: int
    target_metric: str
    target_value: float
    rubrics: tuple[RubricVersion, ...]
    grader: Grader | None = None
    graded_on_test: bool = False
    permuted: bool = False
    group: str = ""
    cost_s: float | None = None
    reference: Reference | None = None
    largest_batch: int = 256
    input_scale: float = 1.0
    diverged_above: float = DIVERGED_LOSS
    start: StartSpec | None = None
    settings: TrainingConfig | None = None
    change: Change | None = None
    change_after: int = 0
    withholds_grade: bool = False

    @property
    def budget_epochs(self) -> int:
        """The budget, in epochs."""
        return self.budget.epochs

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters of the network."""
        return self.network.parameter_count

    @property
    def initial_config(self) -> TrainingConfig:
        """The settings at the start, with the largest allowed batch if theirs is larger."""
        settings = self.settings or TrainingConfig()
        return settings.with_changes({"batch_size": min(settings.batch_size, self.largest_batch)})
