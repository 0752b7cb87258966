"""The tasks of a ranked server: secret draws of the calibrated tasks of the split `test`.

Public code redraws a public task from its index. So a ranked server draws again what a secret can decide: the order of
the tasks, the examples and the order of their classes, the seed of the episode, and the seed and the place of a change.
Network, sizes, budget, start and kind of change are those of the row, and so are its references: a ranked task is
another draw of the same row.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Self

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.datasets import DatasetError, fit_sizes
from ml_trainer_env.server.store import RankedRun
from ml_trainer_env.server.tuning.families.draw import CHANGES, FAMILY_VERSION
from ml_trainer_env.server.tuning.families.instance import Instance
from ml_trainer_env.server.tuning.families.table import Row, load_table, row_to_json, rows_from_json
from ml_trainer_env.server.tuning.families.tasks import task_of
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.tasks import Task, UnknownTaskError

__all__ = ["RANKED", "RankedTableError", "RankedTasks"]

RANKED = "ranked"
"""The split of a ranked server."""

_SOURCE_SPLIT = "test"

_ORDERS_TRIED = 100
"""How many orders of the classes are tried. Some ask a class with few examples for too many of them."""

_ID = re.compile(r"ranked/(0|[1-9][0-9]{0,5})")

_ABOUT = (
    " This task is ranked: it can be begun once, it cannot be forked, its seed is drawn, and its score is told when "
    "the ranked run is closed."
)


class RankedTableError(MLTrainerError, ValueError):
    """There are no calibrated tasks to draw from. The message says where they were looked for."""


class RankedTasks:
    """The tasks `ranked/0`, `ranked/1` and so on. The same secret and rows give the same tasks.

    Args:
        secret: Decides all draws.
        rows: The calibrated tasks to draw from, at least one.
        count: Limit for the number of tasks. None for one of each row.

    Attributes:
        run: The ranked run that consists of these tasks.
    """

    def __init__(self, secret: str, rows: Sequence[Row], count: int | None = None) -> None:
        self._secret = secret.encode()
        self._rows = sorted(rows, key=lambda row: self._digest("row", _name(row)))[:count]
        lines = "\n".join(map(row_to_json, rows))
        facts = {
            "tasks": str(len(self)),
            "table": hashlib.sha256(lines.encode()).hexdigest()[:16],
            "family": str(FAMILY_VERSION),
        }
        self.run = RankedRun(self._digest("run").hex()[:16], facts)
        self._task = lru_cache(maxsize=None)(self._make_task)

    @classmethod
    def load(cls, secret: str, count: int | None = None, table: Path | None = None) -> Self:
        """Read the rows and create the tasks.

        Args:
            secret: Decides all draws.
            count: Limit for the number of tasks. None for one of each row.
            table: A file of calibrated tasks, as `table.row_to_json` writes them. None for the split `test`.

        Raises:
            RankedTableError: There are no rows, or the file cannot be read.
        """
        if table is None:
            rows = load_table(_SOURCE_SPLIT)
        else:
            try:
                rows = rows_from_json(table.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise RankedTableError(f"ML_TRAINER_RANKED_TABLE {table} cannot be read: {error}") from error
        if not rows:
            where = table or f"the split {_SOURCE_SPLIT!r} of this version"
            raise RankedTableError(f"a ranked server needs calibrated tasks, and {where} has none")
        return cls(secret, rows, count)

    def __len__(self) -> int:
        """Number of tasks."""
        return len(self._rows)

    def task_at(self, index: int) -> Task:
        """Return a task.

        Raises:
            IndexError: There is no such task.
        """
        if 0 <= index < len(self):
            return self._task(index)
        raise IndexError(f"there is no task {index} in the split {RANKED!r}")

    def find(self, task_id: object) -> Task:
        """Return the task of an id.

        Raises:
            UnknownTaskError: No task of this server has this id.
        """
        found = _ID.fullmatch(task_id) if isinstance(task_id, str) else None
        if found and int(found[1]) < len(self):
            return self._task(int(found[1]))
        raise UnknownTaskError(
            f"unknown task {task_id!r:.80}; this server is ranked, and its tasks are ranked/0 to ranked/{len(self) - 1}"
        )

    def _make_task(self, index: int) -> Task:
        row = self._rows[index]
        task = task_of(self._draw(row), RANKED, index, row)
        return replace(
            task,
            id=f"{RANKED}/{index}",
            description=task.description + _ABOUT,
            difficulty=RANKED,  # the measured tier and cost would tell which row it is
            cost_s=None,
            rubrics=(RubricVersion.V3,),
            withholds_grade=True,
        )

    def _draw(self, row: Row) -> Instance:
        """Draw the instance of a row."""
        instance, name = row.instance, _name(row)
        examples = replace(
            instance.examples, classes=self._draw_classes(row), seed=self._number(2**63, "examples", name)
        )
        drawn = replace(instance, examples=examples, seed=self._number(2**31, "episode", name))
        if instance.change is None:
            return drawn
        _, (earliest, latest) = CHANGES[instance.change.kind]
        share = earliest + (latest - earliest) * self._number(2**32, "place of the change", name) / 2**32
        return replace(
            drawn,
            change=replace(instance.change, seed=self._number(2**63, "change", name)),
            change_after=max(1, round(instance.budget * share)) if instance.change_after else 0,
        )

    def _draw_classes(self, row: Row) -> tuple[int, ...]:
        """Return the classes in an order that the collection can serve. That of the row if none is found."""
        drawn, name = row.instance.examples, _name(row)
        sizes = (drawn.train_size, drawn.validation_size, drawn.test_size)
        for attempt in range(_ORDERS_TRIED):
            keys = {label: self._digest("class", name, attempt, label) for label in drawn.classes}
            classes = tuple(sorted(drawn.classes, key=keys.__getitem__))
            try:
                if fit_sizes(drawn.collection, classes, *sizes, drawn.imbalance) == sizes:
                    return classes
            except DatasetError:
                continue
        return drawn.classes

    def _number(self, below: int, *purpose: object) -> int:
        """Return a whole number from 0 to `below` - 1, a power of 2 up to 2 ** 63."""
        return int.from_bytes(self._digest(*purpose)[:8], "big") % below

    def _digest(self, *purpose: object) -> bytes:
        return hmac.digest(self._secret, "\n".join(map(str, ("ml_trainer ranked", *purpose))).encode(), "sha256")


def _name(row: Row) -> str:
    """Return a text that no other row has."""
    return f"{row.number} {row.checksum}"
