"""Makes the tables of the family, and the oracles' calls, from the record of calibration."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase

from ml_trainer_env.calibration.candidates import Candidate
from ml_trainer_env.server.tuning.families.table import Row, row_to_json
from ml_trainer_env.server.tuning.reference import score_at

__all__ = ["TIERS", "heuristic_score", "tier_bounds", "write_oracles", "write_table"]

TIERS = 8
"""Number of tiers. Each has as many tasks of the validation split."""

MAX_REWARD = 1.0
"""The most that the last call of an oracle is paid: the score of rubric v3."""

TOLERATED_DEVIATIONS = 3.0
"""The same calls on another machine are another repeat. An oracle is chosen, so a lucky run: of the repeats of 128
oracles the median scored 0.6 deviations less, one in twenty 2.5, and none 3."""


def heuristic_score(candidate: Candidate) -> float:
    """Return the heuristic's mean score over seeds, on an accepted candidate."""
    reference = candidate.reference
    assert reference is not None
    return statistics.fmean(score_at(reference.position(value)) for value in candidate.heuristic)


def tier_bounds(candidates: Sequence[Candidate]) -> list[float]:
    """Return the scores of the heuristic that divide candidates into tiers of one size, highest first.

    Equals are in one tier, the harder one: a tier may be larger where the heuristic never leaves the lowest score.
    """
    scores = sorted(map(heuristic_score, candidates), reverse=True)
    return [scores[len(scores) * tier // TIERS] for tier in range(1, TIERS)] if len(scores) >= TIERS else []


def write_table(file: Path, candidates: Sequence[Candidate], bounds: Sequence[float]) -> None:
    """Write the table of a split.

    Args:
        file: The file.
        candidates: Its accepted candidates, in the order of its indices.
        bounds: The bounds of the tiers.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(row_to_json(_row(one, bounds)) + "\n" for one in candidates))


def write_oracles(file: Path, split: str, candidates: Sequence[Candidate]) -> None:
    """Write the calls of the oracles of a split, one line of JSON for each task; see `validation.declarations`.

    Args:
        file: The file.
        split: The split.
        candidates: Its accepted candidates, in the order of its indices.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for index, one in enumerate(candidates):
        calls = _with_short_names(one.oracle_calls)
        task = f"tuning/{split}/{index}"
        reset = {"task_id": task, "seed": one.instance.seed}
        entry = {
            "task": task,
            "player": one.oracle_player,
            "reset": reset,
            "max_reward": MAX_REWARD,
            "tolerance": _tolerance(one),
            "calls": calls,
        }
        lines.append(json.dumps(entry))
    file.write_text("".join(f"{line}\n" for line in lines))


def _with_short_names(calls: Sequence[tuple[str, Mapping[str, object]]]) -> list[dict[str, object]]:
    """Return calls whose checkpoints are named "a", "b" and so on: graders take longer texts for secrets."""
    names: dict[object, str] = {}
    renamed: list[dict[str, object]] = []
    for tool, arguments in calls:
        given = dict(arguments)
        if "name" in given:
            given["name"] = names.setdefault(given["name"], ascii_lowercase[len(names)])
        renamed.append({"tool": tool, "arguments": given})
    return renamed


def _tolerance(candidate: Candidate) -> float:
    """Return how far the oracle's score may be from 1 on another machine, whose kernels round otherwise."""
    reference = candidate.reference
    assert reference is not None
    return round(TOLERATED_DEVIATIONS * reference.deviation / (reference.oracle - reference.default), 3)


def _row(candidate: Candidate, bounds: Sequence[float]) -> Row:
    assert candidate.reference is not None
    score = heuristic_score(candidate)
    return Row(
        number=candidate.number,
        instance=candidate.instance,
        reference=candidate.reference,
        tier=1 + sum(score <= bound for bound in bounds),
        cost_s=candidate.cost_s,
        checksum=candidate.checksum,
        identity=candidate.identity,
    )
