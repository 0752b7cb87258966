"""An instance of the family: everything that its draw decided, as a value."""

from dataclasses import dataclass

from ml_trainer_env.server.datasets import COLLECTIONS, Collection, ExampleDraw, TargetKind
from ml_trainer_env.server.trainer.changes import Change
from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.kinds import AugmentationKind
from ml_trainer_env.server.trainer.network_specs import NetworkSpec
from ml_trainer_env.server.trainer.starts import StartSpec
from ml_trainer_env.server.tuning.reference import Metric

__all__ = ["Instance"]


@dataclass(frozen=True, slots=True)
class Instance:
    """A drawn task, without its name and its references.

    Attributes:
        examples: Which examples of which collection.
        network: The network, with the factor of its initial weights.
        augmentation: The family of transforms.
        input_scale: Factor of the standardised inputs.
        budget: The budget, in epochs.
        largest_batch: The largest batch size that the agent may choose.
        seed: The default seed of an episode.
        start: What happened to the weights before. None for fresh weights.
        settings: The settings that the run was left with. None for the default ones.
        change: How the examples change on the way. None for not at all.
        change_after: The examples change once this many epochs are spent. 0 without a change, and if they have changed
            since the weights were trained.
    """

    examples: ExampleDraw
    network: NetworkSpec
    augmentation: AugmentationKind
    input_scale: float
    budget: int
    largest_batch: int
    seed: int
    start: StartSpec | None = None
    settings: TrainingConfig | None = None
    change: Change | None = None
    change_after: int = 0

    @property
    def collection(self) -> Collection:
        """The collection of the examples."""
        return COLLECTIONS[self.examples.collection]

    @property
    def metric(self) -> Metric:
        """What is measured on the hidden examples: the loss for the next token, the accuracy for classes."""
        return Metric.LOSS if self.network.target is TargetKind.NEXT_TOKEN else Metric.ACCURACY

    @property
    def content(self) -> str:
        """What a split may not share with another one: collection, classes, corruption and network, as text."""
        drawn, network = self.examples, self.network
        classes = ",".join(map(str, sorted(drawn.classes)))
        shape = (network.kind, network.depth, network.width, network.norm, network.activation)
        return f"{drawn.collection} {classes} {drawn.corruption:g} {' '.join(map(str, shape))}"
