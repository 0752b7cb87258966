"""Trains a language model on either game with TRL's `GRPOTrainer`.

    trainer = GRPOTrainer(
        model="Qwen/Qwen3-0.6B",
        train_dataset=train_dataset("tuning/train", range(64)),
        environment_factory=TuningGame,
    )

A rollout is an episode. TRL makes one game a rollout of a batch, finds its public methods, and shows them to the model
as tools. `TuningGame(base_url, token)` plays on another server: `functools.partial(TuningGame, base_url=...)`.
"""

from ml_trainer_env.integrations.trl.dataset import train_dataset
from ml_trainer_env.integrations.trl.fleet import FleetGame
from ml_trainer_env.integrations.trl.tuning import TuningGame

__all__ = ["FleetGame", "TuningGame", "train_dataset"]
