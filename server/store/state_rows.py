"""The rows of stored states, and their ledger: how many bytes they have, and which server sweeps.

Whoever changes rows locks the ledger first, so the counter is exact whatever other servers do at the same time.
"""

import time
from collections.abc import Iterable

import sqlalchemy as sa

from ml_trainer_env.server.store.postgresql import AdvisoryPresence
from ml_trainer_env.server.store.presence import Presence
from ml_trainer_env.server.store.statements import conflict_insert, needed_keys
from ml_trainer_env.server.store.tables import STATE_LEDGER, STATES

__all__ = [
    "count_again",
    "delete_states",
    "end_sweep",
    "journal_name",
    "make_room",
    "object_name",
    "record_state",
    "take_sweep",
    "total_bytes",
    "unlisted",
]


def object_name(key: str) -> str:
    """Return the name of a state's object."""
    return f"{key[:2]}/{key}.safetensors"


def journal_name(connection: sa.Connection) -> str:
    """Return the name of this journal, which no other journal has."""
    return str(connection.execute(sa.select(STATE_LEDGER.c.journal)).scalar_one())


def total_bytes(connection: sa.Connection) -> int:
    """Return the size of all stored states, in bytes."""
    return int(connection.execute(sa.select(STATE_LEDGER.c.bytes)).scalar_one())


def record_state(connection: sa.Connection, key: str, size: int, digest: str) -> None:
    """Record the object of a state, in place of one that it had."""
    _lock(connection)
    before = connection.execute(sa.select(STATES.c.bytes).where(STATES.c.key == key)).scalar_one_or_none()
    row = {"key": key, "bytes": size, "sha256": digest, "used_at": time.time()}
    insertion = conflict_insert(connection, STATES).values(row)
    connection.execute(insertion.on_conflict_do_update(index_elements=["key"], set_=row))
    _count(connection, size - (before or 0))


def delete_states(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[str]:
    """Delete the rows of some states. Return their keys."""
    _lock(connection)
    deleted = connection.execute(sa.delete(STATES).where(which).returning(STATES.c.key, STATES.c.bytes)).all()
    _count(connection, -sum(row.bytes for row in deleted))
    return [row.key for row in deleted]


def make_room(connection: sa.Connection, limit_bytes: int, keep: str) -> list[str]:
    """Delete rows of states until the others are within a limit, and return their keys.

    The least recently used go first, and those that an unfinished episode needs last.

    Args:
        connection: A transaction.
        limit_bytes: The limit.
        keep: Key of a state that stays.
    """
    _lock(connection)
    excess = total_bytes(connection) - limit_bytes
    if excess <= 0:
        return []
    is_needed = STATES.c.key.in_(needed_keys(connection))
    candidates = sa.select(STATES.c.key, STATES.c.bytes).where(STATES.c.key != keep)
    chosen = []
    for candidate in connection.execute(candidates.order_by(is_needed, STATES.c.used_at)):
        if excess <= 0:
            break
        chosen.append(candidate.key)
        excess -= candidate.bytes
    return delete_states(connection, STATES.c.key.in_(chosen))


def take_sweep(connection: sa.Connection, presence: Presence | AdvisoryPresence) -> bool:
    """Note that this server sweeps. False if another server that is alive does."""
    _lock(connection)
    sweeper = connection.execute(sa.select(STATE_LEDGER.c.sweeper)).scalar_one()
    if sweeper is not None and presence.is_alive(sweeper):
        return False
    connection.execute(sa.update(STATE_LEDGER).values(sweeper=presence.server))
    return True


def end_sweep(connection: sa.Connection) -> None:
    """Note that no server sweeps."""
    connection.execute(sa.update(STATE_LEDGER).values(sweeper=None))


def count_again(connection: sa.Connection) -> None:
    """Set the counter to the sum of all rows. An older program with the same file open does not count."""
    _lock(connection)  # a statement of its own: the sum must see what others committed before
    total = connection.execute(sa.select(sa.func.coalesce(sa.func.sum(STATES.c.bytes), 0))).scalar_one()
    connection.execute(sa.update(STATE_LEDGER).values(bytes=total))


def unlisted(connection: sa.Connection, names: Iterable[str]) -> list[str]:
    """Return those names of objects that no row has."""
    listed = {object_name(key) for key in connection.execute(sa.select(STATES.c.key)).scalars()}
    return [name for name in names if name not in listed]


def _lock(connection: sa.Connection) -> None:
    connection.execute(sa.select(STATE_LEDGER.c.id).with_for_update())


def _count(connection: sa.Connection, change: int) -> None:
    if change:
        connection.execute(sa.update(STATE_LEDGER).values(bytes=STATE_LEDGER.c.bytes + change))
