"""The trainer's error classes. Nothing else in this package raises errors of its own."""

from ml_trainer_env.errors import MLTrainerError

__all__ = ["ConfigError", "Interrupted", "TrainerError"]


class TrainerError(MLTrainerError):
    """Base class of everything the trainer raises on purpose."""


class ConfigError(TrainerError, ValueError):
    """A setting is out of bounds. The message names it, what came, and what is allowed."""


class Interrupted(TrainerError):  # noqa: N818 - it was asked for, so it is no error
    """A job function stopped between two batches, because its caller asked for it. Nothing has changed."""
