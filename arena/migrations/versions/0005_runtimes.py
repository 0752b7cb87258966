"""runtimes that the operator adds, their packages, and the runtime of each evaluation"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("agent_runtime", sa.Column("environment", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("agent_runtime", sa.Column("packages", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("agent_runtime", sa.Column("modules", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("deploy", sa.Column("runtime_id", sa.Integer(), nullable=True))
