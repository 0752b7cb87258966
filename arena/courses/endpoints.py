"""HTTP endpoints for courses."""

import datetime as dt
import secrets
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from ml_trainer_env.arena.access import InjectedServices, Participant, Teacher
from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.competitions.repository import visible_competition
from ml_trainer_env.arena.errors import NotFoundError, RefusedError
from ml_trainer_env.arena.tables import Course, Enrollment

__all__ = ["router"]

router = APIRouter(prefix="/api/academic_courses", tags=["courses"])


class NewCourse(BaseModel):
    """A new course."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1, max_length=200)
    code: str = Field(min_length=1, max_length=64)
    start_date: dt.date
    end_date: dt.date
    instructor_name: str | None = Field(default=None, max_length=200)
    competition_id: int | None = Field(default=None, ge=1, le=2**31 - 1)


class NewEnrollment(BaseModel):
    """A student's own data."""

    model_config = ConfigDict(extra="ignore")

    student_email: str | None = Field(default=None, max_length=200)
    student_number: str | None = Field(default=None, max_length=64)
    project_url: str | None = Field(default=None, max_length=500)


@router.post("/", status_code=201)
def create_course(wanted: NewCourse, caller: Teacher, services: InjectedServices) -> dict[str, Any]:
    """Create a course."""
    if wanted.end_date < wanted.start_date:
        raise RefusedError("end_date should not be before start_date")
    with services.database.transaction(by=caller.user_id) as session:
        if wanted.competition_id is not None:
            visible_competition(session, wanted.competition_id, caller.user_id)
        fields = {**wanted.model_dump(), "start_date": str(wanted.start_date), "end_date": str(wanted.end_date)}
        course = Course(teacher_id=caller.user_id, link=secrets.token_urlsafe(16), **fields)
        session.add(course)
        session.flush()
        record(session, caller.user_id, "course.create", str(course.id))
        return {"course_id": course.id, "enrollment_link": course.link}


@router.post("/enroll/{link}", status_code=201)
def enroll(
    link: Annotated[str, Path(max_length=64)], wanted: NewEnrollment, caller: Participant, services: InjectedServices
) -> dict[str, Any]:
    """Join a course. Joining again updates the student's data."""
    with services.database.transaction(by=caller.user_id) as session:
        course = session.scalar(sa.select(Course).where(Course.link == link))
        if course is None:
            raise NotFoundError("there is no such course")
        if dt.datetime.now(dt.UTC).date() > dt.date.fromisoformat(course.end_date):
            raise RefusedError("the course has ended")
        found = session.scalar(
            sa.select(Enrollment).where(Enrollment.course_id == course.id, Enrollment.user_id == caller.user_id)
        )
        if found is None:
            found = Enrollment(course_id=course.id, user_id=caller.user_id)
            session.add(found)
        for name in wanted.model_fields_set:
            setattr(found, name, getattr(wanted, name))
        record(session, caller.user_id, "course.enroll", str(course.id))
        return {"message": f"you have joined {course.name}", "competition_id": course.competition_id}
