"""HTTP endpoints for organisers, in this service's own protocol. `challenges.organisers` has those of newer clients."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from ml_trainer_env.arena import audit
from ml_trainer_env.arena.access import Creator, InjectedServices
from ml_trainer_env.arena.competitions.repository import own_competition
from ml_trainer_env.arena.organisers import service
from ml_trainer_env.arena.organisers.download import collect, pack

__all__ = ["router"]

router = APIRouter(prefix="/api/creator_competition/competition/{cid}", tags=["organisers"])

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]


class BaselineMark(BaseModel):
    """Whether a submission is a baseline."""

    model_config = ConfigDict(extra="ignore")

    is_baseline: bool


@router.get("/submissions")
def submissions(cid: Id, caller: Creator, services: InjectedServices, request: Request) -> dict[str, Any]:
    """List all submissions to a competition with their scores, newest first."""
    with services.database.transaction(read_only=True) as session:
        own = own_competition(session, cid, caller.user_id)
        return {"submissions": service.submission_rows(session, request.app.state.boards, own)}


@router.get("/submissions/archive", response_class=StreamingResponse)
def archive(cid: Id, caller: Creator, services: InjectedServices, request: Request) -> StreamingResponse:
    """Get the files of all submissions and a table of their scores as a zip archive."""
    with services.database.transaction() as session:
        own = own_competition(session, cid, caller.user_id)
        found = collect(session, request.app.state.boards, own)
        audit.record(session, caller.user_id, "competition.download", str(cid), cid)
    headers = {"Content-Disposition": f'attachment; filename="competition-{cid}.zip"', "Cache-Control": "no-store"}
    return StreamingResponse(pack(found, services.blobs), media_type="application/zip", headers=headers)


@router.post("/submissions/rerun")
def rerun_all(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Run every submission again that was ever evaluated. Evaluations of participants come first."""
    found = service.rerun_all(services, cid, caller.user_id)
    refused = [{"id": aid, "error": reason} for aid, reason in found.refused.items()]
    return {"rerun": [_rerun_row(one) for one in found.done], "refused": refused}


@router.post("/submissions/{aid}/rerun")
def rerun(cid: Id, aid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Run a submission again, in whatever state it is. Its results until now no longer count."""
    return _rerun_row(service.rerun(services, cid, aid, caller.user_id))


@router.post("/submissions/{aid}/cancel")
def cancel(cid: Id, aid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Cancel the evaluation of a submission."""
    agent = service.cancel(services, cid, aid, caller.user_id)
    return {"id": aid, "status": agent.status}


@router.put("/submissions/{aid}/baseline")
def baseline(cid: Id, aid: Id, wanted: BaselineMark, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Mark a submission as a baseline, or take the mark back."""
    agent = service.mark_baseline(services, cid, aid, wanted.is_baseline, caller.user_id)
    return {"id": aid, "is_baseline": agent.is_baseline}


@router.delete("/submissions/{aid}")
def delete(cid: Id, aid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Delete a submission of a participant, whatever the rules say of deletion."""
    agent = service.delete(services, cid, aid, caller.user_id)
    return {"id": aid, "status": agent.status}


@router.get("/audit")
def read_audit(
    cid: Id,
    caller: Creator,
    services: InjectedServices,
    user: Annotated[str, Query(max_length=64)] = "",
    action: Annotated[str, Query(max_length=64)] = "",
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=audit.MAX_ENTRIES)] = 100,
) -> dict[str, Any]:
    """List what was done in a competition, newest first. `before` is the id of the last entry that was read."""
    with services.database.transaction(read_only=True) as session:
        own_competition(session, cid, caller.user_id)
        return {"entries": audit.read(session, audit.Filter(cid, user, action, before), limit)}


def _rerun_row(done: service.Rerun) -> dict[str, Any]:
    row = {"id": done.agent.id, "deployment_id": done.deploy_id, "dropped_results": done.dropped}
    return row | {"status": done.agent.status}
