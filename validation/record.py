"""Plays lists of calls and writes down what they earned: `python -m ml_trainer_env.validation.record FILE...`.

The same as `ml-trainer-validate record`. A file is a list of calls (see `declarations`), or
`.jsonl` with one a line. It is written again with `recorded`: the rewards, their sum, the verdict, and the
score if the last reply names one.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_trainer_env.validation.declarations import CallList, DeclarationError, as_action
from ml_trainer_env.validation.plays import Play, play

__all__ = ["main", "record_file", "recorded"]

PLACES = 6


def record_file(
    path: Path, base_url: str, headers: Mapping[str, str] | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """Play all lists of a file and write their records into it. Returns each task with its record.

    Raises:
        DeclarationError: The file is malformed, or a list does not apply to the data of this machine.
        WireError: The environment does not answer.
    """
    text = path.read_text(encoding="utf-8")
    entries = (
        [json.loads(line) for line in text.splitlines() if line.strip()]
        if path.suffix == ".jsonl"
        else [json.loads(text)]
    )
    found = []
    for entry in entries:
        where = f"{path.name}: {entry.get('task')}"
        calls = CallList(
            str(entry["task"]),
            entry.get("reset", {}),
            tuple(as_action(call, where) for call in entry["calls"]),
            when=entry.get("when", {}),
        )
        played = play(base_url, calls, headers=headers)
        if reason := calls.unmet(played.reset.observation):
            raise DeclarationError(f"{where}: {reason}")
        entry["recorded"] = recorded(played)
        found.append((calls.name, entry["recorded"]))
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    else:
        path.write_text(json.dumps(entries[0], indent=2) + "\n", encoding="utf-8")
    return found


def recorded(played: Play) -> dict[str, Any]:
    """Return what a record keeps of an episode."""
    rewards = [round(reward or 0.0, PLACES) for reward in played.rewards]
    record: dict[str, Any] = {
        "verdict": round(played.verdict, PLACES),
        "return": round(sum(rewards), PLACES),
        "rewards": rewards,
    }
    score = _number(played.steps[-1].observation, "score") if played.steps else None
    return {"score": score, **record} if score is not None else record


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `ml-trainer-validate record`. Returns the exit status."""
    from ml_trainer_env.validation.cli import main as command  # late: the command imports this module

    return command(["record", *(sys.argv[1:] if arguments is None else arguments)])


def _number(value: object, name: str) -> float | None:
    """The first number of this name in a value of JSON."""
    if isinstance(value, Mapping):
        own = value.get(name)
        if isinstance(own, int | float) and not isinstance(own, bool):
            return float(own)
        return next((found for child in value.values() if (found := _number(child, name)) is not None), None)
    return None


if __name__ == "__main__":
    sys.exit(main())
