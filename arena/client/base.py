"""What all methods of the client share: the connection, and how a route is called."""

from collections.abc import Sequence
from typing import Any, Self

from ml_trainer_env.arena.client.connection import Connection
from ml_trainer_env.arena.client.errors import MLArenaError, SubmissionError

__all__ = ["CREATED", "QUEUED", "ClientBase", "Json", "without_none"]

CREATED = (200, 201)
QUEUED = (200, 201, 202)

Json = dict[str, Any]


class ClientBase:
    """A connection, and the last submission that was made on it. A context manager that closes the connection.

    Args:
        connection: Connection to the service.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._last_agent: int | None = None
        self._last_competition: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        shown = "_".join(self._connection.token.split("_", 3)[:3])
        return f"Client(base_url={self._connection.base_url!r}, token='{shown}_...')"

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _call_creator_route(
        self, name: str, method: str, cid: int, below: str, ok: Sequence[int] = (200,), **content: Any
    ) -> Json:
        path = f"/creator_competition/competition/{cid}{below}"
        return self._call_json(name, method, path, MLArenaError, ok, **content)

    def _call_agent_route(
        self, name: str, method: str, cid: int, aid: int, below: str, ok: Sequence[int] = (200,), **content: Any
    ) -> Json:
        path = f"/direct_attache_agents/competition/{cid}/{aid}{below}"
        return self._call_json(name, method, path, SubmissionError, ok, **content)

    def _call_json(
        self,
        name: str,
        method: str,
        path: str,
        error: type[MLArenaError] | None = None,
        ok: Sequence[int] = (200,),
        **content: Any,
    ) -> Json:
        found: Json = self._connection.call(name, method, path, error, ok, **content)
        return found


def without_none(**fields: Any) -> Json:
    """The fields whose value is not None."""
    return {name: value for name, value in fields.items() if value is not None}
