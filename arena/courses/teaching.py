"""HTTP endpoints for teachers: modules, lessons and their files, the composition of courses, students and results."""

import csv
import datetime as dt
import io
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from ml_trainer_env.arena.access import InjectedServices, Teacher
from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.challenges.board import open_board
from ml_trainer_env.arena.challenges.values import iso
from ml_trainer_env.arena.competitions.files import receive_picture
from ml_trainer_env.arena.courses import service
from ml_trainer_env.arena.courses.repository import (
    find_enrollment,
    managed_course,
    managed_courses,
    owned_course,
    owned_lesson,
    owned_module,
    readable_module,
    students,
)
from ml_trainer_env.arena.courses.rows import (
    challenge_cell,
    challenge_link,
    course_module_row,
    course_row,
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
    Competition,
    CompetitionAssistant,
    Course,
    CourseAssistant,
    CourseModule,
    Lesson,
    LessonMedia,
    Module,
    ModuleChallenge,
    User,
    Visibility,
)
from ml_trainer_env.arena.teams.repository import teams_by_user

__all__ = ["router"]

router = APIRouter(prefix="/api/teacher", tags=["teachers"])

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]
_Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Title = Annotated[str, Field(min_length=1, max_length=200)]
_Text = Annotated[str, Field(max_length=50_000)]
_Threshold = Annotated[float, Field(allow_inf_nan=False)]
_Position = Annotated[int, Field(ge=0, le=10_000)]

MAX_MEDIA = 100
MEDIA_BYTES = 50 * 2**20


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore")


class NewModule(_Body):
    """A new module."""

    title: _Title
    slug: str | None = Field(default=None, max_length=80)
    summary: _Text = ""
    icon: str | None = Field(default=None, max_length=64)
    visibility: Visibility = Visibility.PRIVATE
    is_published: bool = True


class ModuleChange(_Body):
    """Changed fields of a module."""

    title: _Title | None = None
    summary: _Text | None = None
    icon: str | None = Field(default=None, max_length=64)
    visibility: Visibility | None = None
    is_published: bool | None = None


class NewLink(_Body):
    """A competition to attach."""

    challenge_id: _Number
    label: str | None = Field(default=None, max_length=200)
    position: _Position | None = None
    pass_threshold: _Threshold | None = None


class LinkChange(_Body):
    """Changed fields of an attached competition. None clears a field."""

    label: str | None = Field(default=None, max_length=200)
    pass_threshold: _Threshold | None = None


class Order(_Body):
    """Ids in a new order."""

    ordered_ids: list[_Number] = Field(max_length=1000)


class NewLesson(_Body):
    """A new lesson."""

    title: _Title
    kind: Literal["lesson", "exercise"] = "lesson"
    slug: str | None = Field(default=None, max_length=80)
    parent_lesson_id: _Number | None = None
    body_md: str = Field(default="", max_length=200_000)
    gated: bool = False


class LessonChange(_Body):
    """Changed fields of a lesson."""

    title: _Title | None = None
    body_md: str | None = Field(default=None, max_length=200_000)
    is_published: bool | None = None
    gated: bool | None = None
    estimated_minutes: int | None = Field(default=None, ge=0, le=100_000)


class Preview(_Body):
    """The body of a lesson to check; None for the stored one."""

    body_md: str | None = Field(default=None, max_length=200_000)


class CourseChange(_Body):
    """Changed fields of a course."""

    name: _Title | None = None
    code: str | None = Field(default=None, max_length=64)
    description: _Text | None = None
    visibility: Visibility | None = None
    instructor_name: str | None = Field(default=None, max_length=200)
    start_date: dt.date | None = None
    end_date: dt.date | None = None


class NewCourseModule(_Body):
    """A module to link."""

    module_id: _Number
    position: _Position | None = None


class NewEntry(_Body):
    """A competition to add to a course, with a module of its own."""

    challenge_id: _Number
    title: _Title | None = None
    summary: _Text = ""
    pass_threshold: _Threshold | None = None
    is_published: bool = True


class Username(_Body):
    """A user."""

    username: str = Field(min_length=1, max_length=64)


@router.post("/modules", status_code=201)
def create_module(wanted: NewModule, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Create a module."""
    with services.database.transaction(by=caller.user_id) as session:
        slug = service.make_slug(wanted.slug, wanted.title, _module_slugs(session, caller.user_id))
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
        slug = service.make_slug(None, found.title, _module_slugs(session, caller.user_id))
        made = service.fork(session, found, caller.user_id, slug)
        record(session, caller.user_id, "module.fork", f"{module_id} {made.id}")
        return module_row(made, True)


@router.post("/modules/{module_id}/challenges", status_code=201)
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


@router.get("/courses")
def courses(caller: Teacher, services: InjectedServices) -> list[dict[str, Any]]:
    """List the courses that the caller teaches or assists."""
    with services.database.transaction(read_only=True) as session:
        return [
            course_row(course, True) | {"role": "teacher" if course.teacher_id == caller.user_id else "assistant"}
            for course in managed_courses(session, caller.user_id)
        ]


@router.get("/challenges-for-course")
def challenges_for_course(caller: Teacher, services: InjectedServices) -> list[dict[str, Any]]:
    """List the challenges that the caller may attach: public ones, and those that the caller may edit."""
    assists = sa.select(CompetitionAssistant.competition_id).where(CompetitionAssistant.user_id == caller.user_id)
    own = Competition.creator_id == caller.user_id
    query = sa.select(Competition).where(sa.or_(Competition.is_public, own, Competition.id.in_(assists)))
    with services.database.transaction(read_only=True) as session:
        return [
            {"id": found.id, "name": found.name, "metric": service.metric_of(found)}
            for found in session.scalars(query.order_by(Competition.id))
        ]


@router.put("/course/{course_id}")
def update_course(course_id: Id, wanted: CourseChange, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Change a course."""
    with services.database.transaction(by=caller.user_id) as session:
        found = managed_course(session, course_id, caller.user_id)
        for name, value in wanted.model_dump(exclude_none=True).items():
            setattr(found, name, str(value) if isinstance(value, dt.date) else value)
        if found.start_date and found.end_date and found.end_date < found.start_date:
            raise RefusedError("end_date should not be before start_date")
        record(session, caller.user_id, "course.update", str(course_id))
        return course_row(found, True)


@router.post("/course/{course_id}/cover", status_code=201)
async def set_cover(course_id: Id, caller: Teacher, services: InjectedServices, request: Request) -> dict[str, Any]:
    """Set the picture of a course. Accepts PNG, JPEG, GIF and WebP."""
    await run_in_threadpool(_set_cover, services, course_id, caller.user_id, None)
    sha256, _ = await receive_picture(caller.user_id, services, request)
    await run_in_threadpool(_set_cover, services, course_id, caller.user_id, sha256)
    return {"has_cover": True}


@router.get("/course/{course_id}/modules")
def course_modules(course_id: Id, caller: Teacher, services: InjectedServices) -> list[dict[str, Any]]:
    """List the modules of a course in order."""
    with services.database.transaction(read_only=True) as session:
        managed_course(session, course_id, caller.user_id)
        return [course_module_row(link, caller.user_id) for link in _course_links(session, course_id)]


@router.post("/course/{course_id}/modules", status_code=201)
def link_module(course_id: Id, wanted: NewCourseModule, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Link an own or a public module into a course."""
    with services.database.transaction(by=caller.user_id) as session:
        found = managed_course(session, course_id, caller.user_id)
        module = readable_module(session, wanted.module_id, caller.user_id)
        link = service.link(session, found, module, wanted.position)
        record(session, caller.user_id, "course.link", f"{course_id} {module.id}")
        return course_module_row(link, caller.user_id)


@router.put("/course/{course_id}/modules/reorder")
def reorder_modules(course_id: Id, wanted: Order, caller: Teacher, services: InjectedServices) -> list[dict[str, Any]]:
    """Put the modules of a course in another order."""
    with services.database.transaction(by=caller.user_id) as session:
        managed_course(session, course_id, caller.user_id)
        links = _course_links(session, course_id)
        service.check_order(wanted.ordered_ids, [link.module_id for link in links])
        for link in links:
            link.position = wanted.ordered_ids.index(link.module_id)
        record(session, caller.user_id, "course.reorder", str(course_id))
        return [course_module_row(link, caller.user_id) for link in sorted(links, key=lambda one: one.position)]


@router.delete("/course/{course_id}/modules/{module_id}")
def unlink_module(course_id: Id, module_id: Id, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Unlink a module from a course."""
    with services.database.transaction(by=caller.user_id) as session:
        managed_course(session, course_id, caller.user_id)
        session.delete(_course_link(session, course_id, module_id))
        record(session, caller.user_id, "course.unlink", f"{course_id} {module_id}")
    return {"message": "the module was unlinked"}


@router.post("/course/{course_id}/challenges", status_code=201)
def add_challenge(course_id: Id, wanted: NewEntry, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Add a challenge to the end of a course, in a module of its own. All of it is done, or none."""
    with services.database.transaction(by=caller.user_id) as session:
        found = managed_course(session, course_id, caller.user_id)
        competition = service.attachable(session, wanted.challenge_id, caller.user_id)
        title = wanted.title or competition.name
        module = Module(
            owner_id=caller.user_id,
            slug=service.make_slug(None, title, _module_slugs(session, caller.user_id)),
            title=title,
            summary=wanted.summary,
            is_published=wanted.is_published,
        )
        session.add(module)
        session.flush()
        service.attach(session, module, competition, None, None, wanted.pass_threshold)
        link = service.link(session, found, module, None)
        record(session, caller.user_id, "course.challenge", f"{course_id} {competition.id}")
        session.refresh(link)
        return course_module_row(link, caller.user_id)


@router.delete("/course/{course_id}/challenges/{module_id}")
def remove_challenge(course_id: Id, module_id: Id, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Unlink a module from a course. An own module without lessons that no other course links is deleted, too."""
    with services.database.transaction(by=caller.user_id) as session:
        managed_course(session, course_id, caller.user_id)
        link = _course_link(session, course_id, module_id)
        module = link.module
        session.delete(link)
        session.flush()
        others = sa.select(CourseModule.course_id).where(CourseModule.module_id == module_id).limit(1)
        is_simple = not module.lessons and len(module.challenges) <= 1 and module.owner_id == caller.user_id
        deleted = is_simple and session.scalar(others) is None
        if deleted:
            service.delete_module(session, module, force=False)
        record(session, caller.user_id, "course.challenge.delete", f"{course_id} {module_id}")
    return {"message": "the challenge was removed", "module_deleted": deleted}


@router.get("/course/{course_id}/progress")
def progress(course_id: Id, caller: Teacher, services: InjectedServices, request: Request) -> dict[str, Any]:
    """Get the progress of every student: lessons, and results in the challenges of the course."""
    with services.database.transaction(read_only=True) as session:
        found = managed_course(session, course_id, caller.user_id)
        columns = service.results(session, request.app.state.boards, found, True)
        rows = [
            {
                "user_id": one.user_id,
                "username": one.user.name,
                **service.content_progress(session, found, one.user_id),
                "challenges": [challenge_cell(link, scores.get(one.user_id)) for link, scores in columns],
            }
            for one in students(session, course_id)
        ]
        return {"course_id": course_id, "challenges": [challenge_link(link) for link, _ in columns], "students": rows}


@router.get("/course/{course_id}/assistants")
def assistants(course_id: Id, caller: Teacher, services: InjectedServices) -> list[dict[str, Any]]:
    """List the assistants of a course. For its teacher only."""
    query = sa.select(CourseAssistant, User.name).join(User).where(CourseAssistant.course_id == course_id)
    with services.database.transaction(read_only=True) as session:
        owned_course(session, course_id, caller.user_id)
        return [
            {"user_id": found.user_id, "username": name, "created_at_ts": iso(found.created_at)}
            for found, name in session.execute(query.order_by(User.name))
        ]


@router.post("/course/{course_id}/assistants", status_code=201)
def add_assistant(course_id: Id, wanted: Username, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Add an assistant to a course. For its teacher only."""
    with services.database.transaction(by=caller.user_id) as session:
        course = owned_course(session, course_id, caller.user_id)
        user = session.scalar(sa.select(User).where(User.name == wanted.username))
        if user is None:
            raise NotFoundError(f"there is no user {wanted.username}")
        if user.id == course.teacher_id or session.get(CourseAssistant, (course_id, user.id)) is not None:
            raise RefusedError(f"{user.name} teaches the course already")
        session.add(CourseAssistant(course_id=course_id, user_id=user.id))
        record(session, caller.user_id, "course.assistant", f"{course_id} {user.name}")
        return {"message": f"{user.name} assists the course", "user_id": user.id, "username": user.name}


@router.delete("/course/{course_id}/assistants/{user_id}")
def remove_assistant(course_id: Id, user_id: Id, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Remove an assistant from a course. For its teacher only."""
    with services.database.transaction(by=caller.user_id) as session:
        owned_course(session, course_id, caller.user_id)
        found = session.get(CourseAssistant, (course_id, user_id))
        if found is None:
            raise NotFoundError("the course has no such assistant")
        session.delete(found)
        record(session, caller.user_id, "course.assistant.delete", f"{course_id} {user_id}")
    return {"message": "the assistant was removed"}


@router.get("/students/{course_id}")
def course_students(
    course_id: Id,
    caller: Teacher,
    services: InjectedServices,
    challenge_id: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> dict[str, Any]:
    """List the students of a course, with their teams in one of its challenges."""
    with services.database.transaction(read_only=True) as session:
        managed_course(session, course_id, caller.user_id)
        attached = _attached(session, course_id)
        if challenge_id is not None and challenge_id not in {one.id for one in attached}:
            raise RefusedError("the course does not hold this challenge")
        teams = {} if challenge_id is None else teams_by_user(session, challenge_id)
        rows = []
        for one in students(session, course_id):
            team = teams.get(one.user_id)
            rows.append(
                {
                    "user_id": one.user_id,
                    "username": one.user.name,
                    "student_number": one.student_number,
                    "student_email": one.student_email,
                    "project_url": one.project_url,
                    "enrolled_at_ts": iso(one.created_at),
                    "team_id": team.id if team else None,
                    "team_name": team.name if team else None,
                }
            )
        challenges = [{"id": one.id, "name": one.name} for one in attached]
        return {"challenges": challenges, "selected_challenge_id": challenge_id, "students": rows}


@router.delete("/student/{course_id}/{user_id}")
def remove_student(course_id: Id, user_id: Id, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Remove a student from a course. The student's submissions stay."""
    with services.database.transaction(by=caller.user_id) as session:
        managed_course(session, course_id, caller.user_id)
        found = find_enrollment(session, course_id, user_id)
        if found is None:
            raise NotFoundError("the course has no such student")
        session.delete(found)
        record(session, caller.user_id, "course.student.delete", f"{course_id} {user_id}")
    return {"message": "the student was removed"}


@router.get("/export-csv/{course_id}", response_class=PlainTextResponse)
def export_csv(
    course_id: Id,
    caller: Teacher,
    services: InjectedServices,
    request: Request,
    challenge_id: Annotated[int, Query(ge=1, le=2**31 - 1)],
    by_participant: bool = False,
) -> PlainTextResponse:
    """Get the leaderboard of a course as CSV: a row for each submission, or for each student."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["username", "student_number", "student_email", "team", "submission", "rank", "score", "passed"])
    with services.database.transaction(read_only=True) as session:
        found = managed_course(session, course_id, caller.user_id)
        competition = next((one for one in _attached(session, course_id) if one.id == challenge_id), None)
        if competition is None:
            raise RefusedError("the course does not hold this challenge")
        boards = request.app.state.boards
        board = open_board(session, boards, competition, caller.user_id, by_participant=by_participant, course=found)
        by_user: dict[int, list[dict[str, Any]]] = {}
        for place in board.places:
            team = board.teams.get(place.entry.user_id) if by_participant else None
            for user_id in [member.user_id for member in team.members] if team else [place.entry.user_id]:
                by_user.setdefault(user_id, []).append(board.row(place))
        for one in students(session, course_id):
            none: list[dict[str, Any]] = [{}] if by_participant else []
            for row in by_user.get(one.user_id, none):
                cells = [one.user.name, one.student_number, one.student_email, row.get("team_name")]
                figures = [row.get("submission_name"), row.get("rank"), row.get("score"), row.get("passed")]
                writer.writerow([_cell(value) for value in (*cells, *figures)])
    return PlainTextResponse(text.getvalue(), media_type="text/csv", headers={"X-Content-Type-Options": "nosniff"})


def _cell(value: Any) -> Any:
    """Keep text from being run as a formula by a spreadsheet."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _attached(session: Session, course_id: int) -> list[Competition]:
    query = (
        sa.select(Competition)
        .join(ModuleChallenge, ModuleChallenge.competition_id == Competition.id)
        .join(CourseModule, CourseModule.module_id == ModuleChallenge.module_id)
        .where(CourseModule.course_id == course_id)
    )
    return list(session.scalars(query.order_by(Competition.id)).unique())


def _course_links(session: Session, course_id: int) -> list[CourseModule]:
    query = sa.select(CourseModule).where(CourseModule.course_id == course_id)
    return list(session.scalars(query.order_by(CourseModule.position, CourseModule.module_id)))


def _course_link(session: Session, course_id: int, module_id: int) -> CourseModule:
    found = session.get(CourseModule, (course_id, module_id))
    if found is None:
        raise NotFoundError("the course has no such module")
    return found


def _link(session: Session, module: Module, competition_id: int) -> ModuleChallenge:
    found = session.get(ModuleChallenge, (module.id, competition_id))
    if found is None:
        raise NotFoundError("the module has no such challenge")
    return found


def _module_slugs(session: Session, user_id: int) -> set[str]:
    return set(session.scalars(sa.select(Module.slug).where(Module.owner_id == user_id)))


def _set_cover(services: Services, course_id: int, user_id: int, sha256: str | None) -> None:
    """Set the picture of a course. Without one, only check that the user may."""
    with services.database.transaction(by=user_id) as session:
        found: Course = managed_course(session, course_id, user_id)
        if sha256 is not None:
            found.cover_sha256 = sha256
            record(session, user_id, "course.cover", f"{course_id} {sha256}")


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
