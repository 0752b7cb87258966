"""Draws random values that match a JSON schema.

It supports only the part of JSON Schema that tool lists use. It ignores `pattern`, `format` and conditionals.
"""

import math
from collections.abc import Mapping
from random import Random
from typing import Any

__all__ = ["sample"]

_SPREAD = 1e-5
"""A range with the exclusive minimum 0 is drawn from this share of its maximum upwards."""

_NAMES = ("alpha", "beta", "gamma")
"""Values for strings, which are usually names. There are few, so that names repeat."""


def sample(schema: Mapping[str, Any], source: Random, shared: Mapping[str, Any]) -> object:
    """Draw a value.

    Numbers are drawn uniformly, or log-uniformly if the range spans many orders of magnitude, as for a learning rate.
    `null` is drawn only if nothing else is allowed.

    Args:
        schema: A JSON schema.
        source: Source of randomness.
        shared: The schemas under `$defs`, for `$ref`.
    """
    if "$ref" in schema:
        return sample(shared[str(schema["$ref"]).rsplit("/", 1)[-1]], source, shared)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return source.choice([choice for choice in schema["enum"] if choice is not None])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            branches = [branch for branch in schema[union] if branch.get("type") != "null"]
            return sample(source.choice(branches), source, shared) if branches else None
    return _of_type(_type_of(schema), schema, source, shared)


def _type_of(schema: Mapping[str, Any]) -> str:
    given = schema.get("type", "string")
    if isinstance(given, str):
        return given
    return next((kind for kind in given if kind != "null"), "null")


def _of_type(kind: str, schema: Mapping[str, Any], source: Random, shared: Mapping[str, Any]) -> object:
    match kind:
        case "boolean":
            return source.random() < 0.5
        case "integer":
            return _integer(schema, source)
        case "number":
            return _number(schema, source)
        case "array":
            item = schema.get("items") or {}
            count = source.randint(schema.get("minItems", 0), schema.get("maxItems", 3))
            return [sample(item, source, shared) for _ in range(count)]
        case "object":
            properties = schema.get("properties") or {}
            return {name: sample(part, source, shared) for name, part in properties.items()}
        case "null":
            return None
        case _:
            return source.choice(_NAMES)


def _integer(schema: Mapping[str, Any], source: Random) -> int:
    low, high = _bounds(schema, default_span=10)
    lowest = math.floor(low) + 1 if "exclusiveMinimum" in schema else math.ceil(low)
    highest = math.ceil(high) - 1 if "exclusiveMaximum" in schema else math.floor(high)
    step = int(schema.get("multipleOf", 1))
    first = -(-lowest // step) * step
    return source.randrange(first, max(first, highest) + 1, step)


def _number(schema: Mapping[str, Any], source: Random) -> float:
    low, high = _bounds(schema, default_span=1.0)
    if low == 0.0 and "exclusiveMinimum" in schema:
        return high * math.exp(source.uniform(math.log(_SPREAD), 0.0))
    if 0.0 < low <= high * _SPREAD:
        return low * math.exp(source.uniform(0.0, math.log(high / low)))
    inside = source.random() if "exclusiveMinimum" not in schema else 1.0 - source.random()
    return low + (high - low) * inside


def _bounds(schema: Mapping[str, Any], default_span: float) -> tuple[float, float]:
    low = float(schema.get("minimum", schema.get("exclusiveMinimum", 0.0)))
    high = float(schema.get("maximum", schema.get("exclusiveMaximum", low + default_span)))
    return low, high
