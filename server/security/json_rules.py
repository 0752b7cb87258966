"""Validates JSON from clients. Pure functions that return the value or raise an error.

The application reads JSON with `json.loads` and puts parts of it into responses. Deep nesting and very long numbers
make `json.loads` fail. Lone surrogates cannot be encoded as UTF-8. Such errors would end the session, so the middleware
refuses these texts.
"""

import json
import re
from typing import Any

__all__ = [
    "MAX_DEPTH",
    "ActionError",
    "JsonError",
    "ParamsError",
    "check_frame",
    "check_json",
    "check_json_object",
    "check_json_rpc",
    "check_step",
    "rpc_error",
]

MAX_DEPTH = 64
"""Limit for the nesting of arrays and objects. A tool call has four levels."""

TOOLS_CALL = "tools/call"

PARSE_ERROR = -32700
INVALID_PARAMS = -32602
"""Error codes of JSON-RPC."""

_ACTION_PARTS = (("type", str, "a text"), ("tool_name", str, "a text"), ("arguments", dict, "an object"))
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class JsonError(ValueError):
    """A text is invalid JSON, or JSON that the server cannot handle. The message says why.

    Attributes:
        value: The parsed value, None if the text could not be parsed.
        code: Error code of JSON-RPC.
    """

    code = PARSE_ERROR

    def __init__(self, message: str, value: Any = None) -> None:
        super().__init__(message)
        self.value = value


class ParamsError(JsonError):
    """A JSON-RPC request has invalid parameters. `value` is the request."""

    code = INVALID_PARAMS


class ActionError(JsonError):
    """An action has a part of the wrong type."""


def check_json(data: str | bytes, *, allow_nan: bool = True) -> Any:
    """Parse and check JSON.

    Args:
        data: The text, or its bytes in UTF-8.
        allow_nan: Whether NaN and Infinity are allowed. Python writes them, JSON does not have them.

    Raises:
        JsonError: The text is invalid, or the application cannot handle it.
    """
    try:
        text = data.decode() if isinstance(data, bytes) else data
        value = json.loads(text, parse_constant=None if allow_nan else _no_constant)
    except RecursionError:
        raise _too_deep() from None
    except JsonError:
        raise
    except UnicodeDecodeError:
        raise JsonError("invalid JSON: it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise JsonError(f"invalid JSON: {error}") from None
    except ValueError:
        raise JsonError("invalid JSON: a whole number has too many digits") from None
    # Few messages have that many brackets or such an escape, so the exact checks rarely run.
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_too_deep(value):
        raise _too_deep(value)
    if _SURROGATE.search(text) and not _is_unicode(value):
        raise JsonError("invalid JSON: half of a surrogate pair is no character", value)
    return value


def check_json_object(text: str | bytes) -> dict[str, Any]:
    """Read a text that must be a JSON object.

    Raises:
        JsonError: The text is invalid, or the application cannot handle it.
    """
    value = check_json(text)
    if not isinstance(value, dict):
        raise JsonError(f"expected a JSON object, got {_kind(value)}", value)
    return value


def check_json_rpc(text: str | bytes) -> dict[str, Any]:
    """Parse and check a JSON-RPC request.

    Raises:
        JsonError: The text is invalid, or the application cannot handle it.
    """
    request = check_json_object(text)
    _check_rpc(request)
    return request


def check_frame(text: str | bytes) -> None:
    """Check a message of OpenEnv's WebSocket: a JSON object that may contain a step or a JSON-RPC request.

    Raises:
        JsonError: The text is invalid, or the application cannot handle it.
    """
    frame = check_json_object(text)
    kind, data = frame.get("type"), frame.get("data")
    if kind == "step":
        _check_action(data, "data")
    elif kind == "mcp" and isinstance(data, dict):
        _check_rpc(data)


def check_step(data: str | bytes) -> None:
    """Check the JSON body of a step. The parts of an action must have the right types.

    Raises:
        JsonError: The text is invalid, or the application cannot handle it.
    """
    body = check_json(data, allow_nan=False)
    _check_action(body.get("action", {}) if isinstance(body, dict) else {}, "action")


def _check_action(action: Any, name: str) -> None:
    if not isinstance(action, dict):
        raise ActionError(f"{name} must be an object, got {_kind(action)}")
    for part, expected, words in _ACTION_PARTS:
        if part in action and not isinstance(action[part], expected):
            raise ActionError(f"{name}.{part} must be {words}, got {_kind(action[part])}")


def _check_rpc(request: dict[str, Any]) -> None:
    """Check the parameters of a request. Null counts as absent, as in the MCP SDKs."""
    params = {} if request.get("params") is None else request["params"]
    if not isinstance(params, dict):
        raise ParamsError(f"params must be an object, got {_kind(params)}", request)
    session_id, name, arguments = (params.get(key) for key in ("session_id", "name", "arguments"))
    if not isinstance(session_id, str | None):
        raise ParamsError(f"session_id must be a text, got {_kind(session_id)}", request)
    if request.get("method") != TOOLS_CALL:
        return
    if not isinstance(name, str):
        raise ParamsError(f"name must be the name of a tool, got {_kind(name)}", request)
    if not isinstance(arguments, dict | None):
        raise ParamsError(f"arguments must be an object, got {_kind(arguments)}", request)


def rpc_error(error: JsonError) -> dict[str, Any]:
    """Format an error as a JSON-RPC response, with the id of the request if it has a valid one."""
    named = error.value.get("id") if isinstance(error.value, dict) else None
    request_id = named if isinstance(named, str | int) and _is_unicode(named) else None
    return {"jsonrpc": "2.0", "error": {"code": error.code, "message": str(error)}, "id": request_id}


def _no_constant(name: str) -> Any:
    raise JsonError(f"invalid JSON: it has no {name}")


def _too_deep(value: Any = None) -> JsonError:
    return JsonError(f"invalid JSON: nested more than {MAX_DEPTH} deep", value)


def _is_too_deep(value: Any) -> bool:
    """Whether containers are nested deeper than `MAX_DEPTH`. Works level by level, without recursion."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [part for container in level for part in _parts(container) if isinstance(part, list | dict)]
        if not level:
            return False
    return True


def _parts(container: Any) -> Any:
    return container.values() if isinstance(container, dict) else container if isinstance(container, list) else ()


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
