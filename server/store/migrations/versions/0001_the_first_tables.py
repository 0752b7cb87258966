"""the first tables

Before there were migrations, SQLite files got their tables, columns and indexes when a program first needed them. So
here everything is created that is missing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _episode() -> sa.Column[int]:
    return sa.Column("episode", sa.Integer, sa.ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True)


def upgrade() -> None:
    op.create_table(
        "episodes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", _TEXT, nullable=False, unique=True),
        sa.Column("task", _TEXT, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("rubric", _TEXT, nullable=False),
        sa.Column("images", _TEXT, nullable=False),
        sa.Column("versions", _TEXT, nullable=False),
        sa.Column("rules", sa.Integer, nullable=False, server_default="1"),
        sa.Column("forked_from", _TEXT),
        sa.Column("owner", _TEXT, nullable=False),
        sa.Column("begun_at", sa.Float, nullable=False),
        sa.Column("called_at", sa.Float, nullable=False),
        sa.Column("epochs", sa.Integer, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
        sa.Column("score", sa.Float),
        sa.Column("needed", _TEXT, nullable=False),
        sa.Column("agent", _TEXT),
        if_not_exists=True,
    )
    op.create_table(
        "calls",
        _episode(),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("tool", _TEXT, nullable=False),
        sa.Column("arguments", _TEXT, nullable=False),
        sa.Column("reply", _TEXT),
        sa.Column("error", _TEXT),
        sa.Column("reached", sa.Boolean, nullable=False),
        sa.Column("inherited", sa.Boolean, nullable=False),
        sa.Column("epochs", _TEXT, nullable=False),
        sa.Column("weights_hash", _TEXT),
        sa.Column("reason", _TEXT),
        if_not_exists=True,
    )
    op.create_table(
        "holds",
        _episode(),
        sa.Column("owner", _TEXT, nullable=False),
        sa.Column("server", _TEXT, nullable=False),
        sa.Column("training", sa.Boolean, nullable=False),
        if_not_exists=True,
    )
    op.create_table("exports", _episode(), sa.Column("at", sa.Float, nullable=False), if_not_exists=True)
    op.create_table(
        "withheld",
        _episode(),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("figures", _TEXT, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "ranked_runs",
        sa.Column("run", _TEXT, primary_key=True),
        sa.Column("facts", _TEXT, nullable=False),
        sa.Column("report", _TEXT),
        if_not_exists=True,
    )
    op.create_table(
        "ranked_tasks",
        sa.Column("run", _TEXT, primary_key=True),
        sa.Column("task", _TEXT, primary_key=True),
        sa.Column("episode", _TEXT, nullable=False),
        sa.Column("begun_at", sa.Float, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "states",
        sa.Column("key", _TEXT, primary_key=True),
        sa.Column("bytes", sa.Integer, nullable=False),
        sa.Column("sha256", _TEXT, nullable=False),
        sa.Column("used_at", sa.Float, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "epochs",
        sa.Column("key", _TEXT, primary_key=True),
        sa.Column("metrics", _TEXT, nullable=False),
        sa.Column("weights_hash", _TEXT, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("used_at", sa.Float, nullable=False),
        if_not_exists=True,
    )
    _add_missing("episodes", sa.Column("rules", sa.Integer, nullable=False, server_default="1"))
    _add_missing("episodes", sa.Column("agent", _TEXT))
    _add_missing("calls", sa.Column("reason", _TEXT))
    for name, table, columns in (
        ("episodes_by_call", "episodes", ["called_at", "id"]),
        ("episodes_by_score", "episodes", ["score", "id"]),
        ("episodes_by_fork", "episodes", ["forked_from"]),
        ("ix_ranked_tasks_episode", "ranked_tasks", ["episode"]),
        ("ix_states_used_at", "states", ["used_at"]),
        ("ix_epochs_used_at", "epochs", ["used_at"]),
    ):
        op.create_index(name, table, columns, if_not_exists=True)


def _add_missing(table: str, column: "sa.Column[object]") -> None:
    """Add a column that an earlier SQLite file lacks."""
    if column.name not in {known["name"] for known in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)


def downgrade() -> None:
    for table in ("epochs", "states", "ranked_tasks", "ranked_runs", "withheld", "exports", "holds", "calls"):
        op.drop_table(table)
    op.drop_table("episodes")
