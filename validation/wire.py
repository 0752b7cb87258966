"""OpenEnv's public interfaces, seen from outside: sessions on `/ws`, and the task API.

Messages are kept as they came: no model of OpenEnv fills in a default.
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

__all__ = ["Answer", "Session", "TaskApi", "WireError"]

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
OPEN_LIMIT_S = 30.0


class WireError(ConnectionError):
    """The environment did not answer, or not with a message of OpenEnv's protocol."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a reset or a step.

    Attributes:
        observation: What the agent sees.
        reward: The reward. None if there is none.
        done: Whether the episode has ended.
        error: Why the call was refused or failed. None if it succeeded.
    """

    observation: Mapping[str, Any]
    reward: float | None
    done: bool
    error: str | None = None


class Session:
    """One session on `/ws`. Use it as a context manager.

    Args:
        base_url: The environment's URL, with http or https.
        headers: Headers of the handshake, such as a token.
        limit_s: Seconds to wait for each answer.

    Raises (each method):
        WireError: The connection failed, or the answer is none of OpenEnv's.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str] | None = None, limit_s: float = 3600.0) -> None:
        self._limit_s = limit_s
        self._headers = dict(headers or {})
        parts = urlsplit(base_url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        self._url = urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/ws", "", ""))
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        """Open the session."""
        try:
            self._socket = self._opened.enter_context(
                connect(
                    self._url,
                    proxy=None,
                    additional_headers=self._headers,
                    open_timeout=OPEN_LIMIT_S,
                    max_size=MAX_MESSAGE_BYTES,
                    ping_interval=None,  # an environment that works for minutes may not answer pings
                )
            )
        except (OSError, WebSocketException) as error:
            raise WireError(f"no session with the environment: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        """End the session."""
        with suppress(OSError, WebSocketException):  # the environment may have closed it already
            self._socket.send(json.dumps({"type": "close"}))
        self._opened.close()

    def reset(self, options: Mapping[str, Any]) -> Answer:
        """Begin an episode."""
        return self._answer("reset", options)

    def step(self, action: Mapping[str, Any]) -> Answer:
        """Carry out an action."""
        return self._answer("step", action)

    def state(self) -> dict[str, Any]:
        """Return the state."""
        reply = self._exchange({"type": "state"})
        if reply.get("type") != "state":
            raise WireError(f"expected a state, got {str(reply)[:200]}")
        return dict(reply["data"])

    def tools(self) -> list[dict[str, Any]]:
        """List the tools, with their schemas."""
        answer = self.step({"type": "list_tools"})
        tools = answer.observation.get("tools")
        if not isinstance(tools, list):
            raise WireError(f"expected a list of tools, got {answer.error or sorted(answer.observation)}")
        return tools

    def _answer(self, kind: str, data: Mapping[str, Any]) -> Answer:
        reply = self._exchange({"type": kind, "data": dict(data)})
        body = reply["data"]
        if reply.get("type") == "error":
            return Answer({}, None, False, str(body.get("message") or "no reason given"))
        observation = body.get("observation")
        if reply.get("type") != "observation" or not isinstance(observation, dict):
            raise WireError(f"expected an observation, got {str(reply)[:200]}")
        reward = body.get("reward")
        refusal = observation.get("error")
        return Answer(
            observation,
            float(reward) if isinstance(reward, int | float) and not isinstance(reward, bool) else None,
            body.get("done") is True,
            None if refusal is None else str(refusal.get("message") if isinstance(refusal, dict) else refusal),
        )

    def _exchange(self, message: Mapping[str, Any]) -> dict[str, Any]:
        try:
            self._socket.send(json.dumps(message, allow_nan=False))
            reply = json.loads(self._socket.recv(timeout=self._limit_s))
        except (OSError, ValueError, WebSocketException) as error:
            raise WireError(f"no answer to {message['type']}: {type(error).__name__} {error}") from error
        if not isinstance(reply, dict) or not isinstance(reply.get("data"), dict):
            raise WireError(f"expected an object with `data`, got {str(reply)[:200]}")
        return reply


class TaskApi:
    """The task API of an environment.

    Args:
        base_url: The environment's URL.
        name: The environment's name in the paths.
        headers: Headers of each request.
    """

    def __init__(self, base_url: str, name: str, headers: Mapping[str, str] | None = None) -> None:
        self._root = f"{base_url.rstrip('/')}/{name}"
        self._headers = dict(headers or {})

    def splits(self) -> list[str]:
        """Return the names of the splits."""
        return [str(split["name"]) for split in self._call("GET", "splits")]

    def count(self, split: str) -> int:
        """Return the number of tasks of a split."""
        return int(self._call("POST", "num_tasks", {"split": split})["num_tasks"])

    def task(self, split: str, index: int) -> dict[str, Any] | None:
        """Return a task. None if the environment refuses the index."""
        response = self._send("POST", "task", {"split": split, "index": index})
        if 400 <= response.status_code < 500:
            return None
        return dict(self._body(response)["task"])

    def tasks(self, split: str, start: int, stop: int) -> list[dict[str, Any]]:
        """Return the tasks from `start` up to `stop`, without `stop`."""
        return list(self._call("POST", "task_range", {"split": split, "start": start, "stop": stop})["tasks"])

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._body(self._send(method, path, body))

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        try:
            with httpx.Client(trust_env=False, timeout=60.0, headers=self._headers) as http:
                return http.request(method, f"{self._root}/{path}", json=body)
        except httpx.HTTPError as error:
            raise WireError(f"the task API does not answer: {error}") from error

    def _body(self, response: httpx.Response) -> Any:
        if response.status_code != 200:
            raise WireError(f"{response.url.path} answered with status {response.status_code}")
        return response.json()
