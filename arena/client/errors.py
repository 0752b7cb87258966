"""Errors of the client. Their names are those of the official SDK."""

__all__ = ["AuthenticationError", "CompetitionNotFoundError", "MLArenaError", "SubmissionError"]


class MLArenaError(Exception):
    """Base class of all errors of the client."""


class AuthenticationError(MLArenaError):
    """The token is malformed, unknown or of the wrong scope, or it would be sent over plain HTTP."""


class SubmissionError(MLArenaError):
    """The service refused a submission. The message gives the reason."""


class CompetitionNotFoundError(MLArenaError):
    """A competition, agent, file or course does not exist, is hidden, or belongs to another user."""
