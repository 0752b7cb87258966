"""finals, a board whose order is the index's, and what there is to say of an agent's files"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("attached_agent", sa.Column("final_rewards", sa.JSON(), nullable=False, server_default="[]"))
    message = sa.Column("files_message", sa.Text(), nullable=False, server_default="upload them again")
    op.add_column("attached_agent", message)
    op.add_column("deploy", sa.Column("is_final", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.drop_index("attached_agent_board", "attached_agent")
    op.create_index(
        "attached_agent_board",
        "attached_agent",
        ["competition_id", "status", sa.text("mean_reward DESC"), "scored_deploy_id", "scored_at"],
    )
