"""MCP clients, and a server in this process whose epochs a test lets go one by one.

async def play(served: Served) -> None:
async with served.official() as session:
await session.call_tool("start_task", {})

serve(play)                           # a server of the test's own; epochs take no time
serve(play, held=True)                # each epoch waits for `served.executor.release()`
serve(play, max_sessions=1)           # with other settings
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from epoch_executor import EpochExecutor, EpochJob, EpochResult, HeldOutJob
from fastmcp import Client, FastMCP
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult

from ml_trainer_env.server.app import build_app
from ml_trainer_env.server.datasets import DataSettings
from ml_trainer_env.server.episodes.game import TimeLimits
from ml_trainer_env.server.episodes.registry import EpisodeRegistry
from ml_trainer_env.server.episodes.session import Session
from ml_trainer_env.server.executors.contract import OnWait, wait_quietly
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.mcp.tools import build_mcp_server
from ml_trainer_env.server.operations.metrics import Telemetry
from ml_trainer_env.server.room.curves import CURVES
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.trainer.metrics import EpochMetrics
from ml_trainer_env.server.trainer.state import TrainingState
from ml_trainer_env.server.tuning.game import TuningGame

Progressed = tuple[float, float | None, str | None]

IDENTITY = Identity({"engine": "canned"})
NEVER_S = 60.0
"""How long something may take that must happen. Nothing waits that long unless the test fails."""

BOTH = "application/json, text/event-stream"


@dataclass
class HeldExecutor(EpochExecutor):
    """Keeps the executor contract without training: each epoch ends when the test lets it.

    Attributes:
        losses: Losses by epoch; later epochs improve a little each.
        held: Whether epochs wait for `release`.
        started: Epochs begun.
        finished: Epochs that came to their end.
        stopped: Epochs that were cancelled.
        on_wait: Tells whoever waits for the last epoch begun of its place in the queue.
    """

    losses: Sequence[float] = ()
    held: bool = False
    started: int = 0
    finished: int = 0
    stopped: int = 0
    on_wait: OnWait = wait_quietly
    ready: bool = True
    waiting: int = 0
    busy: int = 0
    worker_deaths: int = 0
    trouble: str | None = None
    _permits: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def start(self) -> None: ...

    async def identity(self) -> Identity:
        return IDENTITY

    async def run_epoch(self, job: EpochJob, timeout_s: float, on_wait: OnWait = wait_quietly) -> EpochResult:
        self.started += 1
        self.on_wait = on_wait
        try:
            if self.held:
                await self._permits.acquire()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        self.finished += 1
        number = job.state.epoch + 1
        loss = self.losses[number - 1] if number <= len(self.losses) else 2.0 / number
        metrics = EpochMetrics(
            train_loss=loss,
            train_accuracy=1.0 - 1.0 / (number + 1),
            val_loss=loss,
            val_accuracy=1.0 - 1.2 / (number + 1),
            learning_rate=job.plan.rate_at(job.state.epoch),
            diverged=not loss <= 100.0,
        )
        start = job.state
        state = TrainingState(start.network, {}, {}, job.config.optimizer, epoch=number, seed=start.seed)
        return EpochResult(state, metrics, 0.25, IDENTITY.key)

    async def held_out_accuracy(self, job: HeldOutJob, timeout_s: float, on_wait: OnWait = wait_quietly) -> float:
        return 0.5

    async def close(self) -> None: ...

    def release(self, epochs: int = 1) -> None:
        """Let so many epochs end."""
        for _ in range(epochs):
            self._permits.release()


@dataclass
class Served:
    """A server in this process.

    Attributes:
        url: Of its MCP endpoint.
        executor: Where its epochs come from.
    """

    url: str
    executor: HeldExecutor

    @asynccontextmanager
    async def official(self, **headers: str) -> AsyncIterator[ClientSession]:
        """A session of the official client."""
        async with official_client(self.url, **headers) as session:
            yield session

    @asynccontextmanager
    async def raw(self) -> AsyncIterator["RawSession"]:
        """A session of plain HTTP, without event stream. It does not end with the block."""
        async with raw_session(self.url) as session:
            yield session

    async def figures(self) -> dict[str, float]:
        """What the server has counted, by name."""
        async with httpx.AsyncClient(trust_env=False) as http:
            text = (await http.get(self.url.replace("/mcp", "/metrics"))).text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    async def sessions(self) -> int:
        """How many MCP sessions there are."""
        return int((await self.figures())["ml_trainer_mcp_sessions"])


@dataclass
class RawSession:
    """MCP by hand.

    Attributes:
        http: To send requests.
        url: Of the endpoint.
        id: The session's id.
    """

    http: httpx.AsyncClient
    url: str
    id: str = ""
    _last: int = 0

    @property
    def headers(self) -> dict[str, str]:
        own = {"mcp-session-id": self.id} if self.id else {}
        return {"Accept": BOTH, **own}

    async def open(self) -> None:
        answer = await self.post(initialize())
        assert answer.status_code == 200, answer.text
        self.id = answer.headers["mcp-session-id"]
        await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def post(self, message: dict[str, Any]) -> httpx.Response:
        return await self.http.post(self.url, json=message, headers=self.headers)

    def request(self, tool: str, arguments: dict[str, Any], **meta: Any) -> dict[str, Any]:
        """A message that calls a tool."""
        self._last += 1
        params = {"name": tool, "arguments": arguments, **({"_meta": meta} if meta else {})}
        return {"jsonrpc": "2.0", "id": self._last, "method": "tools/call", "params": params}

    async def messages(self, tool: str, /, _meta: dict[str, Any] | None = None, **arguments: Any) -> list[Any]:
        """All that comes back for a call, the reply last."""
        return events(await self.post(self.request(tool, arguments, **(_meta or {}))))

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The structured reply to a call that must be accepted."""
        answer = (await self.messages(tool, **arguments))[-1]
        assert not answer["result"].get("isError"), answer
        return answer["result"]["structuredContent"]

    async def delete(self) -> httpx.Response:
        return await self.http.delete(self.url, headers=self.headers)


@asynccontextmanager
async def raw_session(url: str) -> AsyncIterator[RawSession]:
    """A session of plain HTTP with a server."""
    async with httpx.AsyncClient(timeout=NEVER_S, trust_env=False) as http:
        session = RawSession(http, url)
        await session.open()
        yield session


def initialize() -> dict[str, Any]:
    client = {"name": "a test", "version": "1"}
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
    return {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}


def events(response: httpx.Response) -> list[Any]:
    """The messages in an event stream."""
    lines = response.text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


@asynccontextmanager
async def official_client(url: str, **headers: str) -> AsyncIterator[ClientSession]:
    """A session of the official client with a server."""
    timeout = httpx.Timeout(30.0, read=300.0)
    async with (
        httpx.AsyncClient(headers=headers, timeout=timeout, trust_env=False) as http,
        streamable_http_client(url, http_client=http) as (incoming, outgoing, _),
        ClientSession(incoming, outgoing) as session,
    ):
        await session.initialize()
        yield session


@asynccontextmanager
async def _serving(settings: Settings, executor: HeldExecutor) -> AsyncIterator[Served]:
    config = uvicorn.Config(
        build_app(settings, executor), port=0, ws="none", log_config=None, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started or running.done())
        if running.done():
            running.result()
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Served(f"http://127.0.0.1:{port}/mcp", executor)
    finally:
        server.should_exit = True
        await running


async def until(holds: Callable[[], object]) -> None:
    """Wait for something that must happen."""
    async with asyncio.timeout(NEVER_S):
        while not holds():
            await asyncio.sleep(0.01)


async def until_async(holds: Callable[[], Awaitable[object]]) -> None:
    """Wait for something that must happen and has to be asked for."""
    async with asyncio.timeout(NEVER_S):
        while not await holds():
            await asyncio.sleep(0.05)


Serve = Callable[..., None]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Runs a test's coroutine beside a server of its own."""

    def run(
        play: Callable[[Served], Awaitable[None]], *, losses: Sequence[float] = (), held: bool = False, **settings: Any
    ) -> None:
        chosen = Settings.from_environment(
            {"ML_TRAINER_STATE_DIR": str(tmp_path), "ML_TRAINER_DOWNLOAD": "no", "ML_TRAINER_CACHE": "no"}
        )

        async def beside() -> None:
            async with _serving(replace(chosen, **settings), HeldExecutor(losses, held)) as served:
                await play(served)

        asyncio.run(beside())

    return run


@pytest.fixture
def official() -> Any:
    """`official(url)`: a session of the official client."""
    return official_client


@pytest.fixture
def http_session() -> Any:
    """`http_session(url)`: a session of plain HTTP."""
    return raw_session


@pytest.fixture
def fast() -> Callable[[str], Client[Any]]:
    """`fast(url)`: FastMCP's client."""
    return lambda url: Client(url)


@pytest.fixture
def run() -> Callable[[Awaitable[Any]], Any]:
    """Runs a coroutine to its end."""

    async def awaited(work: Awaitable[Any]) -> Any:
        return await work

    return lambda work: asyncio.run(awaited(work))


class Tools:
    """What tests ask of results."""

    until = staticmethod(until)
    until_async = staticmethod(until_async)
    events = staticmethod(events)
    initialize = staticmethod(initialize)

    @staticmethod
    def reply(result: CallToolResult) -> dict[str, Any]:
        """The structured content of a result that must not be an error."""
        assert not result.isError, result.content
        assert result.structuredContent is not None
        return result.structuredContent

    @staticmethod
    def error(result: CallToolResult) -> str:
        """The words of a result that must be an error."""
        assert result.isError, result
        (content,) = result.content
        return content.text


@pytest.fixture
def t() -> type[Tools]:
    """Helpers, by name."""
    return Tools


@pytest.fixture(scope="session")
def mcp_server() -> FastMCP:
    """The MCP server of a session that plays nothing."""
    game = TuningGame(DataSettings(None, False), TimeLimits())
    nothing: Any = None
    registry = EpisodeRegistry(game, source=nothing, journal=nothing, limits=TimeLimits(), telemetry=Telemetry())
    return build_mcp_server(Session(registry, "there is no episode"), CURVES)
