"""Errors of the data sets: a base class, and a subclass for downloads."""

from ml_trainer_env.errors import MLTrainerError

__all__ = ["DatasetError", "DownloadError"]


class DatasetError(MLTrainerError):
    """The images of a task are not available. The message says what was expected, what was found and what to do."""


class DownloadError(DatasetError):
    """A download failed: no network, too slow, damaged, or not allowed by the settings."""
