"""A server as a process: its folder, what it uses, and that it ends."""

import os
import sys
from pathlib import Path

import httpx
import pytest

from ml_trainer_env.validation.process import ServerProcess

HEALTHY = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(f"{os.getpid()} {os.environ['PLACE']}".encode())
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


ONLY_AT_A_PATH = "self.send_response(200 if self.path.startswith('/game/') else 404)"


@pytest.fixture
def server():
    with ServerProcess([sys.executable, "-c", HEALTHY, "{port}"], {"PLACE": "{folder}/kept"}) as started:
        yield started


def answer_of(server: ServerProcess) -> tuple[int, Path]:
    pid, place = httpx.get(server.base_url, trust_env=False).text.split()
    return int(pid), Path(place)


def test_another_server_has_a_process_and_a_folder_of_its_own(server: ServerProcess) -> None:
    with server.another() as other:
        pid, place = answer_of(server)
        other_pid, other_place = answer_of(other)

    assert pid != other_pid
    assert place.parent != other_place.parent
    assert place.parent.is_dir()
    assert not other_place.parent.exists()


def test_an_environment_at_a_path_is_addressed_there_also_on_another_server() -> None:
    command = [sys.executable, "-c", HEALTHY.replace("self.send_response(200)", ONLY_AT_A_PATH), "{port}"]

    with ServerProcess(command, {"PLACE": ""}, path="/game") as server, server.another() as other:
        urls = [one.base_url for one in (server, other)]

    assert len(set(urls)) == 2
    assert all(url.endswith("/game") for url in urls)


def test_a_server_that_is_stopped_has_ended(server: ServerProcess) -> None:
    pid, place = answer_of(server)

    server.stop()
    server.stop()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not place.parent.exists()


def test_what_a_server_keeps_is_counted(server: ServerProcess) -> None:
    _, place = answer_of(server)
    place.write_bytes(bytes(2 * 2**20))

    assert server.usage()["disk_mb"] == pytest.approx(2.0, abs=0.1)
