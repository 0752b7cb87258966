"""The errors of the dataset layer: one base class, and a subclass where a caller can act differently."""

from ml_trainer_env.errors import MLTrainerError

__all__ = ["DatasetError", "DownloadError"]


class DatasetError(MLTrainerError):
    """The images of a task cannot be had; the message says what was expected, what came and what to do."""


class DownloadError(DatasetError):
    """A download did not finish: no network, too slow, damaged on the way, or not allowed by the settings."""
