"""Initial training settings for a task, derived from its brief. Pure."""

from dataclasses import dataclass, replace
from typing import Self

from ml_trainer_env.baselines.session import Brief

__all__ = ["Recipe", "counts_the_gap", "grades_what_is_submitted", "recipe_for"]

_MAX_DROPOUT = 0.5
_USUAL_BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of a training run, as `configure_training` takes them.

    All recipes use AdamW with a short warm-up and a cosine schedule to zero, which needs little tuning. They differ in
    learning rate and regularisation.
    """

    learning_rate: float
    dropout: float
    augmentation_strength: float
    weight_decay: float = 0.05
    batch_size: int = _USUAL_BATCH_SIZE
    warmup_epochs: int = 3
    largest_batch: int = 256

    def arguments(self) -> dict[str, object]:
        """The arguments of `configure_training`."""
        return {
            "optimizer": "adamw",
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "weight_decay": self.weight_decay,
            "dropout": self.dropout,
            "lr_schedule": "warmup_cosine",
            "warmup_epochs": self.warmup_epochs,
            "augmentation": True,
            "augmentation_strength": self.augmentation_strength,
        }

    def calmer(self) -> Self:
        """Get a recipe for after divergence: a third of the learning rate, with a longer warm-up."""
        return replace(self, learning_rate=self.learning_rate / 3.0, warmup_epochs=5)

    def stronger(self) -> Self:
        """Get a recipe against overfitting: more dropout and more augmentation."""
        return replace(
            self,
            dropout=min(_MAX_DROPOUT, round(self.dropout + 0.1, 3)),
            augmentation_strength=min(1.0, round(self.augmentation_strength + 0.15, 3)),
        )

    def gentler(self) -> Self:
        """Get a recipe against underfitting: less dropout and less augmentation."""
        return replace(
            self,
            dropout=max(0.0, round(self.dropout - 0.1, 3)),
            augmentation_strength=max(0.0, round(self.augmentation_strength - 0.15, 3)),
        )

    def faster(self) -> Self:
        """Get a recipe with the largest batch size, for a lack of time."""
        return replace(self, batch_size=self.largest_batch)

    @property
    def is_fastest(self) -> bool:
        """Whether `faster` would change nothing."""
        return self.batch_size >= self.largest_batch

    @property
    def is_strongest(self) -> bool:
        """Whether `stronger` would change nothing."""
        return self.dropout >= _MAX_DROPOUT and self.augmentation_strength >= 1.0


def recipe_for(brief: Brief) -> Recipe:
    """Choose a recipe by the network, the largest batch and the grading of the task.

    A perceptron of this size cannot memorise augmented digits, so it gets a high learning rate and little dropout. A
    convolutional network can memorise a few thousand images. It gets the strongest regularisation if the gap between
    training and validation accuracy is graded.
    """
    rate, dropout, strength = 0.002, 0.2, 0.7
    if any(name in brief.network.lower() for name in ("mlp", "perceptron")):
        rate, dropout = 0.003, 0.1
    elif counts_the_gap(brief):
        dropout, strength = 0.4, 1.0
    batch = min(_USUAL_BATCH_SIZE, brief.largest_batch)
    return Recipe(rate, dropout, strength, batch_size=batch, largest_batch=brief.largest_batch)


def counts_the_gap(brief: Brief) -> bool:
    """Whether the task grades the gap between training and validation accuracy."""
    return "gap" in f"{brief.target_metric} {brief.description}".lower()


def grades_what_is_submitted(brief: Brief) -> bool:
    """Whether the task grades the submitted model and not the best epoch."""
    return brief.target_metric == "test_accuracy" or brief.rubric in {"v3", "accuracy"}
