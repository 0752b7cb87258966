"""Errors that are to be read by an agent, or by whoever begins episodes for one."""

from ml_trainer_env.errors import MLTrainerError

__all__ = ["EpisodeError", "ReplayError", "ResetError", "TrainingStoppedError"]


class EpisodeError(MLTrainerError):
    """A call was refused or failed. The message says what was expected and what to do.

    A refused call has changed nothing.
    """


class TrainingStoppedError(EpisodeError):
    """Training came to no end: it took too long, nobody waits for it any more, or it failed.

    The epochs that it completed stay completed and spent.
    """


class ResetError(MLTrainerError, ValueError):
    """A reset asks for something there is not. The message says what there is."""


class ReplayError(MLTrainerError):
    """An episode did not come out as it was written down. The message says at which call, and how."""
