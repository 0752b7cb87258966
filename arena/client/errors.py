"""What the client raises, by the official SDK's names."""

__all__ = ["AuthenticationError", "CompetitionNotFoundError", "MLArenaError", "SubmissionError"]


class MLArenaError(Exception):
    """Base of all errors of the client."""


class AuthenticationError(MLArenaError):
    """The token is malformed, unknown, or of the wrong scope; or it would travel unprotected."""


class SubmissionError(MLArenaError):
    """A submission was refused. The message says why."""


class CompetitionNotFoundError(MLArenaError):
    """A competition, agent, file or course is not there, hidden, or someone else's."""
