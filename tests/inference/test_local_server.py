"""A server of one's own is started, waited for and ended, whatever happens in between."""

import os
import signal
import subprocess
import sys
import textwrap

import httpx
import pytest

from ml_trainer_env.baselines.local_server import ServerUnreachableError, local_server, wait_until_healthy

HEALTHY = """
    import argparse, http.server, os, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()
            told = '{"status": "healthy"}' if self.path == "/health" else repr(sorted(os.environ.items()))
            self.wfile.write(told.encode())
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    given = parser.parse_args()
    print("listening", flush=True)
    http.server.HTTPServer((given.host, given.port), Handler).serve_forever()
"""


@pytest.fixture
def command(tmp_path):
    def write(source):
        path = tmp_path / "server.py"
        path.write_text(textwrap.dedent(source))
        return (str(path),)

    return write


def is_gone(url):
    try:
        httpx.get(f"{url}/health", trust_env=False)
    except httpx.ConnectError:
        return True
    return False


def test_it_answers_while_the_block_runs_and_not_after(tmp_path, command):
    with local_server(tmp_path / "log", command=command(HEALTHY)) as url:
        assert httpx.get(f"{url}/health", trust_env=False).status_code == 200

    assert is_gone(url)


def test_it_is_ended_when_the_block_fails(tmp_path, command):
    with pytest.raises(KeyboardInterrupt), local_server(tmp_path / "log", command=command(HEALTHY)) as url:
        raise KeyboardInterrupt

    assert is_gone(url)


def test_one_that_ignores_a_request_to_end_is_killed(tmp_path, command, monkeypatch):
    monkeypatch.setattr("ml_trainer_env.baselines.local_server.STOP_LIMIT_S", 0.2)
    deaf = "    import signal\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HEALTHY.lstrip("\n")

    with local_server(tmp_path / "log", command=command(deaf)) as url:
        pass

    assert is_gone(url)


def test_its_output_goes_to_the_log(tmp_path, command):
    with local_server(tmp_path / "logs" / "server.log", command=command(HEALTHY)):
        pass

    assert "listening" in (tmp_path / "logs" / "server.log").read_text()


def test_one_that_dies_is_reported_with_its_last_words(tmp_path, command):
    dead = command("raise SystemExit('no such port in this town')")

    with (
        pytest.raises(ServerUnreachableError, match="no such port in this town"),
        local_server(tmp_path / "log", command=dead),
    ):
        pytest.fail("it must not begin")


def test_one_that_never_answers_is_given_up(tmp_path, command):
    silent = command("import time; time.sleep(60)")

    with pytest.raises(ServerUnreachableError), local_server(tmp_path / "log", command=silent, limit_s=0.3):
        pytest.fail("it must not begin")


def test_it_gets_the_lines_meant_for_it_and_no_keys(tmp_path, command, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("ML_TRAINER_A", "from-environment")
    lines = {"ML_TRAINER_A": "from-file", "ML_TRAINER_B": "from-file"}

    with local_server(tmp_path / "log", lines, command=command(HEALTHY)) as url:
        seen = httpx.get(f"{url}/env", trust_env=False).text

    assert "sk-secret" not in seen
    assert "('ML_TRAINER_A', 'from-environment')" in seen
    assert "('ML_TRAINER_B', 'from-file')" in seen


def test_a_server_that_is_not_there_is_reported_at_once():
    with pytest.raises(ServerUnreachableError, match="no environment answers at"):
        wait_until_healthy("http://127.0.0.1:9", limit_s=3600)


def test_a_terminated_run_ends_its_server(tmp_path, command):
    """What inference.py does on SIGTERM, in a process of its own."""
    (script,) = command(HEALTHY)
    runner = textwrap.dedent(f"""
        import signal, sys, time
        from pathlib import Path
        from ml_trainer_env.baselines.local_server import local_server
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
        with local_server(Path({str(tmp_path / "log")!r}), command=({script!r},)) as url:
            print(url, flush=True)
            time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", runner], stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        os.kill(process.pid, signal.SIGTERM)
        process.wait(30)

    assert process.returncode == 143
    assert is_gone(url)
