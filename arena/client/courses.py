"""Methods for courses."""

from ml_trainer_env.arena.client.base import CREATED, ClientBase, Json, without_none
from ml_trainer_env.arena.client.errors import MLArenaError

__all__ = ["CourseMethods"]


class CourseMethods(ClientBase):
    """Creating a course needs a token with the scope `teacher`, joining one a token with the scope `user`."""

    def create_course(
        self,
        name: str,
        code: str,
        start_date: str,
        end_date: str,
        instructor_name: str | None = None,
        competition_id: int | None = None,
    ) -> Json:
        """Create a course. Dates are YYYY-MM-DD. The answer contains the link that students use to join."""
        body = without_none(
            name=name,
            code=code,
            start_date=start_date,
            end_date=end_date,
            instructor_name=instructor_name,
            competition_id=competition_id,
        )
        return self._call_json("create_course", "POST", "/academic_courses/", MLArenaError, CREATED, json=body)

    def enroll_in_course(
        self,
        enrollment_link: str,
        student_email: str | None = None,
        student_number: str | None = None,
        project_url: str | None = None,
    ) -> Json:
        """Join a course."""
        body = without_none(student_email=student_email, student_number=student_number, project_url=project_url)
        path = f"/academic_courses/enroll/{enrollment_link}"
        return self._call_json("enroll_in_course", "POST", path, MLArenaError, CREATED, json=body)
