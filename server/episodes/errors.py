"""Errors that an agent reads, or the program that begins episodes for it."""

from ml_trainer_env.errors import MLTrainerError

__all__ = ["ArgumentsError", "EpisodeError", "ReplayError", "ResetError", "TrainingStoppedError", "UnknownToolError"]


class EpisodeError(MLTrainerError):
    """A call was refused or failed. The message says what was expected and what to do.

    A refused call has changed nothing.
    """


class ArgumentsError(EpisodeError):
    """A call lacks a parameter, or has one that its tool does not have. The call did not reach the episode."""


class UnknownToolError(EpisodeError):
    """There is no such tool. The call did not reach the episode."""


class TrainingStoppedError(EpisodeError):
    """Training was stopped: it took too long, its client is gone, or it failed.

    The units of work that it completed stay completed and spent.
    """


class ResetError(MLTrainerError, ValueError):
    """A reset asks for something that does not exist. The message says what does."""


class ReplayError(MLTrainerError):
    """An episode came out different from its record. The message says at which call, and how."""
