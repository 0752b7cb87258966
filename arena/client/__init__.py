"""The client of a competition service. It has the methods of the official SDK and uses httpx."""

from ml_trainer_env.arena.client.api import Client
from ml_trainer_env.arena.client.connection import Connection, check_token
from ml_trainer_env.arena.client.errors import (
    AuthenticationError,
    CompetitionNotFoundError,
    MLArenaError,
    SubmissionError,
)

__all__ = ["AuthenticationError", "Client", "CompetitionNotFoundError", "MLArenaError", "SubmissionError", "connect"]


def connect(api_key: str, base_url: str = "http://127.0.0.1:5000", *, allow_insecure: bool = False) -> Client:
    """Create a client of a service. Sends no request.

    Args:
        api_key: The token, `mlk_<scope>_<lookup>_<secret>`.
        base_url: URL of the service.
        allow_insecure: Allow sending the token over plain HTTP to another machine.

    Raises:
        AuthenticationError: The token is malformed, or plain HTTP is not allowed for this URL.
    """
    check_token(api_key, base_url, allow_insecure)
    return Client(Connection(api_key, base_url))
