"""Tool schemas for the forms of the page at /web."""

from typing import Any

from openenv.core.env_server.mcp_types import ListToolsObservation

__all__ = ["adapt_for_forms"]


def adapt_for_forms(listed: ListToolsObservation) -> ListToolsObservation:
    """Return the tools with schemas for forms: choices have one type, and a boolean is a choice.

    The form of a choice can be empty. A checkbox that is not ticked would mean false.
    """
    tools = []
    for tool in listed.tools:
        properties = {name: _form_schema(schema) for name, schema in tool.input_schema.get("properties", {}).items()}
        tools.append(tool.model_copy(update={"input_schema": {**tool.input_schema, "properties": properties}}))
    return listed.model_copy(update={"tools": tools})


def _form_schema(schema: dict[str, Any]) -> dict[str, Any]:
    choices = schema.get("enum", ())
    if schema.get("type") == "boolean":
        return {**schema, "enum": [True, False]}
    if choices and all(choice.isdigit() for choice in choices):
        return {**schema, "type": "integer", "enum": [int(choice) for choice in choices]}
    return schema
