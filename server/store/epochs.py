"""What every epoch came to, by the key of the state it ended in: the figures half of the replay cache."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from ml_trainer_env.server.store.database import Database
from ml_trainer_env.server.store.tables import EPOCHS
from ml_trainer_env.server.trainer.metrics import EpochMetrics

__all__ = ["EpochFigures", "EpochStore", "record_epochs"]

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

        def read(connection: sa.Connection) -> dict[str, EpochFigures]:
            rows = connection.execute(sa.select(EPOCHS).where(EPOCHS.c.key.in_(keys))).mappings()
            return {row["key"]: _figures(dict(row)) for row in rows}

        found = await self._database.read(read)
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


def _figures(row: Mapping[str, object]) -> EpochFigures:
    return EpochFigures(
        key=str(row["key"]),
        metrics=EpochMetrics(**row["metrics"]),  # type: ignore[arg-type]  # written by record_epochs
        weights_hash=str(row["weights_hash"]),
        seconds=float(row["seconds"]),  # type: ignore[arg-type]  # a REAL column
    )
