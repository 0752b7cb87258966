"""The tables of calibrated tasks, one file of JSON lines for each split. Row `i` is the task of index `i`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pydantic import TypeAdapter

from ml_trainer_env.server.tuning.families.instance import Instance
from ml_trainer_env.server.tuning.reference import Reference

__all__ = ["Row", "load_table", "row_to_json", "rows_from_json"]

_FOLDER = files("ml_trainer_env.server.tuning.families") / "tables"


@dataclass(frozen=True, slots=True)
class Row:
    """A calibrated task.

    Attributes:
        number: Number of the draw; see `draw.draw_instance`.
        instance: The drawn instance.
        reference: The references of rubric v3.
        tier: Difficulty, 1 to 8, by the mean score of the heuristic.
        cost_s: Seconds of an episode that spends the whole budget.
        checksum: Checksum of the examples.
        identity: Key of the identity of the executor that measured it; see `executors.identity`.
    """

    number: int
    instance: Instance
    reference: Reference
    tier: int
    cost_s: float
    checksum: str
    identity: str


_ROW = TypeAdapter(Row)


def row_to_json(row: Row) -> str:
    """Return a row as JSON on one line."""
    return _ROW.dump_json(row, exclude_defaults=True).decode()


def rows_from_json(lines: str) -> tuple[Row, ...]:
    """Read rows from lines of JSON.

    Raises:
        ValueError: A line is not a row.
    """
    return tuple(_ROW.validate_json(line) for line in lines.splitlines())


@cache
def load_table(split: str) -> Sequence[Row]:
    """Return the rows of a split. Empty if the split has no table."""
    file = _FOLDER / f"{split}.jsonl"
    return rows_from_json(file.read_text()) if file.is_file() else ()
