"""HTTP endpoints for teachers: what courses are made of, their assistants and students, and results."""

import csv
import datetime as dt
import io
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from pydantic import Field
from sqlalchemy.orm import Session

from ml_trainer_env.arena import assistants as assistants_service
from ml_trainer_env.arena.access import InjectedServices, Teacher
from ml_trainer_env.arena.assistants import Username
from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.challenges.board import open_board
from ml_trainer_env.arena.challenges.values import iso
from ml_trainer_env.arena.competitions.files import receive_picture
from ml_trainer_env.arena.courses import service
from ml_trainer_env.arena.courses.repository import (
    find_enrollment,
    managed_course,
    managed_courses,
    module_slugs,
    owned_course,
    readable_module,
    students,
)
from ml_trainer_env.arena.courses.request_bodies import Body, Id, Number, Order, Position, Text, Threshold, Title
from ml_trainer_env.arena.courses.rows import (
    challenge_cell,
    challenge_link,
    course_module_row,
    course_row,
)
from ml_trainer_env.arena.errors import NotFoundError, RefusedError
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import (
    Competition,
    CompetitionAssistant,
    Course,
    CourseAssistant,
    CourseModule,
    Module,
    ModuleChallenge,
    Visibility,
)
from ml_trainer_env.arena.teams.repository import teams_by_user

__all__ = ["router"]

router = APIRouter(prefix="/api/teacher", tags=["teachers"])


class CourseChange(Body):
    """Changed fields of a course."""

    name: Title | None = None
    code: str | None = Field(default=None, max_length=64)
    description: Text | None = None
    visibility: Visibility | None = None
    instructor_name: str | None = Field(default=None, max_length=200)
    start_date: dt.date | None = None
    end_date: dt.date | None = None


class NewCourseModule(Body):
    """A module to link."""

    module_id: Number
    position: Position | None = None


class NewEntry(Body):
    """A competition to add to a course, with a module of its own."""

    challenge_id: Number
    title: Title | None = None
    summary: Text = ""
    pass_threshold: Threshold | None = None
    is_published: bool = True


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
            slug=service.make_slug(None, title, module_slugs(session, caller.user_id)),
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
    with services.database.transaction(read_only=True) as session:
        owned_course(session, course_id, caller.user_id)
        return [
            {"user_id": found.user_id, "username": name, "created_at_ts": iso(found.created_at)}
            for found, name in assistants_service.assistants_of(session, CourseAssistant, course_id)
        ]


@router.post("/course/{course_id}/assistants", status_code=201)
def add_assistant(course_id: Id, wanted: Username, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Add an assistant to a course. For its teacher only."""
    with services.database.transaction(by=caller.user_id) as session:
        course = owned_course(session, course_id, caller.user_id)
        user = assistants_service.add(session, CourseAssistant, course_id, course.teacher_id, wanted.username)
        record(session, caller.user_id, "course.assistant", f"{course_id} {user.name}")
        return {"message": f"{user.name} assists the course", "user_id": user.id, "username": user.name}


@router.delete("/course/{course_id}/assistants/{user_id}")
def remove_assistant(course_id: Id, user_id: Id, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Remove an assistant from a course. For its teacher only."""
    with services.database.transaction(by=caller.user_id) as session:
        owned_course(session, course_id, caller.user_id)
        assistants_service.remove(session, CourseAssistant, course_id, user_id)
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


def _set_cover(services: Services, course_id: int, user_id: int, sha256: str | None) -> None:
    """Set the picture of a course. Without one, only check that the user may."""
    with services.database.transaction(by=user_id) as session:
        found: Course = managed_course(session, course_id, user_id)
        if sha256 is not None:
            found.cover_sha256 = sha256
            record(session, user_id, "course.cover", f"{course_id} {sha256}")
