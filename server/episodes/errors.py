"""Errors of an episode that its agent is to read."""

__all__ = ["EpisodeError"]


class EpisodeError(Exception):
    """A call was refused or failed. The message says what was expected and what to do.

    A refused call has changed nothing; one that failed while training keeps the epochs completed.
    """
