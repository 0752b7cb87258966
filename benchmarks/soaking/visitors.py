"""Clients that come, do something, and leave in every way there is.

A visit is a coroutine. What it may be answered it expects; anything else is noted as unexpected.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from serving.clients import McpSession, Refused, SocketSession, new_http

__all__ = ["Tally", "Visitors"]

KNOWN_EPISODES = 200
"""Episodes left behind that others resume and fork; the oldest are forgotten."""

SEEDS = 400
"""Few enough that some epochs come from the cache."""

MUCH_BUDGET = 60
"""An episode with less is not gone on with for ever: 60 calls that change something end it."""

THINK_S = 0.5
"""Pauses between calls and between visits, at the most."""

Visit = Callable[[], Awaitable[None]]


class UnexpectedError(Exception):
    """An answer that is none of those a visit may get."""


@dataclass
class Tally:
    """What visitors have met.

    Attributes:
        visits: Number of visits by kind.
        outcomes: How they ended, by kind and outcome.
        unexpected: What should not have happened: the first hundred.
        looks: Seconds that `get_training_status` took.
        health: Seconds that /health took.
    """

    visits: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)

    def note(self, kind: str, outcome: str, problem: str = "") -> None:
        """Note how a visit ended."""
        self.visits[kind] += 1
        self.outcomes[kind, outcome] += 1
        if problem and len(self.unexpected) < 100:
            self.unexpected.append(f"{kind}: {problem[:500]}")


class Visitors:
    """A crowd.

    Args:
        url: The server.
        idle_limit_s: After so long without a call the server has ended a session.
        with_mcp: Whether it speaks MCP at /mcp.
        seed: Of the crowd's choices.
    """

    def __init__(self, url: str, idle_limit_s: float, with_mcp: bool, seed: int) -> None:
        self.tally = Tally()
        self._url = url
        self._idle_limit_s = idle_limit_s
        self._random = random.Random(seed)
        self._left: dict[str, int] = {}  # episodes left behind, with the epochs their agents were told of
        self._visits: dict[Visit, int] = {
            self._play: 30,
            self._drop_in_mid_call: 15,
            self._resume: 15,
            self._take_over: 5,
            self._fork: 10,
            self._misbehave: 10,
            self._call_by_json_rpc: 8,
            self._stateless: 4,
            self._hang_up_on_http: 4,
            self._scan: 4,
        }
        if with_mcp:
            self._visits |= {self._play_over_mcp: 20, self._drop_mcp_in_mid_call: 3}

    async def crowd(self, count: int, seconds: float) -> None:
        """Let so many visitors come and go for a while, and some idle ones beside them. All have left on return."""
        ends_at = time.monotonic() + seconds
        kinds, weights = list(self._visits), list(self._visits.values())

        async def come_and_go() -> None:
            while time.monotonic() < ends_at:
                await self._visit(self._random.choices(kinds, weights)[0])
                await self._think()

        async def dawdle(visit: Visit) -> None:
            while time.monotonic() + self._idle_limit_s < ends_at:
                await self._visit(visit)

        async def ask_for_health() -> None:
            async with new_http() as http:

                async def health() -> None:
                    began = time.perf_counter()
                    response = await http.get(f"{self._url}/health")
                    expect(response.status_code == 200, f"/health was answered with {response.status_code}")
                    self.tally.health.append(time.perf_counter() - began)

                while time.monotonic() < ends_at:
                    await self._visit(health)
                    await asyncio.sleep(1.0)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                tasks.create_task(come_and_go())
            for visit in (self._idle, self._idle, self._stop_reading):
                tasks.create_task(dawdle(visit))
            tasks.create_task(ask_for_health())

    async def fill(self, places: int) -> None:
        """Take every place there is at once, see that there is not one more, and leave.

        Raises:
            UnexpectedError: There were fewer places, or more.
        """
        sessions = await asyncio.gather(*(SocketSession.open(self._url) for _ in range(places)))
        try:
            try:
                await asyncio.gather(*(session.reset(task_id="easy_mnist") for session in sessions))
                await asyncio.gather(*(session.call("run_epochs", num_epochs=1) for session in sessions))
                await asyncio.gather(*(session.call("get_training_status") for session in sessions))
            except (Refused, ConnectionError) as error:
                raise UnexpectedError(f"{places} sessions cannot be opened at once: {error}") from error
            one_more = await SocketSession.open(self._url)
            try:
                await one_more.reset()
            except Refused as refusal:
                if refusal.code != "CAPACITY_REACHED":
                    raise
            else:
                raise UnexpectedError(f"there was room for more than {places} sessions")
            finally:
                one_more.abort()
        finally:
            await asyncio.gather(*(session.close() for session in sessions))

    async def _visit(self, visit: Visit) -> None:
        kind = visit.__name__.strip("_")
        try:
            await visit()
        except Refused as refusal:
            no_room = refusal.code == "CAPACITY_REACHED" or "capacity" in str(refusal).lower() or refusal.code == "503"
            outcome = "no room" if no_room else "worker lost" if "workers in a row" in str(refusal) else "unexpected"
            self.tally.note(kind, outcome, str(refusal) if outcome == "unexpected" else "")
        except (UnexpectedError, ConnectionError, TimeoutError, OSError, httpx.HTTPError, KeyError, TypeError) as error:
            self.tally.note(kind, "unexpected", repr(error))
        else:
            self.tally.note(kind, "ok")

    @asynccontextmanager
    async def _session(self, session_id: str | None = None) -> AsyncIterator[SocketSession]:
        """A session over /ws, whose socket is gone at the end, also if the visit goes wrong."""
        session = await SocketSession.open(self._url, session_id)
        try:
            yield session
        finally:
            session.abort()

    # Visits over /ws.

    async def _play(self) -> None:
        async with self._session() as session:
            task = self._random.choices(["easy_mnist", "medium_fashion", "hard_cifar"], [30, 2, 1])[0]
            name = (await session.reset(task_id=task, seed=self._random.randrange(SEEDS)))["episode_id"]
            epochs = await self._run(session, 1 if task != "easy_mnist" else 3)
            for _ in range(self._random.randrange(6)):
                await self._think()
                epochs = await self._random.choice([self._look, self._train_on, self._change, self._checkpoint])(
                    session
                )
            if self._random.random() < 0.5:
                reply = await session.call("submit_model")
                expect(reply["done"] and reply["score"] > 0, f"a submission was answered with {reply}")
            else:
                self._leave_behind(name, epochs)
            await session.close()

    async def _drop_in_mid_call(self) -> None:
        async with self._session() as session:
            name = (await session.reset(task_id="easy_mnist", seed=self._random.randrange(10**6)))["episode_id"]
            epochs = await self._run(session, 1)
            await session.send(*session.tool_message("run_epochs", {"num_epochs": 20}))
            await asyncio.sleep(self._random.random())
            session.abort()
            self._leave_behind(name, epochs)

    async def _resume(self) -> None:
        if (name := self._known()) is None:
            return
        told = self._left.pop(name)
        async with self._session() as session:
            status = (await session.reset(episode_id=name, resume=True))["status"]
            expect(status["current_epoch"] >= told, f"{name} had {told} epochs and came back with {status}")
            epochs = status["current_epoch"]
            if status["remaining_budget"] > MUCH_BUDGET:
                epochs = await self._run(session, 2)
                self._leave_behind(name, epochs)
            if self._random.random() < 0.5:
                session.abort()
            else:
                await session.close()

    async def _take_over(self) -> None:
        first, second = await SocketSession.open(self._url), await SocketSession.open(self._url)
        try:
            name = (await first.reset(task_id="easy_mnist", seed=self._random.randrange(10**6)))["episode_id"]
            await first.send(*first.tool_message("run_epochs", {"num_epochs": 20}))
            await asyncio.sleep(self._random.random() / 4)
            await second.reset(episode_id=name, resume=True)
            await self._run(second, 1)
            await refused_or(first.receive())  # it was stopped, or had been quicker
            await must_refuse(first.call("run_epochs", num_epochs=1), "does not play the episode")
        finally:
            first.abort()
            await second.close()

    async def _fork(self) -> None:
        if (name := self._known()) is None:
            return
        place = self._random.randrange(self._left[name]) + 1
        async with self._session() as session:
            status = (await session.reset(fork_from=f"{name}@{place}"))["status"]
            expect(status["current_epoch"] == place, f"a fork at epoch {place} began with {status}")
            await self._run(session, 1)
            await session.close()

    async def _misbehave(self) -> None:
        async with self._session() as session:
            await must_refuse(session.call("run_epochs", num_epochs=1), "call reset first")
            await must_refuse(session.reset(task_id="no such task"), "no such task")
            await must_refuse(session.reset(episode_id="no such episode", resume=True), "no such episode")
            await session.reset()
            for tool, arguments in (
                ("run_epochs", {"num_epochs": 0}),
                ("run_epochs", {"number": 3}),
                ("configure_training", {"learning_rate": -1, "optimizer": "lion"}),
                (f"no_such_tool_{self._random.randrange(10**9)}", {}),
                ("restore_checkpoint", {"name": "x" * self._random.randrange(10_000)}),
                ("submit_model", {}),
            ):
                await must_refuse(session.call(tool, **arguments))
            await must_refuse(session.ask("no such kind"))
            await session.send_raw("{" * self._random.randrange(1, 1000))
            await must_refuse(session.receive())
            session.abort()

    async def _idle(self) -> None:
        async with self._session() as session:
            name = (await session.reset(task_id="easy_mnist", seed=self._random.randrange(10**6)))["episode_id"]
            epochs = await self._run(session, 1)
            await asyncio.sleep(self._idle_limit_s)
            await must_refuse(session.call("run_epochs", num_epochs=1))
            session.abort()
            self._leave_behind(name, epochs)

    async def _stop_reading(self) -> None:
        """A client that hangs: it answers no ping, and its half of the connection stays open."""
        async with self._session() as session:
            await session.reset(task_id="easy_mnist", seed=self._random.randrange(10**6))
            await session.send(*session.tool_message("run_epochs", {"num_epochs": 5}))
            session.socket.transport.pause_reading()
            await asyncio.sleep(self._idle_limit_s)
            session.abort()

    # Visits over HTTP.

    async def _call_by_json_rpc(self) -> None:
        async with new_http() as http:
            session_id = (await json_rpc(http, self._url, "openenv/session/create"))["session_id"]
            async with self._session(session_id) as session:
                await session.reset(task_id="easy_mnist", seed=self._random.randrange(SEEDS))
                arguments = {"session_id": session_id, "name": "run_epochs", "arguments": {"num_epochs": 1}}
                await json_rpc(http, self._url, "tools/call", **arguments)
                await session.close()
            if self._random.random() < 0.9:  # the others are left until the server ends them
                await json_rpc(http, self._url, "openenv/session/close", session_id=session_id)

    async def _stateless(self) -> None:
        async with new_http() as http:
            call = {"action": {"type": "call_tool", "tool_name": "get_training_status", "arguments": {}}}
            for method, path, body in (
                ("POST", "/reset", {"task_id": "easy_mnist"}),
                ("POST", "/step", call),
                ("GET", "/state", None),
                ("GET", "/metadata", None),
                ("GET", "/schema", None),
                ("POST", "/ml_trainer_env/tasks", {"split": "train"}),
            ):
                response = await http.request(method, f"{self._url}{path}", json=body)
                expect(response.status_code == 200, f"{path} was answered with {response.status_code}")
            response = await http.post(f"{self._url}/reset", json={"task_id": "no such task"})
            expect(response.status_code == 422, f"/reset was answered with {response.status_code}")

    async def _hang_up_on_http(self) -> None:
        async with new_http() as http:
            session_id = (await json_rpc(http, self._url, "openenv/session/create"))["session_id"]
            async with self._session(session_id) as session:
                await session.reset(task_id="easy_mnist", seed=self._random.randrange(10**6))
                await session.close()
            arguments = {"session_id": session_id, "name": "run_epochs", "arguments": {"num_epochs": 20}}
            with suppress(TimeoutError):
                async with asyncio.timeout(self._random.random() / 2):
                    await json_rpc(http, self._url, "tools/call", **arguments)
            await json_rpc(http, self._url, "openenv/session/close", session_id=session_id)

    async def _scan(self) -> None:
        """What finds an open port: half a request, and a connection that says nothing."""
        address = urlsplit(self._url)
        for start in (b"", b"GET /metrics HTTP/1.1\r\nHost: loc", b"\x16\x03\x01" + bytes(50)):
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(start)
            await self._think()
            writer.transport.abort()

    # Visits over MCP.

    async def _play_over_mcp(self) -> None:
        async with new_http() as http:
            session = await McpSession.open(self._url, http)
            async with session.listening():
                await session.ask("tools/list", {})
                await session.call("start_task", task_id="easy_mnist", seed=self._random.randrange(SEEDS))
                await must_refuse(session.call("run_epochs", num_epochs=99))
                await session.call("run_epochs", progress=True, num_epochs=2)
                await self._think()
                reply = await session.call("get_training_status")
                expect(reply["current_epoch"] == 2, f"after two epochs MCP tells {reply}")
            await session.close()

    async def _drop_mcp_in_mid_call(self) -> None:
        """It leaves without ending its session: the server ends it some time."""
        async with new_http() as http:
            session = await McpSession.open(self._url, http)
            await session.call("start_task", task_id="easy_mnist", seed=self._random.randrange(10**6))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._random.random() / 2):
                    await session.call("run_epochs", progress=True, num_epochs=20)

    # Calls. Each returns the epochs that the episode has.

    async def _run(self, session: SocketSession, most: int) -> int:
        reply = await session.call("run_epochs", num_epochs=self._random.randint(1, most))
        return int(reply["current_epoch"])

    async def _train_on(self, session: SocketSession) -> int:
        return await self._run(session, 1)

    async def _look(self, session: SocketSession) -> int:
        began = time.perf_counter()
        reply = await session.call("get_training_status")
        self.tally.looks.append(time.perf_counter() - began)
        return int(reply["current_epoch"])

    async def _change(self, session: SocketSession) -> int:
        await session.call("configure_training", optimizer="sgd", learning_rate=0.01, batch_size=128)
        reply = await session.call("toggle_augmentation", enabled=self._random.random() < 0.5)
        return int(reply["current_epoch"])

    async def _checkpoint(self, session: SocketSession) -> int:
        await session.call("save_checkpoint", name=f"c{self._random.randrange(3)}")
        await must_refuse(session.call("restore_checkpoint", name="none"))
        reply = await session.call("list_checkpoints")
        return int(reply["current_epoch"])

    # The rest.

    def _leave_behind(self, name: str, epochs: int) -> None:
        self._left[name] = epochs
        while len(self._left) > KNOWN_EPISODES:
            del self._left[next(iter(self._left))]

    def _known(self) -> str | None:
        return self._random.choice(list(self._left)) if self._left else None

    async def _think(self) -> None:
        await asyncio.sleep(self._random.random() * THINK_S)


def expect(holds: bool, problem: str) -> None:
    """Raise UnexpectedError unless something holds."""
    if not holds:
        raise UnexpectedError(problem)


async def must_refuse(call: Awaitable[Any], words: str = "") -> None:
    """Wait for a refusal that holds these words."""
    try:
        reply = await call
    except Refused as refusal:
        if refusal.code == "CAPACITY_REACHED":
            raise
        expect(words in str(refusal), f"the refusal {refusal} does not say {words!r}")
    else:
        raise UnexpectedError(f"what should be refused was answered with {str(reply)[:300]}")


async def refused_or(call: Awaitable[Any]) -> None:
    """Wait for an answer, whichever it is."""
    with suppress(Refused):
        await call


async def json_rpc(http: httpx.AsyncClient, url: str, method: str, **params: Any) -> Any:
    """Call OpenEnv's JSON-RPC."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    response = await http.post(f"{url}/mcp", json=message)
    if response.status_code != 200:
        raise Refused(f"{method} was answered with {response.status_code}", str(response.status_code))
    answer = response.json()
    if answer.get("error"):
        raise Refused(answer["error"]["message"])
    return answer["result"]
