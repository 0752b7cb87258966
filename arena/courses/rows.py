"""Courses, modules and lessons as replies."""

from typing import Any

from ml_trainer_env.arena.challenges.board import passes
from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.courses.service import directives, metric_of, visible_lessons
from ml_trainer_env.arena.tables import Course, CourseModule, Lesson, LessonMedia, Module, ModuleChallenge

__all__ = [
    "challenge_cell",
    "challenge_link",
    "course_module_row",
    "course_row",
    "lesson_entry",
    "lesson_row",
    "media_row",
    "module_row",
]


def course_row(course: Course, with_code: bool) -> dict[str, Any]:
    """Get a course.

    Args:
        course: The course.
        with_code: Whether the reader may see the code with which students join.
    """
    return {
        "id": course.id,
        "name": course.name,
        "code": course.code or None,
        "slug": course.slug,
        "description": course.description,
        "visibility": course.visibility,
        "instructor_name": course.instructor_name,
        "start_date": course.start_date or None,
        "end_date": course.end_date or None,
        "teacher_username": course.teacher.name,
        "has_cover": course.cover_sha256 is not None,
        "join_code": course.link if with_code else None,
    }


def module_row(module: Module, with_drafts: bool) -> dict[str, Any]:
    """Get a module with its lessons, without their bodies, and its competitions, under their newer and older name."""
    links = [challenge_link(link) for link in module.challenges]
    return {
        "id": module.id,
        "owner_id": module.owner_id,
        "slug": module.slug,
        "title": module.title,
        "summary": module.summary,
        "icon": module.icon,
        "visibility": module.visibility,
        "is_published": module.is_published,
        "forked_from_module_id": module.forked_from_id,
        "lessons": [lesson_entry(lesson) for lesson in visible_lessons(module, with_drafts)],
        "challenges": links,
        "competitions": links,
    }


def course_module_row(link: CourseModule, user_id: int) -> dict[str, Any]:
    """Get a module of a course, and whether it is the reader's own."""
    owned = link.module.owner_id == user_id
    return {
        **module_row(link.module, with_drafts=owned),
        "module_id": link.module_id,
        "position": link.position,
        "is_owned": owned,
    }


def challenge_link(link: ModuleChallenge) -> dict[str, Any]:
    """Get a competition of a module."""
    return {
        "challenge": {"id": link.competition_id, "name": link.competition.name},
        "challenge_id": link.competition_id,
        "competition_id": link.competition_id,
        "label": link.label,
        "position": link.position,
        "pass_threshold": link.pass_threshold,
        "metric": metric_of(link.competition),
    }


def challenge_cell(link: ModuleChallenge, value: float | None) -> dict[str, Any]:
    """Get the result of a student in a competition of a module."""
    bar, is_low = link.pass_threshold, settings_of(link.competition).lower_is_better
    passed = None if value is None or bar is None else passes(value, bar, is_low)
    return {
        "challenge_id": link.competition_id,
        "competition_id": link.competition_id,
        "name": link.label or link.competition.name,
        "value": value,
        "pass_threshold": bar,
        "passed": passed,
        "metric": metric_of(link.competition),
    }


def lesson_entry(lesson: Lesson) -> dict[str, Any]:
    """Get a lesson without its body."""
    return {
        "id": lesson.id,
        "parent_lesson_id": lesson.parent_id,
        "slug": lesson.slug,
        "title": lesson.title,
        "kind": lesson.kind,
        "gated": lesson.gated,
        "is_published": lesson.is_published,
        "estimated_minutes": lesson.estimated_minutes,
        "position": lesson.position,
    }


def lesson_row(lesson: Lesson) -> dict[str, Any]:
    """Get a lesson with its body. Directives are named and not resolved."""
    warnings = [f"this service does not resolve mlarena:{name}" for name in directives(lesson.body_md)]
    return {
        **lesson_entry(lesson),
        "module_id": lesson.module_id,
        "body_md": lesson.body_md,
        "directives": [],
        "directive_warnings": warnings,
    }


def media_row(media: LessonMedia) -> dict[str, Any]:
    """Get a file of a lesson."""
    url = f"/api/academic_courses/assets/lessons/{media.lesson_id}/{media.filename}"
    return {"filename": media.filename, "url": url, "size_bytes": media.size}
