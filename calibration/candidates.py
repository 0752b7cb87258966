"""The record of calibration: one line of JSON for each candidate, whether it was accepted or not.

Of several lines with one number the last one counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from ml_trainer_env.calibration.instances import Measured
from ml_trainer_env.server.tuning.families.instance import Instance
from ml_trainer_env.server.tuning.reference import Reference

__all__ = ["Candidate", "accepted", "append", "candidate_of", "read"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate for a split's table.

    Attributes:
        number: Number of the draw.
        instance: The drawn instance.
        reference: The references. None if it was rejected.
        default: `m` of the default by seed; see `Measured`.
        oracle: `m` of the oracle's calls by seed.
        players: `m` of each player.
        oracle_player: The player whose calls are the oracle. "" if it was rejected early.
        oracle_calls: The oracle's calls, as tool and arguments.
        cost_s: Processor seconds of the default's episode.
        checksum: Checksum of the examples.
        identity: Key of the identity of the executor.
        heuristic: `m` of the heuristic by seed; see `Measured`. Empty if it was rejected, or is not measured yet.
    """

    number: int
    instance: Instance
    reference: Reference | None
    default: tuple[float, ...]
    oracle: tuple[float, ...]
    players: Mapping[str, float]
    oracle_player: str
    oracle_calls: tuple[tuple[str, Mapping[str, object]], ...]
    cost_s: float
    checksum: str
    identity: str
    heuristic: tuple[float, ...] = ()


_CANDIDATE = TypeAdapter(Candidate)


def candidate_of(number: int, instance: Instance, measured: Measured, identity: str) -> Candidate:
    """Return the record of a measured instance."""
    best = max(measured.trials, key=lambda trial: trial.validation)
    return Candidate(
        number=number,
        instance=instance,
        reference=measured.reference,
        default=tuple(measured.default),
        oracle=tuple(measured.oracle),
        players={trial.player: trial.value for trial in measured.trials},
        oracle_player=best.player if measured.oracle else "",
        oracle_calls=tuple(measured.oracle_calls) if measured.reference else (),
        cost_s=round(measured.trials[0].seconds, 3),
        checksum=measured.checksum,
        identity=identity,
        heuristic=tuple(measured.heuristic),
    )


def read(file: Path) -> list[Candidate]:
    """Read the candidates of a file, by number. A line that was cut off by a kill is left out.

    Raises:
        ValueError: A line before the last one is not a candidate.
    """
    text = file.read_text() if file.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    found = {one.number: one for one in map(_CANDIDATE.validate_json, whole.splitlines())}
    return [found[number] for number in sorted(found)]


def append(file: Path, candidate: Candidate) -> None:
    """Append a candidate to a file. A line that was cut off before is removed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab+") as lines:
        end = lines.seek(0, 2)
        lines.seek(max(0, end - 1))
        if end and lines.read(1) != b"\n":
            lines.truncate(file.read_bytes().rfind(b"\n") + 1)
        lines.write(_CANDIDATE.dump_json(candidate, exclude_defaults=True) + b"\n")


def accepted(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the accepted candidates before the first missing number, in order."""
    return [one for place, one in enumerate(candidates) if one.number == place and one.reference is not None]
