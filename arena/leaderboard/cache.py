"""Cache of rendered leaderboards. A large one is slow to compute, and is requested far more often than it changes."""

import json
import threading
from collections import OrderedDict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.leaderboard.service import board
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition

__all__ = ["Boards"]

MAX_BOARDS = 20

_Version = tuple[Any, ...]


class Boards:
    """Leaderboards as JSON, by competition. An entry is replaced when its leaderboard has changed."""

    def __init__(self) -> None:
        self._boards: OrderedDict[int, tuple[_Version, bytes]] = OrderedDict()
        self._rendering = threading.Lock()

    def as_json(self, session: Session, competition: Competition) -> bytes:
        """Get the leaderboard of a competition: a JSON list of rows.

        Args:
            session: A transaction.
            competition: The competition.
        """
        version = _version(session, competition)
        if (found := self._boards.get(competition.id)) is None or found[0] != version:
            with self._rendering:  # another thread may have rendered it meanwhile
                if (found := self._boards.get(competition.id)) is None or found[0] != version:
                    found = version, json.dumps(board(session, competition)).encode()
                    self._boards[competition.id] = found
                    self._boards.move_to_end(competition.id)
                    while len(self._boards) > MAX_BOARDS:
                        self._boards.popitem(last=False)
        return found[1]


def _version(session: Session, competition: Competition) -> _Version:
    """Get a key that changes with every new grade and every removed agent."""
    query = sa.select(sa.func.count(), sa.func.sum(Agent.scored_deploy_id), sa.func.max(Agent.scored_at)).where(
        Agent.competition_id == competition.id, Agent.status == AgentStatus.ACTIVE
    )
    settings = competition.settings
    return *session.execute(query).one(), settings["evaluation_metric"], settings["evaluation_metric2"]
