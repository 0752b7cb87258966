"""Light clients, so that hundreds fit into one process and can leave in any way: over /ws, and over MCP."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

__all__ = ["McpSession", "Refused", "SocketSession", "new_http"]

ANSWER_LIMIT_S = 120.0


class Refused(Exception):  # noqa: N818 - an answer, and often the one that is wanted
    """The server said no.

    Attributes:
        code: OpenEnv's word for it, "" for a tool's refusal.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class SocketSession:
    """A session over /ws. All methods raise ConnectionError if the server has closed it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    @classmethod
    async def open(cls, url: str, session_id: str | None = None) -> Self:
        """Connect, to a session of its own or to one that there is."""
        query = f"?session_id={session_id}" if session_id else ""
        # With the options of OpenEnv's client, compression and keepalive included.
        return cls(await connect(f"{url.replace('http', 'ws', 1)}/ws{query}", open_timeout=60.0, max_size=2**26))

    async def ask(self, kind: str, data: dict[str, Any] | None = None) -> Any:
        """Send a message and wait for its answer.

        Raises:
            Refused: The answer is an error.
        """
        await self.send(kind, data)
        return await self.receive()

    async def send(self, kind: str, data: dict[str, Any] | None = None) -> None:
        """Send a message."""
        await self.send_raw(json.dumps({"type": kind, "data": data or {}}))

    async def send_raw(self, text: str) -> None:
        """Send what may be no message at all."""
        try:
            await self.socket.send(text)
        except WebSocketException:
            return  # a server that refuses a session says why, and closes: the reason is still to be read

    async def receive(self) -> Any:
        """Wait for an answer."""
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                answer = json.loads(await self.socket.recv())
        except WebSocketException as error:
            raise ConnectionError(str(error)) from error
        if answer["type"] == "error":
            raise Refused(answer["data"]["message"], answer["data"].get("code", ""))
        return answer["data"]

    async def reset(self, **options: Any) -> Any:
        """Begin an episode. Returns the observation."""
        return (await self.ask("reset", options))["observation"]

    async def call(self, tool: str, **arguments: Any) -> Any:
        """Call a tool. Returns its reply."""
        return tool_reply(await self.ask(*self.tool_message(tool, arguments)))

    @staticmethod
    def tool_message(tool: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Kind and data of the message that calls a tool."""
        return "step", {"type": "call_tool", "tool_name": tool, "arguments": arguments}

    async def close(self) -> None:
        """Leave as one should."""
        await self.send("close")
        await self.socket.close()

    def abort(self) -> None:
        """Leave without a word."""
        self.socket.transport.abort()


def tool_reply(data: Any) -> Any:
    """The reply of a tool within an observation."""
    observation = data["observation"]
    if observation["error"] is not None:
        raise Refused(observation["error"]["message"])
    return observation["result"]["data"]


class McpSession:
    """A session over Streamable HTTP at /mcp. One call at a time."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self._url = f"{url}/mcp"
        self._http = http
        self._numbers = itertools.count(1)
        self._headers = {"accept": "application/json, text/event-stream"}

    @classmethod
    async def open(cls, url: str, http: httpx.AsyncClient) -> Self:
        """Begin a session.

        Raises:
            Refused: The server does not speak MCP, or has no room.
        """
        session = cls(url, http)
        client = {"name": "soak", "version": "1"}
        options = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
        await session.ask("initialize", options)
        session._headers["mcp-protocol-version"] = "2025-06-18"
        await session.notify("notifications/initialized")
        return session

    async def call(self, tool: str, progress: bool = False, **arguments: Any) -> Any:
        """Call a tool. Returns its reply."""
        params: dict[str, Any] = {"name": tool, "arguments": arguments}
        if progress:
            params["_meta"] = {"progressToken": next(self._numbers)}
        result = await self.ask("tools/call", params)
        if result.get("isError"):
            raise Refused(" ".join(part.get("text", "") for part in result["content"]))
        return result.get("structuredContent")

    async def ask(self, method: str, params: dict[str, Any]) -> Any:
        """Send a request and wait for its answer."""
        number = next(self._numbers)
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        async with self._http.stream("POST", self._url, json=message, headers=self._headers) as response:
            if response.status_code != 200:
                raise Refused(f"{response.status_code}: {(await response.aread())[:300]!r}", str(response.status_code))
            if "mcp-session-id" in response.headers:
                self._headers["mcp-session-id"] = response.headers["mcp-session-id"]
            async for answer in _messages(response):
                if answer.get("id") == number:
                    if "error" in answer:
                        raise Refused(answer["error"]["message"], str(answer["error"]["code"]))
                    return answer["result"]
        raise ConnectionError("the answer ended too soon")

    async def notify(self, method: str) -> None:
        """Send a message that has no answer."""
        message = {"jsonrpc": "2.0", "method": method}
        await self._http.post(self._url, json=message, headers=self._headers)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hold the stream of the server's own messages open, as SDKs do."""
        async with self._http.stream("GET", self._url, headers=self._headers):
            yield

    async def close(self) -> None:
        """Leave as one should."""
        await self._http.delete(self._url, headers=self._headers)


async def _messages(response: httpx.Response) -> AsyncIterator[Any]:
    """The messages of an answer, be it a stream of events or one document."""
    if response.headers["content-type"].startswith("application/json"):
        yield json.loads(await response.aread())
        return
    async for line in response.aiter_lines():
        if line.startswith("data:") and line[5:].strip():
            yield json.loads(line[5:])


def new_http() -> httpx.AsyncClient:
    """An HTTP client that waits as long as the server may take."""
    return httpx.AsyncClient(timeout=ANSWER_LIMIT_S, trust_env=False)
