"""The order of the queue: users take turns.

Of those who wait, the user whose evaluation was taken up longest ago is next; what a user deployed first comes first.
So nobody's many or long evaluations keep those of others waiting. Finals come when nothing else waits.
"""

from typing import Any

import sqlalchemy as sa

from ml_trainer_env.arena.tables import Agent, Deploy, User

__all__ = ["in_order"]


def in_order(waiting: sa.ColumnElement[bool]) -> sa.Subquery:
    """Evaluations with their `position`, 1 for the next, if none is added and each is done in one turn.

    Args:
        waiting: Which evaluations wait.

    Returns:
        Columns `id` and `position`.
    """
    own: dict[str, Any] = {"partition_by": (Agent.user_id, Deploy.is_final), "order_by": Deploy.id}
    turns = (
        sa.select(
            Deploy.id,
            Deploy.is_final,
            User.served_at,
            sa.func.row_number().over(**own).label("turn"),
            sa.func.first_value(Deploy.id).over(**own).label("first_id"),
        )
        .join(Agent, Deploy.agent_id == Agent.id)
        .join(User, Agent.user_id == User.id)
        .where(waiting)
        .subquery()
    )
    order = turns.c.is_final, turns.c.turn, turns.c.served_at, turns.c.first_id
    return sa.select(turns.c.id, sa.func.row_number().over(order_by=order).label("position")).subquery()
