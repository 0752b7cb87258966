"""A connection to a service: the token, the URL, and which answer is which error."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import httpx

from ml_trainer_env.arena.client.errors import AuthenticationError, CompetitionNotFoundError, MLArenaError

__all__ = ["Connection", "checked"]

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_TIMEOUT = httpx.Timeout(120.0, connect=10.0)


class Connection:
    """Sends requests.

    Args:
        token: `mlk_<scope>_<lookup>_<secret>`.
        base_url: Of the service.
    """

    def __init__(self, token: str, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self.token = token
        self._http = httpx.Client(timeout=_TIMEOUT, follow_redirects=False)

    def call(
        self,
        name: str,
        method: str,
        path: str,
        error: type[MLArenaError] | None = None,
        ok: Iterable[int] = (200,),
        token: bool = True,
        known: bool = True,
        **content: Any,
    ) -> Any:
        """Send a request.

        Args:
            name: Of the client's method, for errors.
            method: Of HTTP.
            path: Below `/api`.
            error: What another status becomes; None for `httpx.HTTPStatusError`.
            ok: Statuses that mean success.
            token: Whether the token is sent.
            known: Whether 401, 403 and 404 have errors of their own.
            content: `json`, `params`, `data`, `files` or `content`, as httpx has them.

        Returns:
            The answer's JSON.

        Raises:
            AuthenticationError: 401 or 403.
            CompetitionNotFoundError: 404.
            MLArenaError: As `error` says, for another status.
            httpx.HTTPError: The service was not reached; or see `error`.
        """
        headers = {"Authorization": f"Bearer {self.token}", **content.pop("headers", {})} if token else {}
        answer = self._http.request(method, f"{self.base_url}/api{path}", headers=headers, **content)
        if known:
            _raise_known(answer)
        if error is None:
            answer.raise_for_status()
        elif answer.status_code not in ok:
            raise error(f"{name} failed: {_told(answer)}")
        return answer.json()

    def close(self) -> None:
        """Close it."""
        self._http.close()


def checked(token: str, base_url: str, allow_insecure: bool) -> None:
    """Check a token's shape, and that it does not travel unprotected.

    Raises:
        AuthenticationError: One of the two is not so.
    """
    parts = token.split("_", 3)
    if len(parts) != 4 or parts[0] != "mlk" or not all(parts):
        raise AuthenticationError("a token should have the form mlk_<scope>_<lookup>_<secret>")
    url = urlsplit(base_url)
    if url.scheme != "https" and url.hostname not in _LOCAL and not allow_insecure:
        raise AuthenticationError(
            f"a token should not be sent over {url.scheme}: use https, or allow_insecure=True for a server of your own"
        )


def _raise_known(answer: httpx.Response) -> None:
    match answer.status_code:
        case 401:
            raise AuthenticationError("Invalid or missing API credentials.")
        case 403:
            raise AuthenticationError(_told(answer))
        case 404:
            raise CompetitionNotFoundError(_told(answer))


def _told(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.text or f"status {answer.status_code}"
