"""HTTP endpoints for students: joining courses, reading them, progress. Also creates courses, for both protocols."""

import datetime as dt
import secrets
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from ml_trainer_env.arena.access import Anybody, InjectedServices, Participant, Teacher, User
from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.challenges.board import teaches
from ml_trainer_env.arena.challenges.catalogue import image_file
from ml_trainer_env.arena.challenges.values import iso
from ml_trainer_env.arena.competitions.repository import visible_competition
from ml_trainer_env.arena.courses import service
from ml_trainer_env.arena.courses.repository import (
    can_read_lesson,
    course_modules,
    find_enrollment,
    is_enrolled,
    readable_course,
)
from ml_trainer_env.arena.courses.rows import challenge_cell, course_row, lesson_row, module_row
from ml_trainer_env.arena.errors import ForbiddenError, NotFoundError, RefusedError
from ml_trainer_env.arena.files.names import file_name
from ml_trainer_env.arena.leaderboard.cache import Boards
from ml_trainer_env.arena.tables import (
    Course,
    CourseModule,
    Enrollment,
    Lesson,
    LessonMedia,
    Module,
    ModuleChallenge,
    Visibility,
)
from ml_trainer_env.arena.tables import User as UserTable

__all__ = ["router"]

router = APIRouter(prefix="/api/academic_courses", tags=["courses"])

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]
Slug = Annotated[str, Path(max_length=80)]


class NewCourse(BaseModel):
    """A new course. Dates are ISO dates; a course without an end date does not end."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1, max_length=200)
    code: str = Field(default="", max_length=64)
    start_date: dt.date | None = None
    end_date: dt.date | None = None
    instructor_name: str | None = Field(default=None, max_length=200)
    competition_id: int | None = Field(default=None, ge=1, le=2**31 - 1)
    slug: str | None = Field(default=None, max_length=80)
    description: str = Field(default="", max_length=50_000)
    visibility: Visibility = Visibility.PRIVATE


class NewEnrollment(BaseModel):
    """A student's own data."""

    model_config = ConfigDict(extra="ignore")

    student_email: str | None = Field(default=None, max_length=200)
    student_number: str | None = Field(default=None, max_length=64)
    project_url: str | None = Field(default=None, max_length=500)


class CourseChoice(BaseModel):
    """The course in which a lesson is read; None if only one course of the student has the lesson."""

    model_config = ConfigDict(extra="ignore")

    course_id: int | None = Field(default=None, ge=1, le=2**31 - 1)


@router.post("/", status_code=201)
def create_course(wanted: NewCourse, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Create a course."""
    if wanted.start_date and wanted.end_date and wanted.end_date < wanted.start_date:
        raise RefusedError("end_date should not be before start_date")
    with services.database.transaction(by=caller.user_id) as session:
        if wanted.competition_id is not None:
            visible_competition(session, wanted.competition_id, caller.user_id)
        slug = service.make_slug(wanted.slug, wanted.name, set(session.scalars(sa.select(Course.slug))))
        fields = wanted.model_dump(exclude={"slug"})
        dates = {name: str(fields.pop(name) or "") for name in ("start_date", "end_date")}
        course = Course(teacher_id=caller.user_id, link=secrets.token_urlsafe(16), slug=slug, **dates, **fields)
        session.add(course)
        session.flush()
        record(session, caller.user_id, "course.create", str(course.id))
        return course_row(course, True) | {"course_id": course.id, "enrollment_link": course.link}


@router.get("/")
def list_courses(
    caller: User,
    services: InjectedServices,
    show_all: bool = False,
    challenge_id: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    competition_id: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> list[dict[str, Any]]:
    """List the courses that the caller has joined or teaches, and public ones that have not ended.

    Older clients send `competition_id` for `challenge_id`.
    """
    challenge_id = challenge_id or competition_id
    today = dt.datetime.now(dt.UTC).date().isoformat()
    found = []
    with services.database.transaction(read_only=True) as session:
        query = sa.select(Course).order_by(Course.id)
        if challenge_id is not None:
            linked = sa.select(CourseModule.course_id).join(Module).join(ModuleChallenge)
            is_linked = Course.id.in_(linked.where(ModuleChallenge.competition_id == challenge_id))
            query = query.where(sa.or_(is_linked, Course.competition_id == challenge_id))
        enrolled = set(session.scalars(sa.select(Enrollment.course_id).where(Enrollment.user_id == caller.user_id)))
        for course in session.scalars(query):
            is_close = course.id in enrolled or teaches(session, course, caller.user_id)
            is_current = show_all or not course.end_date or course.end_date >= today
            if is_close or (course.visibility == Visibility.PUBLIC and is_current):
                found.append(course_row(course, is_close) | {"is_enrolled": course.id in enrolled})
    return found


@router.get("/enroll/{link}")
def enrollment_info(
    link: Annotated[str, Path(max_length=64)], caller: Anybody, services: InjectedServices
) -> dict[str, Any]:
    """Show a course to somebody who has the code with which students join."""
    with services.database.transaction(read_only=True) as session:
        course = _course_of_link(session, link)
        modules = course_modules(session, course.id, False)
        user = session.get(UserTable, caller.user_id) if caller else None
        has_info = user is not None and bool(user.profile.get("student_email") and user.profile.get("student_number"))
        return {
            "course": course_row(course, True),
            "challenge_names": [one.competition.name for module in modules for one in module.challenges],
            "lesson_count": sum(len(service.visible_lessons(module, False)) for module in modules),
            "already_enrolled": is_enrolled(session, course.id, caller.user_id if caller else None),
            "has_student_info": has_info,
        }


@router.post("/enroll/{link}", status_code=201)
def enroll(
    link: Annotated[str, Path(max_length=64)], wanted: NewEnrollment, caller: Participant, services: InjectedServices
) -> dict[str, Any]:
    """Join a course. Joining again updates the student's data."""
    with services.database.transaction(by=caller.user_id) as session:
        course = _course_of_link(session, link)
        if course.end_date and dt.datetime.now(dt.UTC).date() > dt.date.fromisoformat(course.end_date):
            raise RefusedError("the course has ended")
        found = find_enrollment(session, course.id, caller.user_id)
        if found is None:
            found = Enrollment(course_id=course.id, user_id=caller.user_id)
            session.add(found)
        for name in wanted.model_fields_set:
            setattr(found, name, getattr(wanted, name))
        record(session, caller.user_id, "course.enroll", str(course.id))
        modules = course_modules(session, course.id, False)
        taught = [one.competition_id for module in modules for one in module.challenges]
        named = [] if course.competition_id is None else [course.competition_id]
        return {
            "message": f"you have joined {course.name}",
            "competition_id": course.competition_id,
            "competition_ids": list(dict.fromkeys([*named, *taught])),
            "challenge_ids": taught,
            "course_slug": course.slug,
        }


@router.get("/catalog")
def catalogue(
    services: InjectedServices,
    search: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> dict[str, Any]:
    """List the public courses."""
    query = sa.select(Course).where(Course.visibility == Visibility.PUBLIC)
    if search:
        words = Course.name.icontains(search, autoescape=True), Course.description.icontains(search, autoescape=True)
        query = query.where(sa.or_(*words))
    with services.database.transaction(read_only=True) as session:
        total = session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
        page = session.scalars(query.order_by(Course.name, Course.id).limit(limit).offset(offset))
        rows = [course_row(course, False) for course in page]
    return {"courses": rows, "total": total, "limit": limit, "offset": offset}


@router.get("/assets/courses/{course_id}/cover", response_class=FileResponse)
def cover(course_id: Id, caller: Anybody, services: InjectedServices) -> FileResponse:
    """Get the picture of a course."""
    with services.database.transaction(read_only=True) as session:
        course = session.get(Course, course_id)
        readable_course(session, course.slug if course else "", caller.user_id if caller else None)
    return image_file(course.cover_sha256 if course else None, services)


@router.get("/assets/lessons/{lesson_id}/{filename}", response_class=FileResponse)
def lesson_file(lesson_id: Id, filename: str, caller: Anybody, services: InjectedServices) -> FileResponse:
    """Get a file of a lesson, for whoever may read the lesson."""
    name = file_name(filename)
    query = sa.select(LessonMedia).where(LessonMedia.lesson_id == lesson_id, LessonMedia.filename == name)
    with services.database.transaction(read_only=True) as session:
        lesson = session.get(Lesson, lesson_id)
        found = session.scalar(query)
        if lesson is None or found is None or not can_read_lesson(session, lesson, caller.user_id if caller else None):
            raise NotFoundError("there is no such file")
    headers = {"X-Content-Type-Options": "nosniff"}
    return FileResponse(
        services.blobs.path(found.sha256), media_type="application/octet-stream", filename=name, headers=headers
    )


@router.post("/lessons/{lesson_id}/view")
def view(lesson_id: Id, wanted: CourseChoice, caller: User, services: InjectedServices) -> dict[str, Any]:
    """Note that the caller has seen a lesson."""
    return _mark(lesson_id, wanted, caller.user_id, services, None)


@router.post("/lessons/{lesson_id}/complete")
def complete(lesson_id: Id, wanted: CourseChoice, caller: User, services: InjectedServices) -> dict[str, Any]:
    """Note that the caller has completed a lesson."""
    return _mark(lesson_id, wanted, caller.user_id, services, True)


@router.post("/lessons/{lesson_id}/uncomplete")
def uncomplete(lesson_id: Id, wanted: CourseChoice, caller: User, services: InjectedServices) -> dict[str, Any]:
    """Note that the caller has not completed a lesson."""
    return _mark(lesson_id, wanted, caller.user_id, services, False)


@router.get("/{course_id}/progress/me")
def my_progress(course_id: Id, caller: User, services: InjectedServices, request: Request) -> dict[str, Any]:
    """Get the caller's progress in a course: lessons, and results in its challenges."""
    boards: Boards = request.app.state.boards
    with services.database.transaction(read_only=True) as session:
        course = session.get(Course, course_id)
        if course is None or not (
            is_enrolled(session, course_id, caller.user_id) or teaches(session, course, caller.user_id)
        ):
            raise NotFoundError("there is no such course")
        cells = [
            challenge_cell(link, scores.get(caller.user_id))
            for link, scores in service.results(session, boards, course, False)
        ]
        return {
            "course_id": course_id,
            **service.content_progress(session, course, caller.user_id),
            "challenges": cells,
        }


@router.get("/{slug}")
def course(slug: Slug, caller: Anybody, services: InjectedServices) -> dict[str, Any]:
    """Get a course with its modules and lessons, without the bodies of the lessons."""
    user_id = caller.user_id if caller else None
    with services.database.transaction(read_only=True) as session:
        found, manages = readable_course(session, slug, user_id)
        enrolled = is_enrolled(session, found.id, user_id)
        progress = service.content_progress(session, found, user_id) if user_id is not None and enrolled else None
        return {
            **course_row(found, manages or enrolled),
            "is_enrolled": enrolled,
            "can_manage": manages,
            "progress": progress,
            "modules": [module_row(module, manages) for module in course_modules(session, found.id, manages)],
        }


@router.get("/{slug}/modules/{module_slug}")
def module(slug: Slug, module_slug: Slug, caller: Anybody, services: InjectedServices) -> dict[str, Any]:
    """Get a module of a course."""
    with services.database.transaction(read_only=True) as session:
        _, found, manages = _module(session, slug, module_slug, caller.user_id if caller else None)
        return module_row(found, manages)


@router.get("/{slug}/modules/{module_slug}/lessons/{lesson_slug}")
def lesson(
    slug: Slug, module_slug: Slug, lesson_slug: Slug, caller: Anybody, services: InjectedServices
) -> dict[str, Any]:
    """Get a lesson with its body. A gated one is for students and teachers of the course."""
    user_id = caller.user_id if caller else None
    with services.database.transaction(read_only=True) as session:
        course, module, manages = _module(session, slug, module_slug, user_id)
        found = next((one for one in service.visible_lessons(module, manages) if one.slug == lesson_slug), None)
        if found is None:
            raise NotFoundError("there is no such lesson")
        if found.gated and not manages and not is_enrolled(session, course.id, user_id):
            raise ForbiddenError("this lesson is for those who have joined the course")
        return lesson_row(found)


def _module(session: Session, slug: str, module_slug: str, user_id: int | None) -> tuple[Course, Module, bool]:
    course, manages = readable_course(session, slug, user_id)
    found = next((one for one in course_modules(session, course.id, manages) if one.slug == module_slug), None)
    if found is None:
        raise NotFoundError("there is no such module")
    return course, found, manages


def _mark(lesson_id: int, wanted: CourseChoice, user_id: int, services: Any, completed: bool | None) -> dict[str, Any]:
    with services.database.transaction(by=user_id) as session:
        lesson = session.get(Lesson, lesson_id)
        if lesson is None:
            raise NotFoundError("there is no such lesson")
        found = service.mark(session, lesson, user_id, wanted.course_id, completed)
        return {
            "lesson_id": lesson_id,
            "course_id": found.course_id,
            "status": "in_progress" if found.completed_at is None else "completed",
            "last_viewed_at_ts": iso(found.viewed_at),
            "completed_at_ts": iso(found.completed_at),
        }


def _course_of_link(session: Session, link: str) -> Course:
    course = session.scalar(sa.select(Course).where(Course.link == link))
    if course is None:
        raise NotFoundError("there is no such course")
    return course
