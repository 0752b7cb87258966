"""The trainer's error classes."""

from ml_trainer_env.errors import MLTrainerError

__all__ = ["ConfigError", "DeviceError", "Interrupted", "KernelError", "TrainerError"]


class TrainerError(MLTrainerError):
    """Base class of the trainer's errors."""


class ConfigError(TrainerError, ValueError):
    """A setting is out of bounds. The message names the setting, its value, and what is allowed."""


class DeviceError(TrainerError):
    """A device was asked for, and is not there. The message says what to do."""


class KernelError(TrainerError):
    """Kernels or a precision were asked for, and cannot be used. The message says why."""


class Interrupted(TrainerError):  # noqa: N818 - the caller asked for it, so it is no error
    """A job function stopped between two batches at its caller's request. Nothing has changed."""
