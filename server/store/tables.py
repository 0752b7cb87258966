"""The tables of the store. When they change, a migration changes those that exist; see `migrations`."""

import functools
import json
from typing import Any

import sqlalchemy as sa

__all__ = [
    "CALLS",
    "EPISODES",
    "EPOCHS",
    "EXPORTS",
    "HOLDS",
    "METADATA",
    "RANKED_RUNS",
    "RANKED_TASKS",
    "REVISION",
    "STATES",
    "STATE_LEDGER",
    "VERSION_TABLE",
    "WITHHELD",
    "JsonText",
]

REVISION = "0002"
"""The newest migration. A database of this revision is used as it is."""

VERSION_TABLE = "journal_version"
"""Alembic's table with the revision. The arena has one of its own, so both may share a PostgreSQL database."""

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Text in the order of its characters, so that a range of texts is a common beginning in every language."""


class JsonText(sa.types.TypeDecorator[Any]):
    """JSON as text, with NaN and infinities, which PostgreSQL's own type refuses.

    Callers in this process may pass values that JSON cannot hold. Such calls are refused, and recorded by `repr`.
    """

    impl = TEXT
    cache_ok = True
    _dumps = staticmethod(functools.partial(json.dumps, default=repr))

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        """Return the text of a value. None is NULL."""
        return None if value is None else self._dumps(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        """Return the value of a text."""
        return None if value is None else json.loads(value)


METADATA = sa.MetaData()

EPISODES = sa.Table(
    "episodes",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", TEXT, nullable=False, unique=True),
    sa.Column("task", TEXT, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("rubric", TEXT, nullable=False),
    sa.Column("images", TEXT, nullable=False),
    sa.Column("versions", JsonText, nullable=False),
    # A program of schema version 1 that still has the file open omits it and plays by rules 1.
    sa.Column("rules", sa.Integer, nullable=False, server_default="1"),
    sa.Column("forked_from", TEXT),
    sa.Column("owner", TEXT, nullable=False),
    sa.Column("begun_at", sa.Float, nullable=False),
    sa.Column("called_at", sa.Float, nullable=False),
    sa.Column("epochs", sa.Integer, nullable=False, default=0),
    sa.Column("done", sa.Boolean, nullable=False, default=False),
    sa.Column("score", sa.Float),
    sa.Column("needed", JsonText, nullable=False),
    sa.Column("agent", TEXT),
)
"""An episode. `owner` is the ownership token, `needed` the keys of the states that it may continue from."""

_INDEXES = (
    sa.Index("episodes_by_call", EPISODES.c.called_at, EPISODES.c.id),
    sa.Index("episodes_by_score", EPISODES.c.score, EPISODES.c.id),
    sa.Index("episodes_by_fork", EPISODES.c.forked_from),
)
"""Indexes for lists of episodes."""

CALLS = sa.Table(
    "calls",
    METADATA,
    sa.Column("episode", sa.ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("tool", TEXT, nullable=False),
    sa.Column("arguments", JsonText, nullable=False),
    sa.Column("reply", JsonText),
    sa.Column("error", TEXT),
    sa.Column("reached", sa.Boolean, nullable=False),
    sa.Column("inherited", sa.Boolean, nullable=False),
    sa.Column("epochs", JsonText, nullable=False),
    sa.Column("weights_hash", TEXT),
    sa.Column("reason", TEXT),
)
"""A call of the agent, with its reply or error and the epochs that it trained."""

HOLDS = sa.Table(
    "holds",
    METADATA,
    sa.Column("episode", sa.ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("owner", TEXT, nullable=False),
    sa.Column("server", TEXT, nullable=False),
    sa.Column("training", sa.Boolean, nullable=False),
)
"""An episode that a session plays: the ownership token, the server (see `presence`), and whether the name is reserved
while its first epochs are trained."""

EXPORTS = sa.Table(
    "exports",
    METADATA,
    sa.Column("episode", sa.ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
)
"""An episode that was exported and goes on elsewhere, with the time of its last export in seconds since 1970. Created
if it is missing, as `HOLDS`."""

WITHHELD = sa.Table(
    "withheld",
    METADATA,
    sa.Column("episode", sa.ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("figures", JsonText, nullable=False),
)
"""What call `number` of an episode came to and its reply did not tell."""

RANKED_RUNS = sa.Table(
    "ranked_runs",
    METADATA,
    sa.Column("run", TEXT, primary_key=True),
    sa.Column("facts", JsonText, nullable=False),
    sa.Column("report", JsonText),
)
"""A ranked run: what it must keep to, and its report once it is closed."""

RANKED_TASKS = sa.Table(
    "ranked_tasks",
    METADATA,
    sa.Column("run", TEXT, primary_key=True),
    sa.Column("task", TEXT, primary_key=True),
    sa.Column("episode", TEXT, nullable=False, index=True),
    sa.Column("begun_at", sa.Float, nullable=False),
)
"""A task of a ranked run that was begun, with the name of its only episode."""

STATES = sa.Table(
    "states",
    METADATA,
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("bytes", sa.Integer, nullable=False),
    sa.Column("sha256", TEXT, nullable=False),
    sa.Column("used_at", sa.Float, nullable=False, index=True),
)
"""The object of a training state."""

STATE_LEDGER = sa.Table(
    "state_ledger",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("journal", TEXT, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sweeper", TEXT),
)
"""One row about all states: the name of the journal, by which it has a folder of its own in a shared place, the size
of the objects, and the server that deletes objects without a row."""

EPOCHS = sa.Table(
    "epochs",
    METADATA,
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("metrics", JsonText, nullable=False),
    sa.Column("weights_hash", TEXT, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("used_at", sa.Float, nullable=False, index=True),
)
"""Result of an epoch on this machine, by the key of the state it ended in."""
