"""Converts the tools of a game to tools of MCP. FastMCP and OpenEnv's JSON-RPC use them."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastmcp.exceptions import ToolError
from fastmcp.tools import Tool as FastMCPTool
from fastmcp.tools.base import ToolResult
from mcp.types import Tool as MCPTool
from mcp.types import ToolAnnotations
from pydantic import PrivateAttr

from ml_trainer_env.server.episodes.tools import ANY_REPLY, Effect, Tool, Toolbox

__all__ = ["BoundTool", "ToolCall", "bind_tool", "listed_tools", "tool_error"]

ToolCall = Callable[[str, dict[str, Any]], Awaitable[ToolResult | dict[str, Any]]]
"""Carries out a call. Receives the tool's name and the unchecked arguments."""


class BoundTool(FastMCPTool):
    """A tool of one session, for FastMCP. The session checks the arguments."""

    _call: ToolCall = PrivateAttr()

    async def run(self, arguments: dict[str, Any]) -> ToolResult:
        """Carry out a call."""
        reply = await self._call(self.name, arguments)
        return reply if isinstance(reply, ToolResult) else ToolResult(structured_content=reply)


def bind_tool(tool: Tool[Any], call: ToolCall) -> BoundTool:
    """Bind a tool to a session.

    Args:
        tool: The tool.
        call: Carries out its calls.
    """
    made = BoundTool(
        name=tool.name,
        description=tool.description,
        parameters=tool.input_schema,
        output_schema=dict(tool.reply_schema),
        annotations=_annotations(tool.title, tool.effect),
    )
    made._call = call
    return made


def listed_tools(tools: Toolbox[Any]) -> list[MCPTool]:
    """Return the tools for OpenEnv. Their replies are any object, so that FastMCP's clients return a dict."""
    return [
        MCPTool(
            name=tool.name,
            title=tool.title,
            description=tool.description,
            inputSchema=tool.input_schema,
            outputSchema=dict(ANY_REPLY),
            annotations=_annotations(tool.title, tool.effect),
            _meta={"fastmcp": {"tags": []}},
        )
        for tool in tools
    ]


def tool_error(message: str) -> ToolError:
    """Return the error of a refused call. The client caused it, so the server's log does not show it."""
    return ToolError(message, log_level=logging.DEBUG)


def _annotations(title: str, effect: Effect) -> ToolAnnotations:
    if effect.reads_only:
        return ToolAnnotations(title=title, readOnlyHint=True, idempotentHint=True, openWorldHint=False)
    return ToolAnnotations(
        title=title,
        readOnlyHint=False,
        destructiveHint=effect.destroys,
        idempotentHint=effect.idempotent,
        openWorldHint=False,
    )
