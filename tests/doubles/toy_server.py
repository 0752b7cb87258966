"""Servers of `tests/games/toy_game.py`, in this process and in one of their own, and a client of their WebSocket."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from served_here import served_here
from websockets.sync.client import connect

from ml_trainer_env.server.datasets import DataSettings
from ml_trainer_env.server.episodes.game import Game, TimeLimits
from ml_trainer_env.server.tuning.game import TuningGame

TOY_FOLDER = Path(__file__).parents[1] / "games"
READY_S = 240.0


class Served:
    """A server of the toy game.

    Args:
        folder: Its state folder.
        port: Its port.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.port = port

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @contextlib.contextmanager
    def session(self, prefix: str = "", /, **options: Any) -> Iterator["Player"]:
        with connect(f"ws://127.0.0.1:{self.port}{prefix}/ws") as socket_:
            player = Player(socket_)
            player.begun = player.ask({"type": "reset", "data": options})["observation"]
            yield player


@contextlib.contextmanager
def toy_games(prefix: str = "") -> Iterator[dict[str, Game]]:
    """The toy game, under its prefix beside the tuning game where it has one. Its module is known in the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOY_FOLDER))
        from toy_game import ToyGame

        beside = {"": TuningGame(DataSettings(None, False), TimeLimits())} if prefix else {}
        yield {**beside, prefix: ToyGame()}


@contextlib.contextmanager
def toy_here(folder: Path, prefix: str = "", **variables: str) -> Iterator[Served]:
    """Serve the toy game in this process until the end of the block, with the tuning game where it has a prefix."""
    with toy_games(prefix) as games, served_here(folder, games, **variables) as (address, _):
        yield Served(folder, int(address.rpartition(":")[2]))


class Server(Served):
    """The toy game served by a process, which can be killed and started again on the same folder."""

    def start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        ours = {name: value for name, value in os.environ.items() if not name.startswith("ML_TRAINER_")}
        settings = {"STATE_DIR": str(self.folder), "WORKERS": "1", "TORCH_THREADS": "1", "DOWNLOAD": "no"}
        ours |= {f"ML_TRAINER_{name}": value for name, value in settings.items()}
        command = [sys.executable, str(TOY_FOLDER / "toy_game.py"), str(self.port)]
        self.process = subprocess.Popen(command, env={**ours, "PYTHONPATH": str(TOY_FOLDER)})
        deadline = time.monotonic() + READY_S
        with httpx.Client(base_url=self.url(), trust_env=False) as http:  # to make one costs as much as many requests
            while time.monotonic() < deadline and self.process.poll() is None:
                with contextlib.suppress(httpx.HTTPError):
                    if http.get("/ready").status_code == 200:
                        return
                time.sleep(0.1)
        self.kill()
        raise TimeoutError("the server is not ready")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Player:
    """A client of the WebSocket."""

    begun: dict[str, Any]

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self._connection.send(json.dumps(message))
        answer = json.loads(self._connection.recv())
        assert answer["type"] != "error", answer
        return answer["data"]

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        action = {"type": "call_tool", "tool_name": tool, "arguments": arguments}
        return self.ask({"type": "step", "data": action})["observation"]

    def reply(self, tool: str, **arguments: Any) -> dict[str, Any]:
        answer = self.call(tool, **arguments)
        assert answer["error"] is None, answer
        return answer["result"]["data"]

    def rpc(self, method: str, **params: Any) -> dict[str, Any]:
        return self.ask({"type": "mcp", "data": {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}})
