"""HTTP endpoints for competitions: the public ones, and those for creators."""

import io
import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from ml_trainer_env.arena.access import Creator, InjectedServices
from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.competitions import service
from ml_trainer_env.arena.competitions.images import IMAGE_START, image_type
from ml_trainer_env.arena.competitions.repository import (
    competition_files,
    list_competitions,
    own_competition,
    visible_competition,
)
from ml_trainer_env.arena.competitions.schemas import (
    FileContent,
    Markdown,
    NewCompetition,
    SettingsUpdate,
    TagIds,
    Update,
)
from ml_trainer_env.arena.errors import RefusedError, TooLargeError
from ml_trainer_env.arena.files.names import file_name
from ml_trainer_env.arena.files.uploads import read_form, too_large_error, uploaded_file
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import FilePurpose, Tag
from ml_trainer_env.server.security.bodies import BodyTooLargeError, read_body

__all__ = ["creator", "public"]

public = APIRouter(prefix="/api", tags=["competitions"])
creator = APIRouter(prefix="/api/creator_competition/competition", tags=["creators"])

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]

_STARTED = {"": None, "started": True, "active": True, "draft": False, "upcoming": False}
_IMAGE_BYTES = 5 * 2**20
_JSON_BYTES = 8 * 2**20
"""A text file of 2 MB, escaped as JSON."""


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
        record(session, caller.user_id, "competition.update", f"{cid} {' '.join(sorted(wanted.model_fields_set))}")
        return service.describe(own)


@creator.put("/{cid}/tags")
def set_tags(cid: Id, wanted: TagIds, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Replace the tags of a competition."""
    with services.database.transaction(by=caller.user_id) as session:
        own = own_competition(session, cid, caller.user_id)
        service.set_tags(session, own, wanted.tag_ids)
        record(session, caller.user_id, "competition.tags", f"{cid} {wanted.tag_ids}")
        return {"tags": [tag.name for tag in own.tags]}


@creator.put("/{cid}/settings")
def settings(cid: Id, wanted: SettingsUpdate, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Change settings."""
    with services.database.transaction(by=caller.user_id) as session:
        own = own_competition(session, cid, caller.user_id)
        changed = service.update_settings(session, own, wanted.model_dump(), services.settings.max_upload_bytes)
        record(session, caller.user_id, "competition.settings", f"{cid} {' '.join(sorted(wanted.model_dump()))}")
        return changed.model_dump(mode="json")


@creator.put("/{cid}/env/files")
async def env_file(cid: Id, caller: Creator, services: InjectedServices, request: Request) -> dict[str, Any]:
    """Add or replace a file of the environment."""
    return await _put_file(cid, FilePurpose.ENV, caller.user_id, services, request)


@creator.put("/{cid}/benchmark/files")
async def benchmark_file(cid: Id, caller: Creator, services: InjectedServices, request: Request) -> dict[str, Any]:
    """Add or replace a file of the benchmark agent."""
    return await _put_file(cid, FilePurpose.BENCHMARK, caller.user_id, services, request)


@creator.post("/{cid}/env/sync-github")
def sync_github(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Always refused: this service makes no requests to other hosts."""
    with services.database.transaction(read_only=True) as session:
        own_competition(session, cid, caller.user_id)
    raise RefusedError("this service fetches nothing from elsewhere: upload the files")


@creator.post("/{cid}/image")
async def image(cid: Id, caller: Creator, services: InjectedServices, request: Request) -> dict[str, Any]:
    """Set the picture of a competition. Accepts PNG, JPEG, GIF and WebP."""
    await run_in_threadpool(_own, cid, caller.user_id, services)
    async with services.upload_locks.of(caller.user_id):
        form = await read_form(request, _IMAGE_BYTES)
        try:
            _, file = uploaded_file(form)
            image_type(await file.read(IMAGE_START))
            await file.seek(0)
            sha256, size = await run_in_threadpool(services.store_upload, caller.user_id, file.file, file.size or 0)
        finally:
            await form.close()
    await run_in_threadpool(_set_image, cid, caller.user_id, services, sha256)
    return {"sha256": sha256, "size": size}


@creator.put("/{cid}/markdown")
def markdown(cid: Id, wanted: Markdown, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Set the Markdown page of a competition."""
    with services.database.transaction(by=caller.user_id) as session:
        own_competition(session, cid, caller.user_id).markdown = wanted.content
        record(session, caller.user_id, "competition.markdown", str(cid))
    return {"size": len(wanted.content)}


@creator.put("/{cid}/start")
def start(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Start a competition."""
    with services.database.transaction(by=caller.user_id) as session:
        return service.describe(service.start(session, cid, caller.user_id))


async def _put_file(
    cid: int, purpose: FilePurpose, user_id: int, services: Services, request: Request
) -> dict[str, Any]:
    limit = await run_in_threadpool(_own, cid, user_id, services)
    async with services.upload_locks.of(user_id):
        name, sha256, size = await _read_file(limit, user_id, services, request)
        return await run_in_threadpool(_keep_file, cid, purpose, user_id, services, name, sha256, size)


async def _read_file(limit: int, user_id: int, services: Services, request: Request) -> tuple[str, str, int]:
    """Read and store a file from a form or from JSON. Returns its name, SHA-256 and size."""
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            body = await read_body(request.receive, _JSON_BYTES)
            wanted = FileContent.model_validate(json.loads(body or b""))
        except BodyTooLargeError as error:
            raise TooLargeError(str(error)) from error
        except (ValueError, ValidationError, RecursionError) as error:
            raise RefusedError("the body should be JSON with `filename` and `content`") from error
        name, content = file_name(wanted.filename), wanted.content.encode(errors="replace")
        if len(content) > limit:
            raise too_large_error(limit)
        return name, *await run_in_threadpool(services.store_upload, user_id, io.BytesIO(content), len(content))
    form = await read_form(request, limit)
    try:
        name, file = uploaded_file(form)
        return name, *await run_in_threadpool(services.store_upload, user_id, file.file, file.size or 0)
    finally:
        await form.close()


def _keep_file(
    cid: int, purpose: FilePurpose, user_id: int, services: Services, name: str, sha256: str, size: int
) -> dict[str, Any]:
    problem = services.sources.find_problem(name, sha256, size)
    with services.database.transaction(by=user_id) as session:
        own = own_competition(session, cid, user_id)
        service.keep_file(session, own, purpose, name, sha256, size)
        record(session, user_id, f"competition.{purpose}", f"{cid} {name}")
        files = [file.name for file in competition_files(session, cid, purpose)]
    return {"filename": name, "size": size, "files": files, "validation": problem or "ok"}


def _own(cid: int, user_id: int, services: Services) -> int:
    with services.database.transaction(read_only=True) as session:
        return service.settings_of(own_competition(session, cid, user_id)).max_upload_size_bytes


def _set_image(cid: int, user_id: int, services: Services, sha256: str) -> None:
    with services.database.transaction(by=user_id) as session:
        own_competition(session, cid, user_id).image_sha256 = sha256
        record(session, user_id, "competition.image", f"{cid} {sha256}")
