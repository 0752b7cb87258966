"""Initial training settings for a task, derived from its brief. Pure."""

from dataclasses import dataclass, replace
from typing import Self

from ml_trainer_env.baselines.session import Brief

__all__ = ["Recipe", "counts_the_gap", "grades_what_is_submitted", "recipe_for"]

_MAX_DROPOUT = 0.5
_MAX_BATCH_SIZE = 256


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
    batch_size: int = 64
    warmup_epochs: int = 3

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
        return replace(self, batch_size=_MAX_BATCH_SIZE)

    @property
    def is_fastest(self) -> bool:
        """Whether `faster` would change nothing."""
        return self.batch_size >= _MAX_BATCH_SIZE

    @property
    def is_strongest(self) -> bool:
        """Whether `stronger` would change nothing."""
        return self.dropout >= _MAX_DROPOUT and self.augmentation_strength >= 1.0


def recipe_for(brief: Brief) -> Recipe:
    """Choose a recipe by the network and the grading of the task.

    A perceptron of this size cannot memorise augmented digits, so it gets a high learning rate and little dropout. A
    convolutional network can memorise a few thousand images. It gets the strongest regularisation if the gap between
    training and validation accuracy is graded.
    """
    if "mlp" in brief.network.lower():
        return Recipe(learning_rate=0.003, dropout=0.1, augmentation_strength=0.7)
    if counts_the_gap(brief):
        return Recipe(learning_rate=0.002, dropout=0.4, augmentation_strength=1.0)
    return Recipe(learning_rate=0.002, dropout=0.2, augmentation_strength=0.7)


def counts_the_gap(brief: Brief) -> bool:
    """Whether the task grades the gap between training and validation accuracy."""
    return "gap" in f"{brief.target_metric} {brief.description}".lower()


def grades_what_is_submitted(brief: Brief) -> bool:
    """Whether the task grades the submitted model and not the best epoch."""
    return brief.target_metric == "test_accuracy"
