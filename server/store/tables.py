"""The tables of the store. A change of them raises `SCHEMA_VERSION`."""

import sqlalchemy as sa

__all__ = ["ADDED_COLUMNS", "CALLS", "EPISODES", "EPOCHS", "HOLDS", "METADATA", "SCHEMA_VERSION", "STATES"]

SCHEMA_VERSION = 2

ADDED_COLUMNS = (("episodes", "rules", "INTEGER NOT NULL DEFAULT 1"),)
"""What a file of an earlier schema version may lack: table, column, declaration."""

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
    # A program of schema version 1 that still has the file open leaves it out, and plays by rules 1.
    sa.Column("rules", sa.Integer, nullable=False, server_default="1"),
    sa.Column("forked_from", sa.Text),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("begun_at", sa.Float, nullable=False),
    sa.Column("called_at", sa.Float, nullable=False),
    sa.Column("epochs", sa.Integer, nullable=False, default=0),
    sa.Column("done", sa.Boolean, nullable=False, default=False),
    sa.Column("score", sa.Float),
    sa.Column("needed", sa.JSON, nullable=False),
)
"""An episode. `owner` names who may append to it, `needed` the states it may go on from."""

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
)
"""A call of an episode's agent, with its reply or its error, and the epochs it trained."""

HOLDS = sa.Table(
    "holds",
    METADATA,
    sa.Column("episode", sa.ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("server", sa.Text, nullable=False),
    sa.Column("training", sa.Boolean, nullable=False),
)
"""An episode that a session plays: under which ownership, on which server (see `presence`), and whether its name is
reserved because its first epochs are being trained. Made where it is missing, so older journals need no change."""

STATES = sa.Table(
    "states",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("bytes", sa.Integer, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("used_at", sa.Float, nullable=False, index=True),
)
"""A file with a training state."""

EPOCHS = sa.Table(
    "epochs",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("weights_hash", sa.Text, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("used_at", sa.Float, nullable=False, index=True),
)
"""What an epoch came to on this machine, by the key of the state it ended in."""
