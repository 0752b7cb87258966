"""What every epoch came to, by the key of the state it ended in: the figures half of the replay cache."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from ml_trainer_env.server.store.damage import checked, loaded, raw
from ml_trainer_env.server.store.database import Database
from ml_trainer_env.server.store.tables import EPOCHS
from ml_trainer_env.server.trainer.metrics import EpochMetrics

__all__ = ["EpochFigures", "EpochStore", "checked_metrics", "record_epochs"]

_LOG = logging.getLogger(__name__)

MAX_EPOCHS = 200_000
"""Rows kept, about 100 MB; the least recently used go first."""


@dataclass(frozen=True, slots=True)
class EpochFigures:
    """What an epoch came to, its state aside.

    Attributes:
        key: Of the state it ended in.
        metrics: Its figures.
        weights_hash: SHA-256 of the weights it ended in.
        seconds: Wall time it took when it was trained.
    """

    key: str
    metrics: EpochMetrics
    weights_hash: str
    seconds: float


class EpochStore:
    """Figures of epochs that were trained on this machine."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, keys: Sequence[str]) -> dict[str, EpochFigures]:
        """The epochs known among `keys`. Counts as a use of them."""
        found: dict[str, EpochFigures] = {}
        damaged: list[str] = []

        def read(connection: sa.Connection) -> None:
            rows = connection.execute(sa.select(*map(raw, EPOCHS.c)).where(EPOCHS.c.key.in_(keys))).mappings()
            for row in rows:
                try:
                    found[row["key"]] = _figures(row)
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
        """How many epochs are known."""
        statement = sa.select(sa.func.count()).select_from(EPOCHS)
        return await self._database.read(lambda connection: connection.execute(statement).scalar_one())


def record_epochs(connection: sa.Connection, epochs: Sequence[EpochFigures]) -> None:
    """Write epochs down, within a transaction; drop the least recently used of too many."""
    if not epochs:
        return
    now = time.time()
    rows = [{**asdict(figures), "used_at": now} for figures in epochs]
    connection.execute(insert(EPOCHS).on_conflict_do_nothing(), rows)
    count = connection.execute(sa.select(sa.func.count()).select_from(EPOCHS)).scalar_one()
    if count > MAX_EPOCHS:
        oldest = sa.select(EPOCHS.c.key).order_by(EPOCHS.c.used_at).limit(count - MAX_EPOCHS * 9 // 10)
        connection.execute(sa.delete(EPOCHS).where(EPOCHS.c.key.in_(oldest)))


def checked_metrics(fields: Mapping[str, object]) -> EpochMetrics:
    """The figures of an epoch, if they are all there.

    Raises:
        ValueError: They are not.
    """
    names = EpochMetrics.__dataclass_fields__
    if set(fields) != set(names):
        raise ValueError(f"its figures are {sorted(fields)}")
    kinds: Mapping[str, Any] = {"diverged": bool}
    return EpochMetrics(**{name: checked(name, fields[name], kinds.get(name, float | int)) for name in names})


def _figures(row: sa.RowMapping) -> EpochFigures:
    return EpochFigures(
        key=str(row["key"]),
        metrics=checked_metrics(loaded("metrics", row["metrics"], dict)),
        weights_hash=checked("weights_hash", row["weights_hash"], str),
        seconds=checked("seconds", row["seconds"], float | int),
    )
