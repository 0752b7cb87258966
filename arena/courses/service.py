"""Rules of courses: names in addresses, what may be attached, copies, progress and results."""

import re
import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.challenges.board import open_board
from ml_trainer_env.arena.competitions.repository import can_edit, find_competition
from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.courses.repository import course_modules, is_enrolled
from ml_trainer_env.arena.errors import ArenaError, NotFoundError, RefusedError, TooManyError
from ml_trainer_env.arena.leaderboard.cache import Boards
from ml_trainer_env.arena.tables import (
    Competition,
    Course,
    CourseModule,
    Lesson,
    LessonMedia,
    LessonProgress,
    Module,
    ModuleChallenge,
)

__all__ = [
    "LinkedError",
    "attach",
    "attachable",
    "check_order",
    "content_progress",
    "delete_lesson",
    "delete_module",
    "directives",
    "fork",
    "link",
    "make_slug",
    "mark",
    "metric_of",
    "results",
    "visible_lessons",
]

MAX_MODULES = 500
MAX_LESSONS = 500
_RESERVED = frozenset({"catalog", "enroll", "assets", "lessons"})
_DIRECTIVE = re.compile(r"mlarena:([A-Za-z_][\w-]*)")


class LinkedError(ArenaError):
    """A module is part of a course, or a name is taken."""

    status = 409


def make_slug(wanted: str | None, name: str, taken: set[str]) -> str:
    """Get the name of a course, module or lesson in addresses.

    Args:
        wanted: The name that its author wants; None to derive it.
        name: Its title.
        taken: Names that others have.

    Raises:
        RefusedError: The wanted name has other characters than `a-z`, `0-9` and `-`, or is reserved.
        LinkedError: The wanted name is taken.
    """
    if wanted is not None:
        if not re.fullmatch(r"[a-z0-9-]{1,80}", wanted) or wanted in _RESERVED or wanted.isdecimal():
            raise RefusedError("a slug should have up to 80 letters a-z, digits and hyphens, and not only digits")
        if wanted in taken:
            raise LinkedError(f"the slug {wanted} is taken")
        return wanted
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:70] or "untitled"
    if base in _RESERVED or base.isdecimal():
        base = f"{base}-1"
    found, number = base, 2
    while found in taken:
        found, number = f"{base}-{number}", number + 1
    return found


def attachable(session: Session, competition_id: int, user_id: int) -> Competition:
    """Get a competition that a teacher may attach: a public one, or one that the teacher may edit.

    Raises:
        NotFoundError: It does not exist or is hidden.
    """
    competition = find_competition(session, competition_id)
    if not competition.is_public and not can_edit(session, competition, user_id):
        raise NotFoundError("there is no such challenge")
    return competition


def attach(
    session: Session,
    module: Module,
    competition: Competition,
    label: str | None,
    position: int | None,
    pass_threshold: float | None,
) -> ModuleChallenge:
    """Attach a competition to a module.

    Raises:
        LinkedError: It is attached already.
    """
    if any(link.competition_id == competition.id for link in module.challenges):
        raise LinkedError("the challenge is attached already")
    made = ModuleChallenge(
        module_id=module.id,
        competition_id=competition.id,
        label=label,
        position=len(module.challenges) if position is None else position,
        pass_threshold=pass_threshold,
    )
    module.challenges.append(made)
    session.flush()
    return made


def link(session: Session, course: Course, module: Module, position: int | None) -> CourseModule:
    """Link a module into a course. Linking again moves it.

    Raises:
        TooManyError: The course has too many modules.
    """
    found = session.get(CourseModule, (course.id, module.id))
    count = sa.select(sa.func.count()).select_from(CourseModule).where(CourseModule.course_id == course.id)
    number = session.scalar(count) or 0
    if found is None:
        if number >= MAX_MODULES:
            raise TooManyError(f"a course may have {MAX_MODULES} modules")
        found = CourseModule(course_id=course.id, module_id=module.id, position=number)
        session.add(found)
    if position is not None:
        found.position = position
    session.flush()
    return found


def delete_module(session: Session, module: Module, force: bool) -> None:
    """Delete a module with its lessons.

    Raises:
        LinkedError: A course links it, and `force` is not set.
    """
    linked = list(session.scalars(sa.select(CourseModule).where(CourseModule.module_id == module.id)))
    if linked and not force:
        raise LinkedError(f"{len(linked)} courses link the module: unlink it, or delete it with force")
    for one in linked:
        session.delete(one)
    for lesson in [one for one in module.lessons if one.parent_id is None]:
        delete_lesson(session, lesson)
    session.delete(module)


def delete_lesson(session: Session, lesson: Lesson) -> None:
    """Delete a lesson with the lessons below it."""
    for child in session.scalars(sa.select(Lesson).where(Lesson.parent_id == lesson.id)).all():
        delete_lesson(session, child)
    session.execute(sa.delete(LessonProgress).where(LessonProgress.lesson_id == lesson.id))
    session.delete(lesson)
    session.flush()


def fork(session: Session, module: Module, user_id: int, slug: str) -> Module:
    """Copy a module for a teacher, with its lessons, their files, and the competitions that the teacher may attach."""
    made = Module(
        owner_id=user_id,
        slug=slug,
        title=module.title,
        summary=module.summary,
        icon=module.icon,
        is_published=module.is_published,
        forked_from_id=module.id,
    )
    session.add(made)
    session.flush()
    copies: dict[int, int] = {}
    for lesson in sorted(module.lessons, key=lambda one: one.parent_id is not None):
        names = ("slug", "title", "kind", "body_md", "gated", "is_published", "estimated_minutes", "position")
        copy = Lesson(module_id=made.id, **{name: getattr(lesson, name) for name in names})
        copy.parent_id = copies.get(lesson.parent_id) if lesson.parent_id is not None else None
        copy.media = [LessonMedia(filename=one.filename, sha256=one.sha256, size=one.size) for one in lesson.media]
        session.add(copy)
        session.flush()
        copies[lesson.id] = copy.id
    for one in module.challenges:
        if one.competition.is_public or can_edit(session, one.competition, user_id):
            attach(session, made, one.competition, one.label, one.position, one.pass_threshold)
    session.refresh(made)
    return made


def check_order(wanted: Sequence[int], ids: Sequence[int]) -> None:
    """Check that an order names each id once.

    Raises:
        RefusedError: It does not.
    """
    if sorted(wanted) != sorted(ids):
        raise RefusedError(f"ordered_ids should have exactly the ids {sorted(ids)[:50]}")


def visible_lessons(module: Module, with_drafts: bool) -> list[Lesson]:
    """List the lessons of a module in order, with or without those that are not published."""
    return [lesson for lesson in module.lessons if with_drafts or lesson.is_published]


def directives(body: str) -> list[str]:
    """Find the `mlarena:` directives of a lesson. This service resolves none of them."""
    return sorted(set(_DIRECTIVE.findall(body)))


def mark(
    session: Session, lesson: Lesson, user_id: int, course_id: int | None, completed: bool | None
) -> LessonProgress:
    """Note that a student has seen a lesson, has completed it, or has not.

    Args:
        session: A transaction.
        lesson: The lesson.
        user_id: The student.
        course_id: The course; None if only one course of the student has the lesson.
        completed: Whether it is completed; None to leave this as it is.

    Raises:
        NotFoundError: No course of the student has the lesson.
        RefusedError: Several courses of the student have it, and none was named.
    """
    linked = sa.select(CourseModule.course_id).where(CourseModule.module_id == lesson.module_id)
    is_shown = lesson.is_published and lesson.module.is_published
    own = [found for found in session.scalars(linked) if is_shown and is_enrolled(session, found, user_id)]
    if course_id is not None:
        own = [found for found in own if found == course_id]
    if not own:
        raise NotFoundError("no course of yours has this lesson")
    if len(own) > 1:
        raise RefusedError(f"several courses of yours have this lesson: name one of {own} as course_id")
    found = session.get(LessonProgress, (own[0], lesson.id, user_id))
    if found is None:
        found = LessonProgress(course_id=own[0], lesson_id=lesson.id, user_id=user_id, viewed_at=time.time())
        session.add(found)
    found.viewed_at = time.time()
    if completed is not None:
        found.completed_at = (found.completed_at or time.time()) if completed else None
    session.flush()
    return found


def content_progress(session: Session, course: Course, user_id: int) -> dict[str, Any]:
    """Get how much of a course a student has completed, and the next lesson."""
    lessons = [one for module in course_modules(session, course.id, False) for one in visible_lessons(module, False)]
    query = sa.select(LessonProgress.lesson_id).where(
        LessonProgress.course_id == course.id,
        LessonProgress.user_id == user_id,
        LessonProgress.completed_at.is_not(None),
    )
    done = set(session.scalars(query)) & {lesson.id for lesson in lessons}
    following = next((lesson for lesson in lessons if lesson.id not in done), None)
    return {
        "completed_lessons": len(done),
        "total_lessons": len(lessons),
        "content_percent": 100.0 * len(done) / len(lessons) if lessons else 100.0,
        "next_lesson": None
        if following is None
        else {
            "id": following.id,
            "title": following.title,
            "slug": following.slug,
            "module_slug": following.module.slug,
        },
    }


def metric_of(competition: Competition) -> dict[str, Any]:
    """Get the metric by which a competition ranks."""
    return next(one.model_dump() for one in settings_of(competition).shown_metrics if one.is_ranking)


def results(
    session: Session, boards: Boards, course: Course, with_drafts: bool
) -> list[tuple[ModuleChallenge, dict[int, float]]]:
    """Get the best scores in the competitions of a course: for each its scores by student."""
    found = []
    for module in course_modules(session, course.id, with_drafts):
        for one in module.challenges:
            board = open_board(session, boards, one.competition, None, course=course)
            scores: dict[int, float] = {}
            for place in board.places:
                team = board.teams.get(place.entry.user_id)
                for user_id in [member.user_id for member in team.members] if team else [place.entry.user_id]:
                    scores[user_id] = place.entry.mean
            found.append((one, scores))
    return found
