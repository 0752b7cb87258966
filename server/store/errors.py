"""Errors of what is stored."""

from ml_trainer_env.errors import MLTrainerError

__all__ = ["StoreError"]


class StoreError(MLTrainerError):
    """What is stored cannot be read or written. The message says which file, and why."""
