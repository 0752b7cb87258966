"""The record of a run: one line of JSON for each play, appended when it has ended."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ml_trainer_env.bench.plan import Cell, PlanError
from ml_trainer_env.bench.rows import Row

__all__ = ["RESULTS_FILE", "append_row", "read_rows", "write_rows"]

RESULTS_FILE = "results.jsonl"

_ROW = TypeAdapter(Row)


def read_rows(file: Path) -> dict[Cell, Row]:
    """Read the rows of a file, by their place in the plan. A last line that was cut off by a kill is left out.

    Raises:
        PlanError: A line before the last one is not a row.
    """
    content = file.read_bytes() if file.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    found: dict[Cell, Row] = {}
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            row = _ROW.validate_json(line)
        except ValidationError as error:
            raise PlanError(
                f"line {number} of {file} is not a result: {error.error_count()} fields are wrong"
            ) from error
        found[row.cell] = row
    return found


def append_row(file: Path, row: Row) -> None:
    """Append a row. A line that was cut off before is removed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab+") as lines:
        end = lines.seek(0, 2)
        lines.seek(max(0, end - 1))
        if end and lines.read(1) != b"\n":
            lines.truncate(file.read_bytes().rfind(b"\n") + 1)
        lines.write(_line(row))


def write_rows(file: Path, rows: Iterable[Row]) -> None:
    """Write all rows. A kill leaves the old file or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    written = file.with_name(f"{file.name}.new")
    written.write_bytes(b"".join(map(_line, rows)))
    written.replace(file)


def _line(row: Row) -> bytes:
    return _ROW.dump_json(row) + b"\n"
