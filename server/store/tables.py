"""The tables of the store. Raise `SCHEMA_VERSION` when they change."""

import sqlalchemy as sa

__all__ = [
    "ADDED_COLUMNS",
    "CALLS",
    "EPISODES",
    "EPOCHS",
    "EXPORTS",
    "HOLDS",
    "INDEXES",
    "METADATA",
    "RANKED_RUNS",
    "RANKED_TASKS",
    "SCHEMA_VERSION",
    "STATES",
    "WITHHELD",
]

SCHEMA_VERSION = 2

ADDED_COLUMNS = (
    ("episodes", "rules", "INTEGER NOT NULL DEFAULT 1"),
    ("episodes", "agent", "TEXT"),
    ("calls", "reason", "TEXT"),
)
"""Columns that an earlier file may lack: table, column, declaration. A program that does not know `agent` and `reason`
leaves them empty, so these did not raise the version."""

METADATA = sa.MetaData()

EPISODES = sa.Table(
    "episodes",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("rubric", sa.Text, nullable=False),
    sa.Column("images", sa.Text, nullable=False),
    sa.Column("versions", sa.JSON, nullable=False),
    # A program of schema version 1 that still has the file open omits it and plays by rules 1.
    sa.Column("rules", sa.Integer, nullable=False, server_default="1"),
    sa.Column("forked_from", sa.Text),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("begun_at", sa.Float, nullable=False),
    sa.Column("called_at", sa.Float, nullable=False),
    sa.Column("epochs", sa.Integer, nullable=False, default=0),
    sa.Column("done", sa.Boolean, nullable=False, default=False),
    sa.Column("score", sa.Float),
    sa.Column("needed", sa.JSON, nullable=False),
    sa.Column("agent", sa.Text),
)
"""An episode. `owner` is the ownership token, `needed` the keys of the states that it may continue from."""

INDEXES = (
    sa.Index("episodes_by_call", EPISODES.c.called_at, EPISODES.c.id),
    sa.Index("episodes_by_score", EPISODES.c.score, EPISODES.c.id),
    sa.Index("episodes_by_fork", EPISODES.c.forked_from),
)
"""Indexes for lists of episodes. Created if they are missing, so older journals need no migration."""

CALLS = sa.Table(
    "calls",
    METADATA,
    sa.Column("episode", sa.ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("tool", sa.Text, nullable=False),
    sa.Column("arguments", sa.JSON, nullable=False),
    sa.Column("reply", sa.JSON(none_as_null=True)),
    sa.Column("error", sa.Text),
    sa.Column("reached", sa.Boolean, nullable=False),
    sa.Column("inherited", sa.Boolean, nullable=False),
    sa.Column("epochs", sa.JSON, nullable=False),
    sa.Column("weights_hash", sa.Text),
    sa.Column("reason", sa.Text),
)
"""A call of the agent, with its reply or error and the epochs that it trained."""

HOLDS = sa.Table(
    "holds",
    METADATA,
    sa.Column("episode", sa.ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("server", sa.Text, nullable=False),
    sa.Column("training", sa.Boolean, nullable=False),
)
"""An episode that a session plays: the ownership token, the server (see `presence`), and whether the name is reserved
while its first epochs are trained. Created if it is missing, so older journals need no migration."""

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
    sa.Column("figures", sa.JSON, nullable=False),
)
"""What call `number` of an episode came to and its reply did not tell. Created if it is missing, as `HOLDS`."""

RANKED_RUNS = sa.Table(
    "ranked_runs",
    METADATA,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("report", sa.JSON(none_as_null=True)),
)
"""A ranked run: what it must keep to, and its report once it is closed. Created if it is missing, as `HOLDS`."""

RANKED_TASKS = sa.Table(
    "ranked_tasks",
    METADATA,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("task", sa.Text, primary_key=True),
    sa.Column("episode", sa.Text, nullable=False, index=True),
    sa.Column("begun_at", sa.Float, nullable=False),
)
"""A task of a ranked run that was begun, with the name of its only episode. Created if it is missing, as `HOLDS`."""

STATES = sa.Table(
    "states",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("bytes", sa.Integer, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("used_at", sa.Float, nullable=False, index=True),
)
"""The file of a training state."""

EPOCHS = sa.Table(
    "epochs",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("weights_hash", sa.Text, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("used_at", sa.Float, nullable=False, index=True),
)
"""Result of an epoch on this machine, by the key of the state it ended in."""
