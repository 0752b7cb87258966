"""What a package declares for its graders: lists of calls that solve a task, and lists that must earn nothing.

The manifest names the places: `capabilities.oracle.location` is a file or a folder, `capabilities.canaries` a file.

    oracles/easy.json           one list of calls, for the task `easy`
    oracles/maze/train/17.json  one list, for the task `maze/train/17`
    oracles/maze/test.jsonl     one list a line, each for a task of `maze/test`

A list of calls is an object of JSON:

    {"task": "easy", "reset": {"task_id": "easy", "seed": 1}, "calls": [{"tool": "guess", "arguments": {"word": "a"}}]}

A call is a tool with its arguments, or `{"action": {...}}` for an environment whose actions are no tool calls.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

__all__ = [
    "DO_NOTHING",
    "CallList",
    "DeclarationError",
    "as_action",
    "declared_files",
    "read_canaries",
    "read_oracles",
    "sampled",
]

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_CALLS = 2_000

DO_NOTHING = "do_nothing"
"""The name of the canary whose reward is the measured floor: an episode without any work in it."""

PER_GROUP = 2
"""Number of lists that are played of each file that holds many, and of each folder below the top one."""


class DeclarationError(ValueError):
    """A declared file is missing, too large or malformed. The message names the file and what was expected."""


@dataclass(frozen=True, slots=True)
class CallList:
    """An episode as data: how it is reset, and the calls in order.

    Attributes:
        name: The task's id for an oracle, the canary's name for a canary.
        reset: Options of the reset. An oracle fixes task and seed; a canary is played on each task.
        actions: The actions, as `/ws` takes them.
        group: What lists are sampled from together: the file or folder they lie in. Empty for a list of its own.
        max_reward: The most that the last call can be paid. None for the maximum of the manifest's range.
        tolerance: How far rewards may be from the maximum and from the record, where that is more than the manifest's
            `oracle_tolerance`: training rounds otherwise on other processors. 0 for the manifest's.
        when: What the reply to the reset must say, by dotted path, for the list to apply: `task.size` and 60000. It
            is for tasks whose data may differ between machines.
        recorded: The rewards of the calls when the list was recorded. None if it was not.
        reason: Why a canary must stay at the floor.
        known: Words of its calls that are no secret, such as names that the environment gives to things.
        idle: Whether doing nothing is the solution, so that nothing can be paid less.
    """

    name: str
    reset: Mapping[str, Any]
    actions: tuple[Mapping[str, Any], ...]
    group: str = ""
    max_reward: float | None = None
    tolerance: float = 0.0
    when: Mapping[str, Any] = field(default_factory=dict)
    recorded: tuple[float, ...] | None = None
    reason: str = field(default="", compare=False)
    known: frozenset[str] = frozenset()
    idle: bool = False

    def unmet(self, observation: Mapping[str, Any]) -> str | None:
        """Return what the reply to the reset lacks for this list to apply, in words. None if it applies."""
        for path, expected in self.when.items():
            value: Any = observation
            for part in path.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
            if value != expected:
                return f"{path} is {value!r}, and the list is for {expected!r}"
        return None

    def on(self, other: "CallList") -> "CallList":
        """Return these calls on the task and seed of another list."""
        return replace(
            self,
            reset={**other.reset, **self.reset},
            max_reward=other.max_reward,
            tolerance=other.tolerance,
            when={**other.when, **self.when},
        )


def as_action(call: object, where: str) -> dict[str, Any]:
    """Return a call as an action of `/ws`.

    Raises:
        DeclarationError: The call has neither `tool` nor `action`.
    """
    if isinstance(call, dict) and isinstance(call.get("action"), dict):
        return dict(call["action"])
    if isinstance(call, dict) and isinstance(call.get("tool"), str):
        arguments = call.get("arguments", {})
        if isinstance(arguments, dict):
            return {"type": "call_tool", "tool_name": call["tool"], "arguments": arguments}
    raise DeclarationError(f"{where}: a call is {{tool, arguments}} or {{action}}, got {str(call)[:80]}")


def read_oracles(root: Path, location: str) -> list[CallList]:
    """Read all oracles of a package, sorted by task.

    Args:
        root: The package's folder.
        location: A file, or a folder of `.json` and `.jsonl` files, relative to it.

    Raises:
        DeclarationError: There is none, a file is malformed, or two lists are for one task.
    """
    place = _inside(root, location)
    found: dict[str, CallList] = {}
    for path in declared_files(root, location):
        for oracle in _oracles_of(path, place):
            if oracle.name in found:
                raise DeclarationError(f"{path.name}: a second oracle for the task {oracle.name!r}")
            found[oracle.name] = oracle
    if not found:
        raise DeclarationError(f"{location}: expected lists of calls in .json or .jsonl files, found none")
    return [found[name] for name in sorted(found)]


def declared_files(root: Path, location: str) -> list[Path]:
    """Return the files of the oracles, sorted.

    Raises:
        DeclarationError: The location is not in the package.
    """
    place = _inside(root, location)
    return [place] if place.is_file() else sorted([*place.rglob("*.json"), *place.rglob("*.jsonl")])


def read_canaries(root: Path, location: str) -> list[CallList]:
    """Read the canaries of a package: `{"canaries": [{"name", "reason", "calls"}, ...]}`.

    Raises:
        DeclarationError: The file is missing or malformed, or two canaries have one name.
    """
    path = _inside(root, location)
    content = _parsed(_text(path), path.name)
    entries = content.get("canaries")
    if not isinstance(entries, list) or not entries:
        raise DeclarationError(f"{location}: expected an object with a list `canaries`")
    canaries = [_call_list(entry, str(entry.get("name")), "", path.name) for entry in map(_object, entries)]
    names = [canary.name for canary in canaries]
    if len(set(names)) < len(names):
        raise DeclarationError(f"{location}: two canaries have the same name")
    return canaries


def sampled(lists: Sequence[CallList], wanted: Sequence[str] = ()) -> list[CallList]:
    """Choose what is played: the wanted tasks, or each list of its own and a few of each group, evenly spaced.

    Args:
        lists: All lists, sorted.
        wanted: Task ids, with `*` for any text. Empty for the choice above.
    """
    if wanted:
        patterns = [re.compile(".*".join(map(re.escape, text.split("*")))) for text in wanted]
        return [one for one in lists if any(pattern.fullmatch(one.name) for pattern in patterns)]
    chosen = [one for one in lists if not one.group]
    for group in sorted({one.group for one in lists} - {""}):
        members = [one for one in lists if one.group == group]
        step = max(1, math.ceil(len(members) / PER_GROUP))
        chosen.extend(members[::step])
    return chosen


def _oracles_of(path: Path, place: Path) -> Iterator[CallList]:
    inside = path.name if path == place else path.relative_to(place).as_posix()
    if path.suffix == ".jsonl":
        lines = [line for line in _text(path).splitlines() if line.strip()]
        for number, line in enumerate(lines, 1):
            where = f"{inside}:{number}"
            entry = _parsed(line, where)
            if not isinstance(entry.get("task"), str):
                raise DeclarationError(f"{where}: expected the task's id in `task`")
            yield _call_list(entry, entry["task"], inside, where)
        return
    entry = _parsed(_text(path), inside)
    named_by_path = inside.removesuffix(".json")
    task = entry.get("task", named_by_path)
    if path != place and task != named_by_path:
        raise DeclarationError(f"{inside}: expected the task {named_by_path!r}, got {task!r}")
    yield _call_list(entry, str(task), "" if "/" not in inside else str(Path(inside).parent), inside)


def _call_list(entry: Mapping[str, Any], name: str, group: str, where: str) -> CallList:
    calls, reset = entry.get("calls"), entry.get("reset", {})
    if not isinstance(calls, list) or len(calls) > MAX_CALLS:
        raise DeclarationError(f"{where}: expected a list `calls` of at most {MAX_CALLS} calls")
    if not isinstance(reset, dict):
        raise DeclarationError(f"{where}: expected an object in `reset`, got {type(reset).__name__}")
    recorded = entry.get("recorded") or {}
    rewards = recorded.get("rewards") if isinstance(recorded, dict) else None
    when = _object(entry.get("when", {}))
    limit, tolerance = _number(entry, "max_reward", where), _number(entry, "tolerance", where)
    return CallList(
        name,
        reset,
        tuple(as_action(call, where) for call in calls),
        group,
        limit,
        tolerance or 0.0,
        when,
        None if rewards is None else tuple(map(float, rewards)),
        str(entry.get("reason", "")),
        frozenset(_texts(entry, "known", where)),
        entry.get("idle") is True,
    )


def _texts(entry: Mapping[str, Any], name: str, where: str) -> list[str]:
    found = entry.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise DeclarationError(f"{where}: expected a list of texts in `{name}`, got {found!r}")
    return found


def _number(entry: Mapping[str, Any], name: str, where: str) -> float | None:
    found = entry.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise DeclarationError(f"{where}: expected a number in `{name}`, got {found!r}")
    return float(found)


def _inside(root: Path, location: str) -> Path:
    base = root.resolve()
    path = (base / location).resolve()
    if not path.is_relative_to(base):
        raise DeclarationError(f"{location}: expected a path inside the package")
    if not path.exists():
        raise DeclarationError(f"{location}: there is no such file or folder in the package")
    return path


def _text(path: Path) -> str:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DeclarationError(f"{path.name}: expected at most {MAX_FILE_BYTES} bytes")
    return path.read_text(encoding="utf-8")


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        return _object(json.loads(text))
    except ValueError as error:
        raise DeclarationError(f"{where}: {error}") from error


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DeclarationError(f"expected an object of JSON, got {type(value).__name__}")
    return value
