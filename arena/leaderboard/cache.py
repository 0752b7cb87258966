"""Boards as they were last sent: a large one takes long to make, and is asked for far more often than it changes."""

import json
import threading
from collections import OrderedDict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.leaderboard.service import board
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition

__all__ = ["Boards"]

KEPT = 20

_Stamp = tuple[Any, ...]


class Boards:
    """Boards as JSON, made anew when they have changed."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[_Stamp, bytes]] = OrderedDict()
        self._making = threading.Lock()

    def as_json(self, session: Session, competition: Competition) -> bytes:
        """The board of a competition: a list of rows.

        Args:
            session: A transaction.
            competition: Whose board.
        """
        stamp = _stamp(session, competition)
        if (found := self._kept.get(competition.id)) is None or found[0] != stamp:
            with self._making:  # whoever waited finds it made
                if (found := self._kept.get(competition.id)) is None or found[0] != stamp:
                    found = stamp, json.dumps(board(session, competition)).encode()
                    self._kept[competition.id] = found
                    self._kept.move_to_end(competition.id)
                    while len(self._kept) > KEPT:
                        self._kept.popitem(last=False)
        return found[1]


def _stamp(session: Session, competition: Competition) -> _Stamp:
    """What differs when a board does: whoever is graded, then or in the finals, is the last who was, for a while."""
    query = sa.select(sa.func.count(), sa.func.sum(Agent.scored_deploy_id), sa.func.max(Agent.scored_at)).where(
        Agent.competition_id == competition.id, Agent.status == AgentStatus.ACTIVE
    )
    settings = competition.settings
    return *session.execute(query).one(), settings["evaluation_metric"], settings["evaluation_metric2"]
