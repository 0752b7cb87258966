"""Converts recorded values to rows of the tables and back. Checks every value that it reads."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from ml_trainer_env.server.store.bounds import MAX_REASON, truncate_arguments, truncate_text, truncate_tool
from ml_trainer_env.server.store.damage import DamagedError, check_value, load_json
from ml_trainer_env.server.store.records import CallRecord, EpisodeHeader, RecordedUnit
from ml_trainer_env.server.store.units import UnitFigures, check_figures
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.limits import shown
from ml_trainer_env.server.trainer.metrics import EPOCH_FIGURES, FIRST_EPOCH_FIGURES, are_recorded

__all__ = ["call_from_row", "call_to_row", "header_from_row", "header_to_row"]

_HEADER_KINDS: Mapping[str, Any] = {
    "name": str,
    "task": str,
    "seed": int,
    "rubric": str,
    "images": str,
    "rules": int,
    "forked_from": str | None,
    "agent": str | None,
}
"""Types of the columns of a header, except its versions."""


def header_from_row(name: str, row: sa.RowMapping) -> EpisodeHeader:
    """Return the header of an episode.

    Raises:
        DamagedError: The row is damaged.
    """
    try:
        fields = {key: check_value(key, row[key], kind) for key, kind in _HEADER_KINDS.items()}
        fields["data"] = fields.pop("images")
        return EpisodeHeader(**fields, versions=load_json("versions", row["versions"], dict))
    except ValueError as error:
        raise DamagedError(f"episode {shown(name)} is damaged in the journal: {error}") from error


def header_to_row(header: EpisodeHeader) -> dict[str, Any]:
    """Return the columns of a header."""
    return {
        "name": header.name,
        "task": header.task,
        "seed": header.seed,
        "rubric": header.rubric,
        "images": header.data,
        "versions": dict(header.versions),
        "rules": header.rules,
        "forked_from": header.forked_from,
        "agent": header.agent,
    }


def call_to_row(episode: int, number: int, call: CallRecord) -> dict[str, Any]:
    """Return the row of a call."""
    refused = call.reply is None
    return {
        "episode": episode,
        "number": number,
        "at": call.at,
        "tool": _escape(truncate_tool(call.tool)),
        "arguments": truncate_arguments(call.arguments) if refused else dict(call.arguments),
        "reply": None if call.reply is None else dict(call.reply),
        "error": None if call.error is None else _escape(truncate_text(call.error)),
        "reached": call.reached,
        "inherited": call.inherited,
        "epochs": [_unit_to_json(unit) for unit in call.units],
        "weights_hash": call.weights_hash,
        "reason": None if call.reason is None else _escape(truncate_text(call.reason, MAX_REASON)),
    }


def _escape(text: str) -> str:
    """Escape lone surrogates, which JSON may contain and UTF-8 cannot encode, and NUL, which PostgreSQL refuses."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _unit_to_json(unit: RecordedUnit) -> list[object]:
    """Return a unit as JSON. The figures of an epoch are listed by position, other figures by name."""
    result = unit.figures
    listed = are_recorded(result.figures, EPOCH_FIGURES)
    ordered = [result.figures[name] for name in EPOCH_FIGURES if name in result.figures]
    figures = ordered if listed else dict(result.figures)
    return [result.key, result.digest, result.seconds, unit.from_cache, figures, unit.identity]


def call_from_row(name: str, number: int, row: sa.RowMapping) -> CallRecord:
    """Return call `number` of the episode `name`.

    Raises:
        DamagedError: The row is damaged, or has another number.
    """
    try:
        if check_value("number", row["number"], int) != number:
            raise ValueError("it is missing")
        reply = None if row["reply"] is None else load_json("reply", row["reply"], dict)
        arguments = load_json("arguments", row["arguments"], dict)
        error = check_value("error", row["error"], str | None)
        withheld = row.get("withheld")
        return CallRecord(
            tool=truncate_tool(check_value("tool", row["tool"], str)),
            arguments=truncate_arguments(arguments) if reply is None else arguments,
            reply=reply,
            error=None if error is None else truncate_text(error),
            reached=check_value("reached", row["reached"], bool),
            inherited=check_value("inherited", row["inherited"], bool),
            units=tuple(map(_unit_from_json, load_json("epochs", row["epochs"], list))),
            weights_hash=check_value("weights_hash", row["weights_hash"], str | None),
            at=check_value("at", row["at"], float | int),
            withheld=None if withheld is None else load_json("withheld figures", withheld, dict),
            reason=check_value("reason", row["reason"], str | None),
        )
    except ValueError as error:
        raise DamagedError(f"call {number} of episode {shown(name)} is damaged in the journal: {error}") from error


def _unit_from_json(row: object) -> RecordedUnit:
    """Return a unit of a call. Units of older journals have no identity.

    Raises:
        ValueError: The JSON is malformed.
    """
    match row:
        case [str() as key, str() as digest, int() | float() as seconds, bool() as from_cache, fields, *rest]:
            identity = check_value("identity", rest[0], str) if rest else ""
            return RecordedUnit(UnitFigures(key, _figures_from_json(fields), digest, seconds), from_cache, identity)
    raise ValueError(f"one of its epochs is {shown(row)}")


def _figures_from_json(fields: object) -> Figures:
    match fields:
        case [*values]:
            names = FIRST_EPOCH_FIGURES if len(values) == len(FIRST_EPOCH_FIGURES) else EPOCH_FIGURES
            return check_figures(dict(zip(names, values, strict=True)))
        case {}:
            return check_figures(check_value("figures", fields, dict))
    raise ValueError(f"its figures are {shown(fields)}")
