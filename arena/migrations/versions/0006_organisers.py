"""baselines, and the competition of each entry of the audit log, so that its organisers can read it"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_CID = "CAST(SUBSTR(subject, 1, INSTR(subject || ' ', ' ') - 1) AS INTEGER)"
_CID_POSTGRESQL = "CAST(SPLIT_PART(subject, ' ', 1) AS INTEGER)"


def upgrade() -> None:
    op.add_column("attached_agent", sa.Column("is_baseline", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("audit", sa.Column("competition_id", sa.Integer(), nullable=True))
    op.create_index("ix_audit_competition_id", "audit", ["competition_id"])
    first = _CID_POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _CID
    op.execute(
        f"UPDATE audit SET competition_id = {first} WHERE action LIKE 'competition.%' OR action LIKE 'dataset.%'"
    )
    op.execute(
        f"UPDATE audit SET competition_id = (SELECT competition_id FROM attached_agent WHERE id = {first}) "
        "WHERE action LIKE 'agent.%'"
    )
