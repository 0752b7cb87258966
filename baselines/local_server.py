"""Starts a local environment server on a free port, and stops it at the end of a block.

The server is another process. Its output goes to a file.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from ml_trainer_env.baselines.settings import KEY_NAMES
from ml_trainer_env.errors import MLTrainerError

__all__ = ["ServerUnreachableError", "local_server", "wait_until_healthy"]

START_LIMIT_S = 60.0
STOP_LIMIT_S = 10.0
_SERVER = ("-m", "ml_trainer_env.server.app")


class ServerUnreachableError(MLTrainerError, ConnectionError):
    """No environment server answers. The message is for users."""


@contextmanager
def local_server(
    log_path: Path,
    variables: Mapping[str, str] | None = None,
    command: tuple[str, ...] = _SERVER,
    limit_s: float = START_LIMIT_S,
) -> Iterator[str]:
    """Run a server while the block runs.

    Args:
        log_path: File for the output of the server.
        variables: Environment variables for the server. Variables that are already set have priority.
        command: Arguments of the interpreter before `--host` and `--port`.
        limit_s: Time limit for the start, in seconds.

    Yields:
        The base URL of the server.

    Raises:
        ServerUnreachableError: The server ended, or was not healthy in time. The message contains its last lines.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, "--host", "127.0.0.1", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(variables or {}),
            start_new_session=True,  # Ctrl-C reaches only this process, which then stops the server
        )
    try:
        try:
            wait_until_healthy(url, limit_s, alive=lambda: process.poll() is None)
        except ServerUnreachableError as error:
            raise ServerUnreachableError(
                f"the environment server did not start ({error}); the end of {log_path}:\n{_tail(log_path)}"
            ) from error
        yield url
    finally:
        _end(process)


def wait_until_healthy(
    url: str,
    limit_s: float = START_LIMIT_S,
    *,
    headers: Mapping[str, str] | None = None,
    alive: Callable[[], bool] | None = None,
) -> None:
    """Wait until an OpenEnv server is healthy.

    Args:
        url: Base URL of the server.
        limit_s: Time limit in seconds. A sleeping Space answers 503 until it is awake.
        headers: Headers of the requests.
        alive: Returns whether a server process that does not answer yet is still running. Without it, a refused
            connection is an error at once.

    Raises:
        ServerUnreachableError: The server cannot be reached, is not healthy in time, or is not an OpenEnv server.
    """
    ends_at = time.monotonic() + limit_s
    own = alive is not None
    with httpx.Client(
        headers=dict(headers or {}),
        timeout=10.0,
        follow_redirects=True,
        trust_env=not own,  # a local server needs no proxy
    ) as http:
        while True:
            problem, may_pass = _health_problem(http, url)
            if not problem:
                return
            if alive is not None:
                may_pass = alive()
            if not may_pass or time.monotonic() > ends_at:
                raise ServerUnreachableError(problem)
            time.sleep(0.1)


def _health_problem(http: httpx.Client, url: str) -> tuple[str, bool]:
    """Check the health of a server. Returns the problem ("" if it is healthy), and whether waiting may help."""
    try:
        answer = http.get(f"{url}/health")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return f"no environment answers at {url}: {' '.join(str(error).split()) or type(error).__name__}", False
    status = answer.status_code
    if status >= 500:
        return f"the server at {url} is not healthy: /health says HTTP {status}", True
    if status in (401, 403):
        return f"the server at {url} refused the request (HTTP {status}): it needs another token", False
    if status != 200 or not _is_openenv(answer):
        return f"what answers at {url} is not an OpenEnv server: GET /health says HTTP {status}, and no status", False
    return "", False


def _is_openenv(answer: httpx.Response) -> bool:
    """Whether this is an OpenEnv server's answer to `GET /health`: a JSON object with a status."""
    try:
        body = answer.json()
    except ValueError:
        return False
    return isinstance(body, dict) and "status" in body


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Get the environment for the server. Removes keys and tokens, which a local server does not need."""
    secret = {*KEY_NAMES, "HF_TOKEN", "ML_TRAINER_TOKEN"}
    return {name: value for name, value in {**variables, **os.environ}.items() if name not in secret}


def _tail(path: Path, lines: int = 15) -> str:
    text = path.read_text(encoding="utf-8", errors="replace")
    return "\n".join(text.splitlines()[-lines:]) or "(it is empty)"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminate the server, then kill its process group."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
