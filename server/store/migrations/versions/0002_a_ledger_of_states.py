"""a ledger of states

Their size was summed over all rows with each write.
"""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    ledger = op.create_table(
        "state_ledger",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("journal", _TEXT, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sweeper", _TEXT),
    )
    total = op.get_bind().execute(sa.text("SELECT coalesce(sum(bytes), 0) FROM states")).scalar_one()
    op.bulk_insert(ledger, [{"id": 1, "journal": uuid.uuid4().hex, "bytes": int(total), "sweeper": None}])


def downgrade() -> None:
    op.drop_table("state_ledger")
