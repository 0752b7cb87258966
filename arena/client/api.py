"""The client. Names, arguments, return values and errors of its methods are those of the official SDK."""

from ml_trainer_env.arena.client.courses import CourseMethods
from ml_trainer_env.arena.client.organisers import OrganiserMethods
from ml_trainer_env.arena.client.submissions import SubmissionMethods

__all__ = ["Client"]


class Client(OrganiserMethods, SubmissionMethods, CourseMethods):
    """A client of a competition service; see `connect`. A context manager.

    Every method that sends a request raises `AuthenticationError` if the token is unknown or has the wrong scope,
    `CompetitionNotFoundError` if the object does not exist or belongs to another user, and `httpx.HTTPError` if the
    service cannot be reached.

    Args:
        connection: Connection to the service.
    """
