"""The figures of every unit of work, by the key of the state it ended in: one half of the replay cache."""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from ml_trainer_env.server.store.damage import checked, loaded, raw
from ml_trainer_env.server.store.database import Database
from ml_trainer_env.server.store.tables import EPOCHS
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.metrics import EPOCH_FIGURES

__all__ = ["UnitFigures", "UnitStore", "checked_figures", "record_units"]

_LOG = logging.getLogger(__name__)

MAX_UNITS = 200_000
"""Limit for the rows, about 100 MB. When it is exceeded, the least recently used ones are deleted."""

_FLAGS = ("diverged",)
"""Which figures of an epoch are flags."""


@dataclass(frozen=True, slots=True)
class UnitFigures:
    """The result of a unit of work, its state aside.

    Attributes:
        key: Key of the state it ended in.
        figures: Its figures.
        digest: Digest (hex) of the state it ended in.
        seconds: Wall time of the unit where it ran.
    """

    key: str
    figures: Figures
    digest: str
    seconds: float


class UnitStore:
    """Figures of units that ran on this machine."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, keys: Sequence[str], names: Collection[str]) -> dict[str, UnitFigures]:
        """Find the units known among some. Counts as a use of them.

        Args:
            keys: Keys of the states that the units end in.
            names: The names of their figures. A row with other figures is damaged.
        """
        found: dict[str, UnitFigures] = {}
        damaged: list[str] = []

        def read(connection: sa.Connection) -> None:
            rows = connection.execute(sa.select(*map(raw, EPOCHS.c)).where(EPOCHS.c.key.in_(keys))).mappings()
            for row in rows:
                try:
                    found[row["key"]] = _figures(row, names)
                except ValueError:
                    damaged.append(row["key"])

        await self._database.read(read)
        if damaged:
            _LOG.warning("the figures of %d epochs are damaged; they will be trained again", len(damaged))
            strike = sa.delete(EPOCHS).where(EPOCHS.c.key.in_(damaged))
            await self._database.write(lambda connection: connection.execute(strike))
        if found:
            used = sa.update(EPOCHS).where(EPOCHS.c.key.in_(list(found))).values(used_at=time.time())
            self._database.submit(lambda connection: connection.execute(used))
        return found

    async def count(self) -> int:
        """How many units are known."""
        statement = sa.select(sa.func.count()).select_from(EPOCHS)
        return await self._database.read(lambda connection: connection.execute(statement).scalar_one())


def record_units(connection: sa.Connection, units: Sequence[UnitFigures]) -> None:
    """Write units down, within a transaction; delete the least recently used of too many."""
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
    connection.execute(insert(EPOCHS).on_conflict_do_nothing(), rows)
    count = connection.execute(sa.select(sa.func.count()).select_from(EPOCHS)).scalar_one()
    if count > MAX_UNITS:
        oldest = sa.select(EPOCHS.c.key).order_by(EPOCHS.c.used_at).limit(count - MAX_UNITS * 9 // 10)
        connection.execute(sa.delete(EPOCHS).where(EPOCHS.c.key.in_(oldest)))


def checked_figures(fields: Mapping[str, object], names: Collection[str] | None = None) -> Figures:
    """The figures of a unit, if they are sound.

    Args:
        fields: As they were read.
        names: The names they must have; None for any.

    Raises:
        ValueError: A name or a value is not what a unit may have.
    """
    if names is not None and set(fields) != set(names):
        raise ValueError(f"its figures are {sorted(fields)}")
    flags = _FLAGS if set(fields) == set(EPOCH_FIGURES) else None
    return {name: _checked_figure(name, value, flags) for name, value in fields.items()}


def _checked_figure(name: str, value: object, flags: Collection[str] | None) -> float | bool | None:
    """A figure of an epoch is a number, or a flag if it is among `flags`. Other figures may be either, or null."""
    if flags is None:
        figure: float | bool | None = value if isinstance(value, bool | None) else checked(name, value, float | int)
        return figure
    number: float | bool = checked(name, value, bool if name in flags else float | int)
    return number


def _figures(row: sa.RowMapping, names: Collection[str]) -> UnitFigures:
    return UnitFigures(
        key=str(row["key"]),
        figures=checked_figures(loaded("metrics", row["metrics"], dict), names),
        digest=checked("weights_hash", row["weights_hash"], str),
        seconds=checked("seconds", row["seconds"], float | int),
    )
