"""Stores the figures of units of work, by the key of the state they ended in. One half of the replay cache."""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ml_trainer_env.server.store.damage import check_value, load_json, raw_column
from ml_trainer_env.server.store.database import Database
from ml_trainer_env.server.store.statements import conflict_insert
from ml_trainer_env.server.store.tables import EPOCHS
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.metrics import DIAGNOSTIC_FIGURES, EPOCH_FIGURES, are_recorded

__all__ = ["UnitFigures", "UnitStore", "check_figures", "record_units"]

_LOG = logging.getLogger(__name__)

MAX_UNITS = 200_000
"""Limit for the rows, about 100 MB. When it is exceeded, the least recently used ones are deleted."""

_FLAGS = ("diverged",)
"""Figures of an epoch that are flags."""


@dataclass(frozen=True, slots=True)
class UnitFigures:
    """The result of a unit of work without its state.

    Attributes:
        key: Key of the state it ended in.
        figures: Its figures.
        digest: Digest (hex) of the state it ended in.
        seconds: Wall time of the unit, in seconds.
    """

    key: str
    figures: Figures
    digest: str
    seconds: float


class UnitStore:
    """Stores figures of units that ran on this machine."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, keys: Sequence[str], names: Collection[str]) -> dict[str, UnitFigures]:
        """Return the known units among some, by key. Marks them as used.

        Args:
            keys: Keys of the states that the units end in.
            names: Names of their figures. A row with other figures is damaged.
        """
        found: dict[str, UnitFigures] = {}
        damaged: list[str] = []

        def read(connection: sa.Connection) -> None:
            rows = connection.execute(sa.select(*map(raw_column, EPOCHS.c)).where(EPOCHS.c.key.in_(keys))).mappings()
            for row in rows:
                try:
                    found[row["key"]] = _unit_from_row(row, names)
                except ValueError:
                    damaged.append(row["key"])

        await self._database.read(read)
        if damaged:
            _LOG.warning("the figures of %d epochs are damaged; they will be trained again", len(damaged))
            deletion = sa.delete(EPOCHS).where(EPOCHS.c.key.in_(damaged))
            await self._database.write(lambda connection: connection.execute(deletion))
        if found:
            used = sa.update(EPOCHS).where(EPOCHS.c.key.in_(list(found))).values(used_at=time.time())
            self._database.submit(lambda connection: connection.execute(used))
        return found

    async def count(self) -> int:
        """Return the number of known units."""
        statement = sa.select(sa.func.count()).select_from(EPOCHS)
        return await self._database.read(lambda connection: connection.execute(statement).scalar_one())


def record_units(connection: sa.Connection, units: Sequence[UnitFigures]) -> None:
    """Record units in a transaction. Over the limit, delete the least recently used ones."""
    if not units:
        return
    now = time.time()
    rows = [
        {
            "key": unit.key,
            "metrics": dict(unit.figures),
            "weights_hash": unit.digest,
            "seconds": unit.seconds,
            "used_at": now,
        }
        for unit in units
    ]
    connection.execute(conflict_insert(connection, EPOCHS).on_conflict_do_nothing(), rows)
    count = connection.execute(sa.select(sa.func.count()).select_from(EPOCHS)).scalar_one()
    if count > MAX_UNITS:
        oldest = sa.select(EPOCHS.c.key).order_by(EPOCHS.c.used_at).limit(count - MAX_UNITS * 9 // 10)
        connection.execute(sa.delete(EPOCHS).where(EPOCHS.c.key.in_(oldest)))


def check_figures(fields: Mapping[str, object], names: Collection[str] | None = None) -> Figures:
    """Return the figures of a unit if they are valid.

    Args:
        fields: The values that were read.
        names: Expected names; None for any.

    Raises:
        ValueError: A name or a value is invalid.
    """
    if names is not None and set(fields) != set(names):
        raise ValueError(f"its figures are {sorted(fields)}")
    is_epoch = are_recorded(fields, EPOCH_FIGURES)
    return {
        name: _check_figure(name, value, _FLAGS if is_epoch and name not in DIAGNOSTIC_FIGURES else None)
        for name, value in fields.items()
    }


def _check_figure(name: str, value: object, flags: Collection[str] | None) -> float | bool | None:
    """Check one figure. With `flags`, it is a flag if named there, else a number. Without, it may be either or null."""
    if flags is None:
        figure: float | bool | None = value if isinstance(value, bool | None) else check_value(name, value, float | int)
        return figure
    number: float | bool = check_value(name, value, bool if name in flags else float | int)
    return number


def _unit_from_row(row: sa.RowMapping, names: Collection[str]) -> UnitFigures:
    return UnitFigures(
        key=str(row["key"]),
        figures=check_figures(load_json("metrics", row["metrics"], dict), names),
        digest=check_value("weights_hash", row["weights_hash"], str),
        seconds=check_value("seconds", row["seconds"], float | int),
    )
