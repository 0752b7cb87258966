"""The tuning game for `GRPOTrainer(environment_factory=TuningGame)`."""

from collections.abc import Mapping
from typing import Any, Literal

from ml_trainer_env.baselines.env_session import brief_of
from ml_trainer_env.baselines.llm_prompt import describe, tell
from ml_trainer_env.client import MLTrainerEnv
from ml_trainer_env.integrations.episode import DEFAULT_URL
from ml_trainer_env.integrations.trl.game import Game
from ml_trainer_env.models import ResetObservation

__all__ = ["TuningGame"]


class TuningGame(Game):
    """An episode of the tuning game. Its public methods are the server's tools; see `Game`.

    The reward of a task under rubric `v3` is its score, from -0.25 to 1, and 0.05 times the best validation accuracy.

    Args:
        base_url: URL of the server.
        token: Token of the server; None if it needs none.
    """

    def __init__(self, base_url: str = DEFAULT_URL, token: str | None = None) -> None:
        super().__init__(base_url, token, MLTrainerEnv)

    def configure_training(
        self,
        optimizer: Literal["sgd", "adam", "adamw"] | None = None,
        learning_rate: float | None = None,
        batch_size: Literal[32, 64, 128, 256] | None = None,
        weight_decay: float | None = None,
        dropout: float | None = None,
        lr_schedule: Literal["constant", "step", "cosine", "warmup_cosine"] | None = None,
        warmup_epochs: int | None = None,
        augmentation: bool | None = None,
        augmentation_strength: float | None = None,
        reinitialize: bool | None = None,
    ) -> str:
        """Set or change the training configuration. What you leave out stays as it is. Weights are kept.

        Args:
            optimizer: sgd has momentum 0.9.
            learning_rate: Peak rate, above 0, to 10. 0.001 suits adam, 0.05 sgd.
            batch_size: Examples a step.
            weight_decay: L2 strength from 0 to 1, decoupled for adamw.
            dropout: Chance of dropping a hidden unit, from 0 to 0.5.
            lr_schedule: Laid over the budget left at this call.
            warmup_epochs: For warmup_cosine, from 0 to 20.
            augmentation: Random transforms of the training examples.
            augmentation_strength: From 0, which does nothing, to 1, the full recipe.
            reinitialize: Draw fresh weights. Budget stays spent.

        Returns:
            The state after the change.
        """
        return self._call(
            "configure_training",
            optimizer=optimizer,
            learning_rate=learning_rate,
            batch_size=batch_size,
            weight_decay=weight_decay,
            dropout=dropout,
            lr_schedule=lr_schedule,
            warmup_epochs=warmup_epochs,
            augmentation=augmentation,
            augmentation_strength=augmentation_strength,
            reinitialize=reinitialize,
        )

    def run_epochs(self, num_epochs: int) -> str:
        """Train for some epochs. Stops early at the end of the budget or if training diverges.

        Args:
            num_epochs: Epochs to run, from 1 to 20.

        Returns:
            The state after the last epoch.
        """
        return self._call("run_epochs", num_epochs=num_epochs)

    def adjust_learning_rate(self, new_lr: float) -> str:
        """Set the learning rate from now on. The schedule continues from it.

        Args:
            new_lr: The rate from now on, above 0, to 10.

        Returns:
            The state after the change.
        """
        return self._call("adjust_learning_rate", new_lr=new_lr)

    def toggle_augmentation(self, enabled: bool, strength: float | None = None) -> str:
        """Switch random transforms of the training examples on or off, from the next epoch on.

        Args:
            enabled: On or off.
            strength: From 0, which does nothing, to 1, the full recipe.

        Returns:
            The state after the change.
        """
        return self._call("toggle_augmentation", enabled=enabled, strength=strength)

    def get_training_status(self) -> str:
        """Tell where training stands and how it is configured. Costs no epochs and pays nothing.

        Returns:
            The state.
        """
        return self._call("get_training_status")

    def submit_model(self) -> str:
        """Hand in a model for grading and end the episode.

        Returns:
            The score.
        """
        return self._call("submit_model")

    def save_checkpoint(self, name: str) -> str:
        """Keep the present weights and optimizer under a name.

        Args:
            name: 1 to 64 letters, digits, dots, underscores or hyphens.

        Returns:
            The checkpoints that are kept.
        """
        return self._call("save_checkpoint", name=name)

    def restore_checkpoint(self, name: str) -> str:
        """Bring back weights and optimizer that were kept under a name. Budget stays spent.

        Args:
            name: Name of the checkpoint.

        Returns:
            The state after the change.
        """
        return self._call("restore_checkpoint", name=name)

    def list_checkpoints(self) -> str:
        """List the checkpoints that are kept, with the epoch and validation accuracy of each.

        Returns:
            The checkpoints.
        """
        return self._call("list_checkpoints")

    def _describe(self, observation: ResetObservation) -> str:
        return describe(brief_of(observation))

    def _tell(self, reply: Mapping[str, Any]) -> str:
        return tell(reply)
