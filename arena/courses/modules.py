"""HTTP endpoints for teachers: modules, their challenges, and lessons with their files."""

from typing import Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import AliasChoices, Field
from sqlalchemy.orm import Session

from ml_trainer_env.arena.access import InjectedServices, Teacher
from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.courses import service
from ml_trainer_env.arena.courses.repository import (
    module_slugs,
    owned_lesson,
    owned_module,
    readable_module,
)
from ml_trainer_env.arena.courses.request_bodies import Body, Id, Number, Order, Position, Text, Threshold, Title
from ml_trainer_env.arena.courses.rows import (
    challenge_link,
    lesson_entry,
    lesson_row,
    media_row,
    module_row,
)
from ml_trainer_env.arena.errors import NotFoundError, RefusedError
from ml_trainer_env.arena.files.names import file_name
from ml_trainer_env.arena.files.uploads import read_form, uploaded_file
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import (
    Lesson,
    LessonMedia,
    Module,
    ModuleChallenge,
    Visibility,
)

__all__ = ["router"]

router = APIRouter(prefix="/api/teacher", tags=["teachers"])


MAX_MEDIA = 100
MEDIA_BYTES = 50 * 2**20


class NewModule(Body):
    """A new module."""

    title: Title
    slug: str | None = Field(default=None, max_length=80)
    summary: Text = ""
    icon: str | None = Field(default=None, max_length=64)
    visibility: Visibility = Visibility.PRIVATE
    is_published: bool = True


class ModuleChange(Body):
    """Changed fields of a module."""

    title: Title | None = None
    summary: Text | None = None
    icon: str | None = Field(default=None, max_length=64)
    visibility: Visibility | None = None
    is_published: bool | None = None


class NewLink(Body):
    """A competition to attach. Older clients call it `competition_id`."""

    challenge_id: Number = Field(validation_alias=AliasChoices("challenge_id", "competition_id"))
    label: str | None = Field(default=None, max_length=200)
    position: Position | None = None
    pass_threshold: Threshold | None = None


class LinkChange(Body):
    """Changed fields of an attached competition. None clears a field."""

    label: str | None = Field(default=None, max_length=200)
    pass_threshold: Threshold | None = None


class NewLesson(Body):
    """A new lesson."""

    title: Title
    kind: Literal["lesson", "exercise"] = "lesson"
    slug: str | None = Field(default=None, max_length=80)
    parent_lesson_id: Number | None = None
    body_md: str = Field(default="", max_length=200_000)
    gated: bool = False


class LessonChange(Body):
    """Changed fields of a lesson."""

    title: Title | None = None
    body_md: str | None = Field(default=None, max_length=200_000)
    is_published: bool | None = None
    gated: bool | None = None
    estimated_minutes: int | None = Field(default=None, ge=0, le=100_000)


class Preview(Body):
    """The body of a lesson to check; None for the stored one."""

    body_md: str | None = Field(default=None, max_length=200_000)


@router.post("/modules", status_code=201)
def create_module(wanted: NewModule, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Create a module."""
    with services.database.transaction(by=caller.user_id) as session:
        slug = service.make_slug(wanted.slug, wanted.title, module_slugs(session, caller.user_id))
        made = Module(owner_id=caller.user_id, slug=slug, **wanted.model_dump(exclude={"slug"}))
        session.add(made)
        session.flush()
        record(session, caller.user_id, "module.create", str(made.id))
        return module_row(made, True)


@router.get("/modules")
def list_modules(
    caller: Teacher, services: InjectedServices, library: Literal["", "public"] = ""
) -> list[dict[str, Any]]:
    """List the caller's modules, or the public ones of other teachers."""
    own = Module.owner_id == caller.user_id
    wanted = sa.and_(~own, Module.visibility == Visibility.PUBLIC, Module.is_published) if library else own
    with services.database.transaction(read_only=True) as session:
        found = session.scalars(sa.select(Module).where(wanted).order_by(Module.id).limit(500))
        return [module_row(module, not library) for module in found]


@router.get("/modules/{module_id}")
def get_module(module_id: Id, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Get an own module, or a public one."""
    with services.database.transaction(read_only=True) as session:
        found = readable_module(session, module_id, caller.user_id)
        return module_row(found, found.owner_id == caller.user_id)


@router.put("/modules/{module_id}")
def update_module(module_id: Id, wanted: ModuleChange, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Change a module."""
    with services.database.transaction(by=caller.user_id) as session:
        found = owned_module(session, module_id, caller.user_id)
        for name, value in wanted.model_dump(exclude_none=True).items():
            setattr(found, name, value)
        record(session, caller.user_id, "module.update", str(module_id))
        return module_row(found, True)


@router.delete("/modules/{module_id}")
def delete_module(module_id: Id, caller: Teacher, services: InjectedServices, force: bool = False) -> dict[str, Any]:
    """Delete a module with its lessons. One that courses link is deleted only with `force`."""
    with services.database.transaction(by=caller.user_id) as session:
        service.delete_module(session, owned_module(session, module_id, caller.user_id), force)
        record(session, caller.user_id, "module.delete", str(module_id))
    return {"message": "the module was deleted"}


@router.post("/modules/{module_id}/fork", status_code=201)
def fork_module(module_id: Id, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Copy an own or a public module."""
    with services.database.transaction(by=caller.user_id) as session:
        found = readable_module(session, module_id, caller.user_id)
        slug = service.make_slug(None, found.title, module_slugs(session, caller.user_id))
        made = service.fork(session, found, caller.user_id, slug)
        record(session, caller.user_id, "module.fork", f"{module_id} {made.id}")
        return module_row(made, True)


@router.post("/modules/{module_id}/challenges", status_code=201)
@router.post("/modules/{module_id}/competitions", status_code=201)
def attach(module_id: Id, wanted: NewLink, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Attach a challenge to a module."""
    with services.database.transaction(by=caller.user_id) as session:
        found = owned_module(session, module_id, caller.user_id)
        competition = service.attachable(session, wanted.challenge_id, caller.user_id)
        link = service.attach(session, found, competition, wanted.label, wanted.position, wanted.pass_threshold)
        record(session, caller.user_id, "module.attach", f"{module_id} {competition.id}")
        session.refresh(link)
        return challenge_link(link)


@router.put("/modules/{module_id}/challenges/reorder")
@router.put("/modules/{module_id}/competitions/reorder")
def reorder_challenges(
    module_id: Id, wanted: Order, caller: Teacher, services: InjectedServices
) -> list[dict[str, Any]]:
    """Put the challenges of a module in another order."""
    with services.database.transaction(by=caller.user_id) as session:
        found = owned_module(session, module_id, caller.user_id)
        service.check_order(wanted.ordered_ids, [link.competition_id for link in found.challenges])
        for link in found.challenges:
            link.position = wanted.ordered_ids.index(link.competition_id)
        record(session, caller.user_id, "module.reorder", str(module_id))
        return [challenge_link(link) for link in sorted(found.challenges, key=lambda one: one.position)]


@router.put("/modules/{module_id}/challenges/{challenge_id}")
@router.put("/modules/{module_id}/competitions/{challenge_id}")
def update_link(
    module_id: Id, challenge_id: Id, wanted: LinkChange, caller: Teacher, services: InjectedServices
) -> dict[str, Any]:
    """Change the label or the bar of an attached challenge."""
    with services.database.transaction(by=caller.user_id) as session:
        link = _link(session, owned_module(session, module_id, caller.user_id), challenge_id)
        for name in wanted.model_fields_set:
            setattr(link, name, getattr(wanted, name))
        record(session, caller.user_id, "module.attach.update", f"{module_id} {challenge_id}")
        return challenge_link(link)


@router.delete("/modules/{module_id}/challenges/{challenge_id}")
@router.delete("/modules/{module_id}/competitions/{challenge_id}")
def detach(module_id: Id, challenge_id: Id, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Detach a challenge from a module."""
    with services.database.transaction(by=caller.user_id) as session:
        found = owned_module(session, module_id, caller.user_id)
        found.challenges.remove(_link(session, found, challenge_id))
        record(session, caller.user_id, "module.detach", f"{module_id} {challenge_id}")
    return {"message": "the challenge was detached"}


@router.post("/modules/{module_id}/lessons", status_code=201)
def create_lesson(module_id: Id, wanted: NewLesson, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Create a lesson. It is a draft until it is published."""
    with services.database.transaction(by=caller.user_id) as session:
        found = owned_module(session, module_id, caller.user_id)
        if len(found.lessons) >= service.MAX_LESSONS:
            raise RefusedError(f"a module may have {service.MAX_LESSONS} lessons")
        parent = next((one for one in found.lessons if one.id == wanted.parent_lesson_id), None)
        if wanted.parent_lesson_id is not None and (parent is None or parent.parent_id is not None):
            raise RefusedError("parent_lesson_id should be a lesson of this module that has no parent itself")
        made = Lesson(
            module_id=module_id,
            parent_id=wanted.parent_lesson_id,
            slug=service.make_slug(wanted.slug, wanted.title, {one.slug for one in found.lessons}),
            position=len(found.lessons),
            **wanted.model_dump(exclude={"slug", "parent_lesson_id"}),
        )
        session.add(made)
        session.flush()
        record(session, caller.user_id, "lesson.create", f"{module_id} {made.id}")
        return lesson_row(made)


@router.put("/modules/{module_id}/lessons/reorder")
def reorder_lessons(module_id: Id, wanted: Order, caller: Teacher, services: InjectedServices) -> list[dict[str, Any]]:
    """Put the lessons of a module in another order."""
    with services.database.transaction(by=caller.user_id) as session:
        found = owned_module(session, module_id, caller.user_id)
        service.check_order(wanted.ordered_ids, [one.id for one in found.lessons])
        for one in found.lessons:
            one.position = wanted.ordered_ids.index(one.id)
        record(session, caller.user_id, "lesson.reorder", str(module_id))
        return [lesson_entry(one) for one in sorted(found.lessons, key=lambda one: one.position)]


@router.get("/lessons/{lesson_id}")
def get_lesson(lesson_id: Id, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Get an own lesson with its body."""
    with services.database.transaction(read_only=True) as session:
        return lesson_row(owned_lesson(session, lesson_id, caller.user_id))


@router.put("/lessons/{lesson_id}")
def update_lesson(lesson_id: Id, wanted: LessonChange, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Change a lesson."""
    with services.database.transaction(by=caller.user_id) as session:
        found = owned_lesson(session, lesson_id, caller.user_id)
        for name, value in wanted.model_dump(exclude_none=True).items():
            setattr(found, name, value)
        record(session, caller.user_id, "lesson.update", str(lesson_id))
        return lesson_row(found)


@router.delete("/lessons/{lesson_id}")
def delete_lesson(lesson_id: Id, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Delete a lesson with the lessons below it."""
    with services.database.transaction(by=caller.user_id) as session:
        service.delete_lesson(session, owned_lesson(session, lesson_id, caller.user_id))
        record(session, caller.user_id, "lesson.delete", str(lesson_id))
    return {"message": "the lesson was deleted"}


@router.post("/lessons/{lesson_id}/preview")
def preview(lesson_id: Id, wanted: Preview, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Check the body of a lesson. Directives are refused, because this service resolves none."""
    with services.database.transaction(read_only=True) as session:
        found = owned_lesson(session, lesson_id, caller.user_id)
        names = service.directives(found.body_md if wanted.body_md is None else wanted.body_md)
    if names:
        raise RefusedError(f"this service does not resolve the directives {', '.join(names)[:500]}")
    return {"directives": [], "warnings": []}


@router.get("/lessons/{lesson_id}/media")
def list_media(lesson_id: Id, caller: Teacher, services: InjectedServices) -> list[dict[str, Any]]:
    """List the files of a lesson."""
    with services.database.transaction(read_only=True) as session:
        return [media_row(one) for one in owned_lesson(session, lesson_id, caller.user_id).media]


@router.post("/lessons/{lesson_id}/media", status_code=201)
async def add_media(lesson_id: Id, caller: Teacher, services: InjectedServices, request: Request) -> dict[str, Any]:
    """Add or replace a file of a lesson."""
    await run_in_threadpool(_check_lesson, services, lesson_id, caller.user_id)
    async with services.upload_locks.of(caller.user_id):
        form = await read_form(request, min(MEDIA_BYTES, services.settings.max_upload_bytes))
        try:
            return await run_in_threadpool(_add_media, services, lesson_id, caller.user_id, form)
        finally:
            await form.close()


@router.delete("/lessons/{lesson_id}/media/{filename}")
def delete_media(lesson_id: Id, filename: str, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Delete a file of a lesson."""
    name = file_name(filename)
    with services.database.transaction(by=caller.user_id) as session:
        lesson = owned_lesson(session, lesson_id, caller.user_id)
        found = next((one for one in lesson.media if one.filename == name), None)
        if found is None:
            raise NotFoundError("the lesson has no such file")
        session.delete(found)
        record(session, caller.user_id, "lesson.media.delete", f"{lesson_id} {name}")
    return {"message": f"{name} was deleted"}


def _link(session: Session, module: Module, competition_id: int) -> ModuleChallenge:
    found = session.get(ModuleChallenge, (module.id, competition_id))
    if found is None:
        raise NotFoundError("the module has no such challenge")
    return found


def _check_lesson(services: Services, lesson_id: int, user_id: int) -> None:
    with services.database.transaction(read_only=True) as session:
        if len(owned_lesson(session, lesson_id, user_id).media) >= MAX_MEDIA:
            raise RefusedError(f"a lesson may have {MAX_MEDIA} files")


def _add_media(services: Services, lesson_id: int, user_id: int, form: Any) -> dict[str, Any]:
    name, file = uploaded_file(form)
    sha256, size = services.store_upload(user_id, file.file, file.size or 0)
    with services.database.transaction(by=user_id) as session:
        lesson = owned_lesson(session, lesson_id, user_id)
        found = next((one for one in lesson.media if one.filename == name), None)
        if found is None:
            found = LessonMedia(lesson_id=lesson_id, filename=name, sha256=sha256, size=size)
            session.add(found)
        found.sha256, found.size = sha256, size
        session.flush()
        record(session, user_id, "lesson.media", f"{lesson_id} {name} {sha256}")
        return media_row(found)
