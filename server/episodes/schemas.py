"""JSON schemas of pydantic models, for clients that support few features of JSON Schema."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

__all__ = ["plain_schema"]


def plain_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a model without references, unions, defaults and titles.

    A property with several types, mostly a type or null, lists them in `type`.
    """
    schema = model.model_json_schema()
    plain = _plain(schema, schema.get("$defs", {}))
    assert isinstance(plain, dict)
    return plain


def _plain(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_plain(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        named = definitions[schema["$ref"].rpartition("/")[2]]
        return _plain({**named, **{key: value for key, value in schema.items() if key != "$ref"}}, definitions)
    if "anyOf" in schema:
        merged = {key: part for branch in schema["anyOf"] for key, part in branch.items()}
        rest = {key: part for key, part in schema.items() if key != "anyOf"}
        return _plain({**merged, "type": [branch["type"] for branch in schema["anyOf"]], **rest}, definitions)
    return {
        key: {name: _plain(part, definitions) for name, part in value.items()}
        if key == "properties"
        else _plain(value, definitions)
        for key, value in schema.items()
        if key not in {"title", "default", "$defs"}
    }
