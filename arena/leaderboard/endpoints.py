"""HTTP endpoint of the leaderboard."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from ml_trainer_env.arena.access import InjectedServices
from ml_trainer_env.arena.competitions.repository import visible_competition
from ml_trainer_env.arena.leaderboard.cache import Boards

__all__ = ["router"]

router = APIRouter(prefix="/api/leaderboard", tags=["leaderboard"])


@router.get("/competition/{cid}", response_model=list[dict[str, Any]])
def leaderboard(cid: Annotated[int, Path(ge=1, le=2**31 - 1)], services: InjectedServices, request: Request) -> Any:
    """Get the leaderboard of a public competition."""
    boards: Boards = request.app.state.boards
    with services.database.transaction(read_only=True) as session:
        content = boards.as_json(session, visible_competition(session, cid))
    return Response(content, media_type="application/json")
