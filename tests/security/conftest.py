"""Applications in the security middleware, called in this process from any address, and real servers."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from ml_trainer_env.server.security import Access, security_middleware

HERE = ("127.0.0.1", 8000)


@dataclass
class Inside:
    """An application that notes who came in."""

    seen: list[str] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope["path"])
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 1000})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"in"})


@dataclass
class SecuredApp:
    """An application in the security middleware."""

    access: Access
    inside: Inside = field(default_factory=Inside)

    def ask(
        self,
        path: str = "/state",
        *,
        server: tuple[str, int | None] | None = HERE,
        host: str | None = "localhost:8000",
        headers: dict[str, str] | None = None,
        method: str = "GET",
        websocket: bool = False,
        extensions: dict[str, Any] | None = None,
        body: bytes = b"",
        scheme: str = "http",
    ) -> "Answer":
        """Sends a request over a connection that ends on an address of this machine."""
        named = {} if host is None else {"host": host}
        scope = {
            "type": "websocket" if websocket else "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": scheme,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in {**named, **(headers or {})}.items()
            ],
            "server": server,
            "client": ("198.51.100.1", 50_000),
            "extensions": {"websocket.http.response": {}} if extensions is None else extensions,
        }
        first = {"type": "websocket.connect"} if websocket else {"type": "http.request", "body": body}
        return asyncio.run(_call(security_middleware(self.inside, self.access), scope, [first]))


@dataclass
class Answer:
    """The messages of a response."""

    messages: list[dict[str, Any]]

    @property
    def status(self) -> int:
        """The status; 101 for a socket that was accepted, 403 for one that was closed before."""
        first = self.messages[0]
        if first["type"] in {"websocket.accept", "websocket.close"}:
            return 101 if first["type"] == "websocket.accept" else 403
        return int(first["status"])

    @property
    def headers(self) -> httpx.Headers:
        return httpx.Headers(self.messages[0].get("headers", []))

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.messages).decode()

    @property
    def detail(self) -> str:
        return str(json.loads(self.text)["detail"])


async def _call(app: Any, scope: dict[str, Any], received: list[dict[str, Any]]) -> Answer:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return received.pop(0) if received else await asyncio.Event().wait()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await asyncio.wait_for(app(scope, receive, send), 30.0)
    assert asyncio.all_tasks() == {asyncio.current_task()}, "the middleware left a task running"
    return Answer(sent)


@pytest.fixture
def secured() -> Callable[..., SecuredApp]:
    """Applications in the middleware, by access policy."""
    return lambda *rules, **more: SecuredApp(Access.of(*rules, **more))


@pytest.fixture
def http(live_server: str) -> Iterator[httpx.Client]:
    """Plain HTTP to a server with default settings."""
    with httpx.Client(base_url=live_server, timeout=60.0, trust_env=False) as client:
        yield client
