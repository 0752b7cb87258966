"""Order of the queue: users take turns.

The next evaluation belongs to the waiting user who was served longest ago. The evaluations of one user are served in
the order of deployment. So a user with many or long evaluations does not delay other users. Reruns that organisers
order are served after all these, and finals last.
"""

from typing import Any

import sqlalchemy as sa

from ml_trainer_env.arena.tables import Agent, Deploy, User

__all__ = ["in_order"]


def in_order(waiting: sa.ColumnElement[bool]) -> sa.Subquery:
    """Number the waiting evaluations in the order of the queue.

    The numbers assume that no evaluation is added and that each takes one turn.

    Args:
        waiting: Condition for waiting evaluations.

    Returns:
        Columns `id` and `position`; position 1 is next.
    """
    kinds = Deploy.is_final, Deploy.is_rerun
    own: dict[str, Any] = {"partition_by": (Agent.user_id, *kinds), "order_by": Deploy.id}
    turns = (
        sa.select(
            Deploy.id,
            *kinds,
            User.served_at,
            sa.func.row_number().over(**own).label("turn"),
            sa.func.first_value(Deploy.id).over(**own).label("first_id"),
        )
        .join(Agent, Deploy.agent_id == Agent.id)
        .join(User, Agent.user_id == User.id)
        .where(waiting)
        .subquery()
    )
    order = turns.c.is_final, turns.c.is_rerun, turns.c.turn, turns.c.served_at, turns.c.first_id
    return sa.select(turns.c.id, sa.func.row_number().over(order_by=order).label("position")).subquery()
