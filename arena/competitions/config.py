"""The configuration of a competition as one flat document with two editors: callers, and the file challenge.toml.

Each key has one owner. A key that the applied file holds belongs to the file, and callers may not change it. The names
are those of newer clients; `KEYS` says which setting each stands for.
"""

import hashlib
import json
import re
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from ml_trainer_env.arena.competitions.metrics import PRESENTATION, Metric
from ml_trainer_env.arena.competitions.schemas import RULES, CompetitionSettings
from ml_trainer_env.arena.competitions.service import check_settings, settings_of, update_settings
from ml_trainer_env.arena.errors import RefusedError
from ml_trainer_env.arena.tables import Competition

__all__ = [
    "FILE",
    "KEYS",
    "RUNNING_EDITABLE",
    "ConfigKey",
    "apply_changes",
    "apply_file",
    "config_document",
    "config_schema",
    "describe_changes",
    "export_file",
    "forget_file",
]

FILE = "challenge.toml"
MAX_FILE_BYTES = 64 * 1024
MAX_UPLOAD_BYTES = 2**40
"""No setting is larger. The limit of the service was checked before."""


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """A key of the configuration.

    Attributes:
        name: Its name in the configuration and in challenge.toml.
        setting: The setting of the competition that it stands for.
        group: Where an editor shows it.
        help: What it means.
    """

    name: str
    setting: str
    group: str
    help: str


KEYS = (
    ConfigKey("metrics", "metrics", "evaluation", "columns of the leaderboard; empty for the reward alone"),
    ConfigKey("window_days", "window_days", "evaluation", "days of the rolling window; none without a window"),
    ConfigKey(
        "deployment_nb_constraint_run",
        "evaluation_deployment_nb_constraint_run",
        "evaluation",
        "runs that only check the limits and do not count",
    ),
    ConfigKey(
        "deployment_nb_initial_score_run", "evaluation_deployment_nb_initial_score_run", "evaluation", "runs that count"
    ),
    ConfigKey(
        "episode_budget_brackets",
        "episode_budget_brackets",
        "evaluation",
        "pairs [threshold, n], thresholds ascending: an agent whose mean is below a threshold gets n runs in total",
    ),
    ConfigKey("simulation_timeout_sec", "simulation_timeout_sec", "resources", "seconds for a run"),
    ConfigKey("max_upload_size_bytes", "max_upload_size_bytes", "participation", "size limit of a file in bytes"),
    ConfigKey("max_upload_files", "max_upload_files", "participation", "number of files of a submission"),
    ConfigKey(
        "max_active_submissions_per_participant",
        "max_active_agents_per_participant",
        "participation",
        "submissions of a participant on the leaderboard at a time",
    ),
    ConfigKey(
        "runtime", "runtime", "resources", "name of the runtime of the environment, and of submissions without one"
    ),
    ConfigKey("deletion_allowed", "deletion_allowed", "participation", "whether participants may delete submissions"),
    ConfigKey(
        "quota_returned",
        "quota_returned",
        "participation",
        'evaluations that do not count against the limit: "cancelled" before a run was finished, of "deleted" ones',
    ),
    ConfigKey("results_held", "results_held", "evaluation", "whether only organisers see scores"),
    ConfigKey(
        "rows_per_participant",
        "rows_per_participant",
        "evaluation",
        "rows of a participant on the leaderboard at the most; none for all",
    ),
    ConfigKey("required_files", "required_files", "evaluation", "files of the environment that a start needs"),
)
"""All keys, in the order in which an editor shows them."""

RUNNING_EDITABLE = ("metrics", *sorted(RULES))
"""Keys that may change while a competition runs; of `metrics` only how they are shown."""

_BY_NAME = {key.name: key for key in KEYS}
_FIXED = {"machine_id": 1, "number_of_agents": 1, "is_stop_after_deployment": True, "data_source_enabled": False}
"""Keys of newer clients that have one value on this service. Setting this value changes nothing."""


def apply_changes(
    session: Session, competition: Competition, changes: Mapping[str, Any], max_upload_bytes: int
) -> None:
    """Change keys that the file does not hold.

    Raises:
        RefusedError: A key is unknown, is held by challenge.toml or has an invalid value, or the competition has
            started and the key may not be changed then.
    """
    held: dict[str, int] = competition.config_origin.get("file", {})
    for name in changes:
        if name in held:
            raise RefusedError(f"{name} is set in {FILE} (line {held[name]}); edit the file")
        if problem := _problem_of_key(name, changes[name]):
            raise RefusedError(problem)
    _write(session, competition, changes, max_upload_bytes)
    console = sorted({*competition.config_origin.get("console", []), *(set(changes) & set(_BY_NAME))})
    competition.config_origin = {**competition.config_origin, "console": console}


def apply_file(session: Session, competition: Competition, content: bytes, max_upload_bytes: int) -> None:
    """Apply challenge.toml. The keys in it then belong to the file. Keys that left it keep their values.

    Raises:
        RefusedError: The file is too large or not valid TOML, or a key in it is unknown, has an invalid value or may
            not be changed now. The message names the line. Nothing is changed.
    """
    if len(content) > MAX_FILE_BYTES:
        raise RefusedError(f"{FILE} may have {MAX_FILE_BYTES} bytes at the most")
    text = content.decode(errors="replace")
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RefusedError(f"{_place(_line_in(str(error), text))}: {error}") from error
    except RecursionError as error:
        raise RefusedError(f"{FILE}: its values are nested too deeply") from error
    lines = {name: _find_line(text, name) for name in values}
    found = {name: problem for name, value in values.items() if (problem := _problem_of_key(name, value))}
    if found:
        raise RefusedError("; ".join(f"{_place(lines[name])}: {problem}" for name, problem in found.items())[:2000])
    try:
        _write(session, competition, values, max_upload_bytes)
    except RefusedError as error:
        line = next((lines[name] for name, value in values.items() if _is_refused(competition, name, value)), None)
        raise RefusedError(f"{_place(line)}: {error}") from error
    before = competition.config_origin
    left = (set(before.get("file", {})) - set(values)) | set(before.get("console", []))
    competition.config_origin = {
        "console": sorted(left - set(values)),
        "file": {name: lines[name] for name in values if name in _BY_NAME},
        "sha256": hashlib.sha256(content).hexdigest(),
        "applied_at": time.time(),
    }


def forget_file(competition: Competition) -> None:
    """Give the keys of the file back to callers. They keep their values."""
    origin = competition.config_origin
    competition.config_origin = {"console": sorted({*origin.get("console", []), *origin.get("file", {})})}


def config_document(competition: Competition, file_sha256: str | None) -> dict[str, Any]:
    """Get the configuration: each key's value and owner.

    Args:
        competition: The competition.
        file_sha256: SHA-256 of the environment's challenge.toml; None without one.
    """
    values, origin = settings_of(competition).model_dump(mode="json"), competition.config_origin
    held, console = origin.get("file", {}), origin.get("console", [])
    return {
        "values": {key.name: values[key.setting] for key in KEYS},
        "origin": {
            key.name: "file" if key.name in held else "console" if key.name in console else "default" for key in KEYS
        },
        "file_lines": held,
        "file_applied_at": origin.get("applied_at"),
        "file_in_sync": origin.get("sha256") == file_sha256,
    }


def config_schema() -> dict[str, Any]:
    """Get the JSON Schema of challenge.toml."""
    whole = CompetitionSettings.model_json_schema()
    properties = {key.name: whole["properties"][key.setting] | {"description": key.help} for key in KEYS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": FILE,
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "$defs": whole.get("$defs", {}),
    }


def describe_changes(competition_id: int, changes: Mapping[str, Any]) -> str:
    """Write changes of settings for the audit log, with their values."""
    written = (f"{name}={json.dumps(value, default=str)}" for name, value in sorted(changes.items()))
    return f"{competition_id} {' '.join(written)}"


def export_file(competition: Competition) -> str:
    """Write the configuration as challenge.toml. Keys that nobody has set are commented out."""
    document = config_document(competition, None)
    lines = [f"# The configuration of challenge {competition.id}. Keys that are commented out have their defaults."]
    for key in KEYS:
        value = document["values"][key.name]
        lines += ["", f"# {key.help}"]
        if value is None:
            lines.append(f"# {key.name} =")
        else:
            mark = "# " if document["origin"][key.name] == "default" else ""
            lines.append(f"{mark}{key.name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _write(session: Session, competition: Competition, changes: Mapping[str, Any], max_upload_bytes: int) -> None:
    """Validate and store values of keys."""
    settings = {_BY_NAME[name].setting: value for name, value in changes.items() if name in _BY_NAME}
    if competition.is_started:
        before = settings_of(competition)
        current = before.model_dump(mode="json")
        settings = {name: value for name, value in settings.items() if current[name] != value}
        if set(settings) <= set(RUNNING_EDITABLE) and "metrics" in settings:
            metrics = _shown_anew(before, settings.pop("metrics"))
            competition.settings = before.model_copy(update={"metrics": metrics}).model_dump(mode="json")
    if settings:
        update_settings(session, competition, settings, max_upload_bytes)


def _is_refused(competition: Competition, name: str, value: Any) -> bool:
    """Whether a key alone is refused."""
    if name not in _BY_NAME:
        return False
    try:
        check_settings(competition, {_BY_NAME[name].setting: value}, MAX_UPLOAD_BYTES)
    except RefusedError:
        return True
    return False


def _shown_anew(before: CompetitionSettings, metrics: Any) -> list[Metric]:
    """Check new metrics of a started competition: they may differ from the old ones in how they are shown only."""
    try:
        new = CompetitionSettings(metrics=metrics).metrics
    except ValidationError as error:
        raise RefusedError(f"metrics: {error.errors()[0]['msg']}") from error
    fixed = [[one.model_dump(exclude=set(PRESENTATION)) for one in some] for some in (before.shown_metrics, new)]
    if fixed[0] != fixed[1]:
        raise RefusedError(f"the competition has started: of metrics only {', '.join(sorted(PRESENTATION))} may change")
    return new


def _problem_of_key(name: str, value: Any) -> str | None:
    if name in _BY_NAME or (name in _FIXED and value == _FIXED[name]):
        return None
    if name in _FIXED:
        return f"{name} is {json.dumps(_FIXED[name])} on this service, and cannot be {str(value)[:50]!r}"
    known = ", ".join(_BY_NAME)
    return f"unknown key {name[:100]!r}: the kinds of this service have {known}"


def _place(line: int | None) -> str:
    return FILE if line is None else f"{FILE}:{line}"


def _line_in(message: str, text: str) -> int:
    """Find the line that an error of `tomllib` names."""
    found = re.search(r"line (\d+)", message)
    return int(found[1]) if found else max(1, len(text.splitlines()))


def _find_line(text: str, name: str) -> int | None:
    """Find the line of a top-level key or table."""
    key = re.escape(name)
    start = re.compile(rf"""\s*(\[\[?\s*)?["']?{key}["']?\s*[=.\]]""")
    return next((number for number, line in enumerate(text.splitlines(), 1) if start.match(line)), None)


def _toml(value: Any) -> str:
    """Write a value as TOML, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items() if one is not None) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
