"""The client of a competition service: the official SDK's methods, on httpx."""

from ml_trainer_env.arena.client.api import Client
from ml_trainer_env.arena.client.connection import Connection, checked
from ml_trainer_env.arena.client.errors import (
    AuthenticationError,
    CompetitionNotFoundError,
    MLArenaError,
    SubmissionError,
)

__all__ = ["AuthenticationError", "Client", "CompetitionNotFoundError", "MLArenaError", "SubmissionError", "connect"]


def connect(api_key: str, base_url: str = "http://127.0.0.1:5000", *, allow_insecure: bool = False) -> Client:
    """A client of a service. Nothing is sent yet.

    Args:
        api_key: The token, `mlk_<scope>_<lookup>_<secret>`.
        base_url: Of the service.
        allow_insecure: Send the token over plain HTTP to another machine, too.

    Raises:
        AuthenticationError: The token is malformed, or would travel unprotected.
    """
    checked(api_key, base_url, allow_insecure)
    return Client(Connection(api_key, base_url))
