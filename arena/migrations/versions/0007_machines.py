"""the signing key of a service whose workers are on several machines"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "service_key",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key_hex", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
