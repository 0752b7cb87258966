"""HTTP endpoints for competitions: the public ones, and those for creators."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from ml_trainer_env.arena.access import Creator, InjectedServices
from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.competitions import service
from ml_trainer_env.arena.competitions.config import describe_changes
from ml_trainer_env.arena.competitions.files import receive_file, receive_image
from ml_trainer_env.arena.competitions.repository import (
    list_competitions,
    own_competition,
    visible_competition,
)
from ml_trainer_env.arena.competitions.schemas import (
    Markdown,
    NewCompetition,
    SettingsUpdate,
    TagIds,
    Update,
)
from ml_trainer_env.arena.errors import RefusedError
from ml_trainer_env.arena.tables import FilePurpose, Tag

__all__ = ["creator", "public"]

public = APIRouter(prefix="/api", tags=["competitions"])
creator = APIRouter(prefix="/api/creator_competition/competition", tags=["creators"])

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]

_STARTED = {"": None, "started": True, "active": True, "draft": False, "upcoming": False}


@public.get("/competitions/")
def competitions(
    services: InjectedServices,
    q: Annotated[str, Query(max_length=200)] = "",
    status: Annotated[str, Query(max_length=20)] = "",
    tags: Annotated[str, Query(max_length=500)] = "",
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=100)] = 24,
) -> dict[str, Any]:
    """List one page of the public competitions."""
    if status not in _STARTED:
        raise RefusedError(f"status should be one of {', '.join(filter(None, _STARTED))}")
    wanted = [tag for tag in tags.split(",") if tag]
    with services.database.transaction(read_only=True) as session:
        found, more = list_competitions(session, q, _STARTED[status], wanted, page, per_page)
        items = [service.describe(competition) for competition in found]
    return {"items": items, "metadata": {"page": page, "per_page": per_page, "has_next": more}}


@public.get("/competitions/{cid}")
def competition(cid: Id, services: InjectedServices) -> dict[str, Any]:
    """Get a public competition."""
    with services.database.transaction(read_only=True) as session:
        return service.describe(visible_competition(session, cid))


@public.get("/competition_tags/tags")
def tags(services: InjectedServices) -> list[dict[str, Any]]:
    """List all tags."""
    with services.database.transaction(read_only=True) as session:
        return [{"id": tag.id, "name": tag.name} for tag in session.query(Tag).order_by(Tag.name)]


@creator.post("", status_code=201)
def create(wanted: NewCompetition, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Create a competition."""
    with services.database.transaction(by=caller.user_id) as session:
        made = service.create(session, caller.user_id, wanted)
        return {"competition_id": made.id, "engine_name": "local"}


@creator.put("/{cid}")
def update(cid: Id, wanted: Update, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Change the name, the description or the visibility."""
    with services.database.transaction(by=caller.user_id) as session:
        own = own_competition(session, cid, caller.user_id)
        service.update(own, wanted)
        record(session, caller.user_id, "competition.update", f"{cid} {' '.join(sorted(wanted.model_fields_set))}", cid)
        return service.describe(own)


@creator.put("/{cid}/tags")
def set_tags(cid: Id, wanted: TagIds, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Replace the tags of a competition."""
    with services.database.transaction(by=caller.user_id) as session:
        own = own_competition(session, cid, caller.user_id)
        service.set_tags(session, own, wanted.tag_ids)
        record(session, caller.user_id, "competition.tags", f"{cid} {wanted.tag_ids}", cid)
        return {"tags": [tag.name for tag in own.tags]}


@creator.put("/{cid}/settings")
def settings(cid: Id, wanted: SettingsUpdate, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Change settings."""
    with services.database.transaction(by=caller.user_id) as session:
        own = own_competition(session, cid, caller.user_id)
        changes = wanted.model_dump()
        changed = service.update_settings(session, own, changes, services.settings.max_upload_bytes)
        record(session, caller.user_id, "competition.settings", describe_changes(cid, changes), cid)
        return changed.model_dump(mode="json")


@creator.put("/{cid}/env/files")
async def env_file(cid: Id, caller: Creator, services: InjectedServices, request: Request) -> dict[str, Any]:
    """Add or replace a file of the environment."""
    return await receive_file(cid, FilePurpose.ENV, caller.user_id, services, request)


@creator.put("/{cid}/benchmark/files")
async def benchmark_file(cid: Id, caller: Creator, services: InjectedServices, request: Request) -> dict[str, Any]:
    """Add or replace a file of the benchmark agent."""
    return await receive_file(cid, FilePurpose.BENCHMARK, caller.user_id, services, request)


@creator.post("/{cid}/env/sync-github")
def sync_github(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Always refused: this service makes no requests to other hosts."""
    with services.database.transaction(read_only=True) as session:
        own_competition(session, cid, caller.user_id)
    raise RefusedError("this service fetches nothing from elsewhere: upload the files")


@creator.post("/{cid}/image")
async def image(cid: Id, caller: Creator, services: InjectedServices, request: Request) -> dict[str, Any]:
    """Set the picture of a competition. Accepts PNG, JPEG, GIF and WebP."""
    sha256, size = await receive_image(cid, caller.user_id, services, request)
    return {"sha256": sha256, "size": size}


@creator.put("/{cid}/markdown")
def markdown(cid: Id, wanted: Markdown, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Set the Markdown page of a competition."""
    with services.database.transaction(by=caller.user_id) as session:
        own_competition(session, cid, caller.user_id).markdown = wanted.content
        record(session, caller.user_id, "competition.markdown", str(cid), cid)
    return {"size": len(wanted.content)}


@creator.put("/{cid}/start")
def start(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Start a competition."""
    with services.database.transaction(by=caller.user_id) as session:
        return service.describe(service.start(session, cid, caller.user_id))
