"""users take turns in the queue"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("user", sa.Column("served_at", sa.Double(), nullable=False, server_default="0"))
