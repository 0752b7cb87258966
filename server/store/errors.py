"""Errors of the store."""

from ml_trainer_env.errors import MLTrainerError

__all__ = ["StoreError"]


class StoreError(MLTrainerError):
    """The store cannot be read or written. The message names the file and the reason."""
