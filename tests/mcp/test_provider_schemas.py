"""Input schemas keep to what OpenAI, Anthropic and Gemini all take; output schemas to what simple readers understand.

What each provider takes, by its documentation:

- Gemini (`FunctionDeclaration.parameters`): the fields of its `Schema` alone; any other field is refused, among them
  `exclusiveMinimum`, `additionalProperties`, `const`, `$ref`, `oneOf`. `type` is one name, and `enum` is for text.
- OpenAI, strict: no `default`, `minLength`, `maxLength`; every object closed and every property required, which its
  clients do by themselves. Not strict: any JSON schema of an object that has `properties`.
- Anthropic: any JSON schema of an object, without a union at its top.
"""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from fastmcp import FastMCP

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.server.trainer.config import LIMITS

GEMINI = {
    *("type", "format", "title", "description", "nullable", "enum", "items", "minItems", "maxItems", "properties"),
    *("required", "propertyOrdering", "minimum", "maximum", "minLength", "maxLength", "pattern", "anyOf", "example"),
}
OPENAI_STRICT = {
    *("type", "description", "enum", "const", "items", "minItems", "maxItems", "properties", "required", "anyOf"),
    *("additionalProperties", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "pattern"),
    *("format", "$ref", "$defs"),
}
OPTIONAL_IN_GEMINI = {"anyOf", "nullable"}
"""Allowed by name, and yet not by every version of it or not beside a type."""

COMMON = (GEMINI & OPENAI_STRICT) - OPTIONAL_IN_GEMINI
TYPES = {"string", "integer", "number", "boolean", "array", "object"}
NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")
MAX_DESCRIPTION = 1024


def parts(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A schema and all schemas within it."""
    yield schema
    for inner in schema.get("properties", {}).values():
        yield from parts(inner)
    if "items" in schema:
        yield from parts(schema["items"])


def check_input(name: str, description: str, schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    assert NAME.fullmatch(name)
    assert 0 < len(description) <= MAX_DESCRIPTION
    assert schema["type"] == "object"
    assert "properties" in schema
    for part in parts(schema):
        assert set(part) <= COMMON, (name, part)
        assert part["type"] in TYPES
        assert "enum" not in part or (part["type"] == "string" and all(isinstance(one, str) for one in part["enum"]))
    for parameter, part in schema["properties"].items():
        assert NAME.fullmatch(parameter)
        assert part["description"]
    assert set(schema.get("required", [])) <= set(schema["properties"])


@pytest.fixture(scope="module")
def over_mcp(mcp_server: FastMCP) -> list[Any]:
    return [tool.to_mcp_tool() for tool in asyncio.run(mcp_server.list_tools())]


def test_input_schemas_over_mcp_keep_to_what_all_providers_take(over_mcp: list[Any]) -> None:
    assert len(over_mcp) == 12
    for tool in over_mcp:
        check_input(tool.name, tool.description, tool.inputSchema)


def test_output_schemas_have_neither_references_nor_unions_nor_defaults(over_mcp: list[Any]) -> None:
    for tool in over_mcp:
        jsonschema.Draft202012Validator.check_schema(tool.outputSchema)
        text = str(tool.outputSchema)
        for keyword in ("$ref", "$defs", "anyOf", "oneOf", "allOf", "default", "exclusiveMinimum", "title"):
            assert f"'{keyword}'" not in text, (tool.name, keyword)


def test_schemas_over_openenv_keep_to_what_all_providers_take(live_server: str) -> None:
    with MLTrainerEnv(base_url=live_server) as env:
        listed = {tool.name: tool.input_schema for tool in env.list_tools()}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    answer = httpx.post(f"{live_server}/mcp", json=request, timeout=60.0, trust_env=False).json()

    assert len(listed) == 9
    for tool in answer["result"]["tools"]:
        assert tool["inputSchema"] == listed[tool["name"]]
        check_input(tool["name"], tool["description"], tool["inputSchema"])


def test_what_a_schema_cannot_say_is_in_its_description(over_mcp: list[Any]) -> None:
    (configure,) = [tool for tool in over_mcp if tool.name == "configure_training"]
    (save,) = [tool for tool in over_mcp if tool.name == "save_checkpoint"]

    for name, limit in LIMITS.items():
        assert str(limit) in configure.inputSchema["properties"][name]["description"]
    assert "1 to 64 letters, digits" in save.inputSchema["properties"]["name"]["description"]
