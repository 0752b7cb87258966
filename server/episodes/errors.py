"""Errors that are to be read by an agent, or by whoever begins episodes for one."""

__all__ = ["EpisodeError", "ResetError"]


class EpisodeError(Exception):
    """A call was refused or failed. The message says what was expected and what to do.

    A refused call has changed nothing; one that failed while training keeps the epochs completed.
    """


class ResetError(ValueError):
    """A reset asks for something there is not. The message says what there is."""
