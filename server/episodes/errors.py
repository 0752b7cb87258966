"""Errors of episodes. Agents and their programs read the messages."""

from ml_trainer_env.errors import MLTrainerError

__all__ = ["ArgumentsError", "EpisodeError", "ReplayError", "ResetError", "TrainingStoppedError", "UnknownToolError"]


class EpisodeError(MLTrainerError):
    """A call was refused or failed. The message says what was expected and what to do.

    A refused call changes nothing.
    """


class ArgumentsError(EpisodeError):
    """A parameter is missing or unknown. The call did not reach the episode."""


class UnknownToolError(EpisodeError):
    """The tool does not exist. The call did not reach the episode."""


class TrainingStoppedError(EpisodeError):
    """Training was stopped: it took too long, its client disconnected, or it failed.

    The completed units of work stay completed and spent.
    """


class ResetError(MLTrainerError, ValueError):
    """A reset asks for something that does not exist. The message says what exists."""


class ReplayError(MLTrainerError):
    """A replayed episode differs from its record. The message names the call and the difference."""
