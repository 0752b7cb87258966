"""Cache of rendered leaderboards. A large one is slow to compute, and is requested far more often than it changes."""

import json
import threading
from collections import OrderedDict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.leaderboard.service import Entry, board_rows, ranked_entries
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, TeamMember

__all__ = ["Boards"]

MAX_BOARDS = 100

_Version = tuple[Any, ...]


class Boards:
    """Ranked agents and leaderboards as JSON, by competition. A board is replaced when it has changed."""

    def __init__(self) -> None:
        self._boards: OrderedDict[int, tuple[_Version, list[Entry], bytes]] = OrderedDict()
        self._rendering = threading.Lock()

    def as_json(self, session: Session, competition: Competition) -> bytes:
        """Get the leaderboard of a competition: a JSON list of rows.

        Args:
            session: A transaction.
            competition: The competition.
        """
        return self._find(session, competition)[2]

    def entries(self, session: Session, competition: Competition) -> list[Entry]:
        """Get the ranked agents of a competition. They are shared: do not change them.

        Args:
            session: A transaction.
            competition: The competition.
        """
        return self._find(session, competition)[1]

    def _find(self, session: Session, competition: Competition) -> tuple[_Version, list[Entry], bytes]:
        version = _version(session, competition)
        if (found := self._boards.get(competition.id)) is None or found[0] != version:
            with self._rendering:  # another thread may have rendered it meanwhile
                if (found := self._boards.get(competition.id)) is None or found[0] != version:
                    entries = ranked_entries(session, competition)
                    found = version, entries, json.dumps(board_rows(entries, competition)).encode()
                    self._boards[competition.id] = found
                    self._boards.move_to_end(competition.id)
                    while len(self._boards) > MAX_BOARDS:
                        self._boards.popitem(last=False)
        return found


def _version(session: Session, competition: Competition) -> _Version:
    """Get a key that changes with every new grade, every removed or marked agent, and every new name or setting."""
    query = sa.select(
        sa.func.count(),
        sa.func.sum(Agent.scored_deploy_id),
        sa.func.max(Agent.scored_at),
        sa.func.max(Agent.changed_at),
    ).where(Agent.competition_id == competition.id, Agent.status == AgentStatus.ACTIVE)
    settings = settings_of(competition)
    shown = settings.evaluation_metric, settings.evaluation_metric2, settings.lower_is_better
    found: _Version = (*session.execute(query).one(), *shown, settings.rows_per_participant)
    if settings.rows_per_participant is None:
        return found
    members = sa.select(sa.func.count(), sa.func.sum(TeamMember.id)).where(TeamMember.competition_id == competition.id)
    return *found, *session.execute(members).one()
