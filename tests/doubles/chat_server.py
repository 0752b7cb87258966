"""A real HTTP server on 127.0.0.1 that speaks the chat completions API from a script."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class ChatRequest:
    """A request that the chat server received."""

    path: str
    authorization: str
    body: dict[str, Any]
    at: float

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.body["messages"]


@dataclass
class ScriptedAnswer:
    """What the chat server answers a request with; `hang` never does."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False


class ChatServer:
    """Answers `POST .../chat/completions` from a script, in order, and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[ChatRequest] = []
        self.clock: Callable[[], float] = lambda: 0.0
        self._script: list[ScriptedAnswer] = []
        self._released = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def says(self, text: str | None, *calls: tuple[str, str]) -> None:
        """Answer with text and calls, each a tool and its arguments as written."""
        number = len(self._script)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if calls:
            message["tool_calls"] = [
                {"id": f"call-{number}-{index}", "type": "function", "function": {"name": name, "arguments": given}}
                for index, (name, given) in enumerate(calls)
            ]
        self.answers(
            200,
            {
                "id": f"chat-{number}",
                "object": "chat.completion",
                "created": 0,
                "model": "scripted",
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
            },
        )

    def calls(self, name: str, **arguments: object) -> None:
        """Answer with one well-formed call."""
        self.says(None, (name, json.dumps(arguments)))

    def answers(self, status: int, body: Any, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._script.append(ScriptedAnswer(status, body, named))

    def fails(self, status: int, message: str = "no luck", code: str | None = None, **headers: str) -> None:
        self.answers(status, {"error": {"message": message, "type": "error", "code": code}}, **headers)

    def hangs(self) -> None:
        """Take a request and say nothing until the test is over."""
        self._script.append(ScriptedAnswer(0, None, hang=True))

    def close(self) -> None:
        self._released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                given = self.rfile.read(int(self.headers["content-length"]))
                server._take(self, json.loads(given))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        return Handler

    def _take(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        number = len(self.requests)
        authorization = handler.headers.get("authorization", "")
        self.requests.append(ChatRequest(handler.path, authorization, body, self.clock()))
        over = ScriptedAnswer(400, {"error": {"message": "the script is over"}})
        answer = self._script[number] if number < len(self._script) else over
        if answer.hang:
            self._released.wait(30)
            handler.close_connection = True
            return
        streams = bool(body.get("stream")) and answer.status == 200
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        text = _as_stream(answer.body) if streams else text
        handler.send_response(answer.status)
        kind = "text/event-stream" if streams else "application/json"
        for name, value in {"content-type": kind, **answer.headers}.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(text.encode())))
        handler.end_headers()
        handler.wfile.write(text.encode())


def _as_stream(body: dict[str, Any]) -> str:
    """The events of a completion that comes in one piece."""
    head = {key: body[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    (choice,) = body["choices"]
    chunks = (
        {**head, "choices": [{"index": 0, "delta": choice["message"], "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {**head, "choices": [], "usage": body["usage"]},
    )
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
