"""The server's token: sent to the server at `ENV_URL` on every way, and to nobody else, redirected or not."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from served_here import served_here

from ml_trainer_env.baselines.local_server import ServerUnreachableError, wait_until_healthy
from ml_trainer_env.client import EnvConnectionError, MLTrainerEnv
from ml_trainer_env.inference import main

TOKEN = "a-secret-of-the-environment"
NO_KEYS = ("OPENAI_API_KEY", "OPENROUTER_API_KEY", "GEMINI_API_KEY", "HF_TOKEN", "API_BASE_URL")


class Stranger:
    """An HTTP server that keeps the `Authorization` of each request, and redirects to another one if it is given."""

    def __init__(self, onward: str = "", health: str = '{"status": "healthy"}') -> None:
        self.seen: list[tuple[str, str | None]] = []
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stranger.seen.append((self.path, self.headers.get("authorization")))
                self.send_response(307 if onward else 200)
                if onward:
                    self.send_header("location", f"{onward}{self.path}")
                self.send_header("content-length", str(len(health)))
                self.end_headers()
                self.wfile.write(health.encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def stranger():
    opened = []

    def open_(*arguments, **options):
        opened.append(Stranger(*arguments, **options))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


@pytest.fixture
def run_here(tmp_path, monkeypatch, capsys):
    def run(*arguments, **variables):
        monkeypatch.chdir(tmp_path)
        for name in [*NO_KEYS, *(name for name in os.environ if name.startswith("ML_TRAINER_"))]:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        code = main(arguments)
        return code, capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def guarded_server(tmp_path_factory):
    with served_here(tmp_path_factory.mktemp("guarded"), TOKEN=TOKEN) as (address, _):
        yield f"http://{address}"


def test_a_run_against_a_server_with_a_token_ends_with_a_report_without_it(run_here, guarded_server, tmp_path):
    arguments = ("--agent", "random", "--tasks", "easy_mnist", "--seed", "2")

    code, said = run_here(*arguments, ENV_URL=guarded_server, ML_TRAINER_TOKEN=TOKEN)

    assert code == 0, said.err
    (results,) = (tmp_path / "outputs" / "evals").glob("*/results.json")
    assert json.loads(results.read_text())["played_to_end"] == 1
    assert "mean score 0." in said.out
    assert not [path for path in Path(tmp_path).rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


def test_without_the_token_the_run_ends_in_one_line_that_says_so(run_here, guarded_server):
    code, said = run_here("--agent", "random", "--tasks", "easy_mnist", ENV_URL=guarded_server)

    assert code == 5
    assert len(said.err.strip().splitlines()) == 1
    assert "HTTP 401" in said.err


def test_a_redirect_of_the_health_check_does_not_take_the_token_along(stranger):
    other = stranger()
    first = stranger(other.url)

    wait_until_healthy(first.url, headers={"Authorization": f"Bearer {TOKEN}"})

    assert first.seen == [("/health", f"Bearer {TOKEN}")]
    assert other.seen == [("/health", None)]


def test_a_redirect_of_the_socket_does_not_take_the_token_along(stranger):
    other = stranger()
    first = stranger(other.url.replace("http:", "ws:"))

    env = MLTrainerEnv(base_url=first.url, headers={"Authorization": f"Bearer {TOKEN}"})
    with pytest.raises(EnvConnectionError), env:
        pytest.fail("nobody there speaks WebSocket")

    assert first.seen == [("/ws", f"Bearer {TOKEN}")]
    assert all(sent is None for _, sent in other.seen), "a library may follow the redirect, without the token"


@pytest.mark.parametrize("health", ["<html>welcome</html>", '"fine"', "[]", '{"ok": true}', ""])
def test_a_server_that_is_not_of_openenv_is_named_so(stranger, run_here, health):
    code, said = run_here("--agent", "random", ENV_URL=stranger(health=health).url)

    assert code == 5
    assert len(said.err.strip().splitlines()) == 1
    assert "is not an OpenEnv server" in said.err


def test_a_health_check_that_wants_a_token_says_so(start_gate):
    with pytest.raises(ServerUnreachableError, match=r"HTTP 401.*token"):
        wait_until_healthy(start_gate)


@pytest.fixture
def start_gate():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    http.server_close()
    thread.join()
