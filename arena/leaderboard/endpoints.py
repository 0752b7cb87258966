"""HTTP for the board."""

from typing import Annotated, Any

from fastapi import APIRouter, Path

from ml_trainer_env.arena.access import Parts
from ml_trainer_env.arena.competitions.repository import visible_competition
from ml_trainer_env.arena.leaderboard.service import board

__all__ = ["router"]

router = APIRouter(prefix="/api/leaderboard", tags=["leaderboard"])


@router.get("/competition/{cid}")
def leaderboard(cid: Annotated[int, Path(ge=1, le=2**31 - 1)], parts: Parts) -> list[dict[str, Any]]:
    """The board of a public competition."""
    with parts.database.transaction(read_only=True) as session:
        return board(session, visible_competition(session, cid))
