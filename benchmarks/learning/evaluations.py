"""Episodes held out, as rows in a file: what was played once is not played again."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from episodes import Order, played

__all__ = ["Evaluations", "rows_of", "spread"]

Row = dict[str, Any]
"""`split`, `index`, `player` and `update` (of a policy that learns, else None), and what came of it."""


class Evaluations:
    """The rows of a folder.

    Args:
        file: Where they are kept.
        pool: Plays the episodes.
    """

    def __init__(self, file: Path, pool: Executor) -> None:
        self._file, self._pool = file, pool
        self._rows = {_key(row): row for row in rows_of(file)}

    @property
    def rows(self) -> list[Row]:
        """All rows."""
        return list(self._rows.values())

    def of(self, wanted: Sequence[tuple[Row, Order]], together: int = 1) -> list[Row]:
        """Return the rows of episodes, and play those that are missing.

        Args:
            wanted: What each row is about, and the episode.
            together: So many in a row are played in one process: episodes of one task share steps there.
        """
        missing = [(row, order) for row, order in wanted if _key(row) not in self._rows]
        results = self._pool.map(played, [order for _, order in missing], chunksize=together)
        with self._file.open("a") as file:
            for (row, _), episode in zip(missing, results, strict=True):
                told = {"score": episode.score, "reward": episode.reward, "cpu_s": round(episode.cpu_s, 2)}
                self._rows[_key(row)] = row | told
                file.write(json.dumps(row | told) + "\n")
                file.flush()
        return [self._rows[_key(row)] for row, _ in wanted]


def rows_of(file: Path) -> list[Row]:
    """Return the rows of a file of JSON lines. A line that was cut off by a kill is left out."""
    text = file.read_text() if file.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def spread(values: Sequence[int], count: int) -> list[int]:
    """Return so many of the values, evenly spread."""
    if len(values) <= count:
        return list(values)
    return [values[place * len(values) // count] for place in range(count)]


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["split"], row["index"], row["player"], row["update"]
