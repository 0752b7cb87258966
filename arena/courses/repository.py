"""Queries for courses, and who may read and change them."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.challenges.board import teaches
from ml_trainer_env.arena.errors import ForbiddenError, NotFoundError
from ml_trainer_env.arena.tables import (
    Course,
    CourseAssistant,
    CourseModule,
    Enrollment,
    Lesson,
    Module,
    Visibility,
)

__all__ = [
    "can_read_lesson",
    "course_modules",
    "find_enrollment",
    "is_enrolled",
    "managed_course",
    "managed_courses",
    "module_slugs",
    "owned_course",
    "owned_lesson",
    "owned_module",
    "readable_course",
    "readable_module",
    "students",
]


def managed_course(session: Session, course_id: int, user_id: int) -> Course:
    """Get a course that this user teaches or assists.

    Raises:
        NotFoundError: It does not exist, or the user neither teaches nor assists it.
    """
    course = session.get(Course, course_id)
    if course is None or not teaches(session, course, user_id):
        raise NotFoundError("there is no such course")
    return course


def owned_course(session: Session, course_id: int, user_id: int) -> Course:
    """Get a course of this teacher.

    Raises:
        NotFoundError: It does not exist, or the user neither teaches nor assists it.
        ForbiddenError: The user is an assistant.
    """
    course = managed_course(session, course_id, user_id)
    if course.teacher_id != user_id:
        raise ForbiddenError("only the teacher of a course may change its assistants")
    return course


def managed_courses(session: Session, user_id: int) -> list[Course]:
    """List the courses that a user teaches or assists."""
    helps = sa.select(CourseAssistant.course_id).where(CourseAssistant.user_id == user_id)
    query = sa.select(Course).where(sa.or_(Course.teacher_id == user_id, Course.id.in_(helps)))
    return list(session.scalars(query.order_by(Course.id)))


def readable_course(session: Session, slug: str, user_id: int | None) -> tuple[Course, bool]:
    """Get a course that a user may read, and whether the user manages it.

    Raises:
        NotFoundError: It does not exist, or it is private and the user is not in it.
    """
    course = session.scalar(sa.select(Course).where(Course.slug == slug))
    if course is not None:
        manages = user_id is not None and teaches(session, course, user_id)
        if manages or course.visibility != Visibility.PRIVATE or is_enrolled(session, course.id, user_id):
            return course, manages
    raise NotFoundError("there is no such course")


def find_enrollment(session: Session, course_id: int, user_id: int) -> Enrollment | None:
    """Get the enrollment of a user; None if the user is no student of the course."""
    return session.scalar(sa.select(Enrollment).where(Enrollment.course_id == course_id, Enrollment.user_id == user_id))


def is_enrolled(session: Session, course_id: int, user_id: int | None) -> bool:
    """Whether a user is a student of a course."""
    return user_id is not None and find_enrollment(session, course_id, user_id) is not None


def students(session: Session, course_id: int) -> list[Enrollment]:
    """List the students of a course in the order in which they joined."""
    query = sa.select(Enrollment).where(Enrollment.course_id == course_id)
    return list(session.scalars(query.order_by(Enrollment.id)))


def course_modules(session: Session, course_id: int, with_drafts: bool) -> list[Module]:
    """List the modules of a course in order.

    Args:
        session: A transaction.
        course_id: The course.
        with_drafts: Whether to include modules that are not published.
    """
    query = sa.select(Module).join(CourseModule).where(CourseModule.course_id == course_id)
    if not with_drafts:
        query = query.where(Module.is_published)
    return list(session.scalars(query.order_by(CourseModule.position, Module.id)))


def owned_module(session: Session, module_id: int, user_id: int) -> Module:
    """Get a module of this teacher.

    Raises:
        NotFoundError: It does not exist or belongs to another teacher.
    """
    module = session.get(Module, module_id)
    if module is None or module.owner_id != user_id:
        raise NotFoundError("there is no such module")
    return module


def readable_module(session: Session, module_id: int, user_id: int) -> Module:
    """Get a module that a teacher may read and use: an own one, or a public one.

    Raises:
        NotFoundError: It does not exist, or it is another teacher's and not public.
    """
    module = session.get(Module, module_id)
    if module is None or (module.owner_id != user_id and module.visibility != Visibility.PUBLIC):
        raise NotFoundError("there is no such module")
    return module


def owned_lesson(session: Session, lesson_id: int, user_id: int) -> Lesson:
    """Get a lesson of this teacher.

    Raises:
        NotFoundError: It does not exist or belongs to another teacher.
    """
    lesson = session.get(Lesson, lesson_id)
    if lesson is None or lesson.module.owner_id != user_id:
        raise NotFoundError("there is no such lesson")
    return lesson


def can_read_lesson(session: Session, lesson: Lesson, user_id: int | None) -> bool:
    """Whether a user may read the files of a lesson: its owner, and whoever may read it in one of its courses."""
    if user_id is not None and lesson.module.owner_id == user_id:
        return True
    linked = sa.select(Course).join(CourseModule).where(CourseModule.module_id == lesson.module_id)
    for course in session.scalars(linked):
        if user_id is not None and teaches(session, course, user_id):
            return True
        if lesson.is_published and lesson.module.is_published:
            if is_enrolled(session, course.id, user_id):
                return True
            if not lesson.gated and course.visibility != Visibility.PRIVATE:
                return True
    return False


def module_slugs(session: Session, user_id: int) -> set[str]:
    """Return the slugs of a user's modules."""
    return set(session.scalars(sa.select(Module.slug).where(Module.owner_id == user_id)))
