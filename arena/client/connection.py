"""A connection to a service. Holds the token and the URL, and maps HTTP statuses to errors."""

from collections.abc import Iterable
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import httpx

from ml_trainer_env.arena.client.errors import AuthenticationError, CompetitionNotFoundError, MLArenaError

__all__ = ["Connection", "check_token"]

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_TIMEOUT = httpx.Timeout(120.0, connect=10.0)


class Connection:
    """Sends requests to a service.

    Args:
        token: `mlk_<scope>_<lookup>_<secret>`.
        base_url: URL of the service.
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
            name: Name of the client's method, used in error messages.
            method: HTTP method.
            path: Path below `/api`.
            error: Error class for a status that is not in `ok`. None means `httpx.HTTPStatusError`.
            ok: Statuses that mean success.
            token: Whether to send the token.
            known: Whether 401, 403 and 404 raise their own error classes.
            content: Arguments for httpx: `json`, `params`, `data`, `files` or `content`.

        Returns:
            The JSON of the response.

        Raises:
            AuthenticationError: The status is 401 or 403.
            CompetitionNotFoundError: The status is 404.
            MLArenaError: Another status is not in `ok`. The class is `error`.
            httpx.HTTPError: The service cannot be reached, or `error` is None and the status is an error.
        """
        headers = {"Authorization": f"Bearer {self.token}", **content.pop("headers", {})} if token else {}
        answer = self._http.request(method, f"{self.base_url}/api{path}", headers=headers, **content)
        if known:
            _raise_known(answer)
        if error is None:
            answer.raise_for_status()
        elif answer.status_code not in ok:
            raise error(f"{name} failed: {_error_message(answer)}")
        return answer.json()

    def download(self, name: str, path: str, file: BinaryIO, error: type[MLArenaError]) -> None:
        """Write the body of a response to a file, part by part.

        Args:
            name: Name of the client's method, used in error messages.
            path: Path below `/api`.
            file: The file, open for writing.
            error: Error class for a status other than 200.

        Raises:
            AuthenticationError: The status is 401 or 403.
            CompetitionNotFoundError: The status is 404.
            MLArenaError: Another status is not 200. The class is `error`.
            httpx.HTTPError: The service cannot be reached.
        """
        headers = {"Authorization": f"Bearer {self.token}"}
        with self._http.stream("GET", f"{self.base_url}/api{path}", headers=headers) as answer:
            if answer.status_code != 200:
                answer.read()
                _raise_known(answer)
                raise error(f"{name} failed: {_error_message(answer)}")
            for part in answer.iter_bytes():
                file.write(part)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def check_token(token: str, base_url: str, allow_insecure: bool) -> None:
    """Check the form of a token, and that it is not sent over plain HTTP to another machine.

    Raises:
        AuthenticationError: A check failed.
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
            raise AuthenticationError(_error_message(answer))
        case 404:
            raise CompetitionNotFoundError(_error_message(answer))


def _error_message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.text or f"status {answer.status_code}"
