"""matches: the evaluation whose files are the opponent of a run"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("run", sa.Column("opponent_deploy_id", sa.Integer(), nullable=True))
