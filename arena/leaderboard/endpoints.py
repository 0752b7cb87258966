"""HTTP endpoint of the leaderboard."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from ml_trainer_env.arena.access import InjectedServices
from ml_trainer_env.arena.competitions.repository import visible_competition
from ml_trainer_env.arena.competitions.service import holds_results
from ml_trainer_env.arena.leaderboard.cache import Boards
from ml_trainer_env.arena.leaderboard.metrics import board_metric
from ml_trainer_env.arena.leaderboard.service import board_rows, ranked_by

__all__ = ["router"]

router = APIRouter(prefix="/api/leaderboard", tags=["leaderboard"])


@router.get("/competition/{cid}", response_model=list[dict[str, Any]])
def leaderboard(
    cid: Annotated[int, Path(ge=1, le=2**31 - 1)],
    services: InjectedServices,
    request: Request,
    metric: Annotated[str, Query(max_length=32)] = "",
    limit: Annotated[int | None, Query(ge=0, le=100_000)] = None,
) -> Any:
    """Get the leaderboard of a public competition, by its ranking metric or another one that has an order.

    It is empty while results are held back. `limit` keeps that many rows, the best ones.
    """
    boards: Boards = request.app.state.boards
    with services.database.transaction(read_only=True) as session:
        found = visible_competition(session, cid)
        wanted = board_metric(found, metric) if metric else None
        if holds_results(session, found, None):
            return []
        if wanted is not None:
            return board_rows(ranked_by(boards.entries(session, found), wanted)[:limit], found, wanted)
        if limit is not None:
            return board_rows(boards.entries(session, found)[:limit], found)
        content = boards.as_json(session, found)
    return Response(content, media_type="application/json")
