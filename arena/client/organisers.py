"""Methods with which organisers manage the submissions to their competitions. The official SDK has no such methods."""

from pathlib import Path
from typing import Any

from ml_trainer_env.arena.client.base import Json, without_none
from ml_trainer_env.arena.client.creators import CreatorMethods
from ml_trainer_env.arena.client.errors import MLArenaError
from ml_trainer_env.arena.client.tables import as_table

__all__ = ["OrganiserMethods"]


class OrganiserMethods(CreatorMethods):
    """Manages submissions. Needs a token with the scope `creator`, of the creator or an assistant."""

    def competition_submissions(self, competition_id: int) -> Any:
        """List all submissions to a competition with their scores, newest first."""
        found = self._call_creator_route("competition_submissions", "GET", competition_id, "/submissions")
        return as_table(found["submissions"])

    def rerun_submission(self, competition_id: int, submission_id: int) -> Json:
        """Run a submission again, in whatever state it is. Its results until now no longer count."""
        below = f"/submissions/{submission_id}/rerun"
        return self._call_creator_route("rerun_submission", "POST", competition_id, below)

    def rerun_all(self, competition_id: int) -> Json:
        """Run every submission again that was ever evaluated. Evaluations of participants come first."""
        return self._call_creator_route("rerun_all", "POST", competition_id, "/submissions/rerun")

    def cancel_submission(self, competition_id: int, submission_id: int) -> Json:
        """Cancel the evaluation of a submission."""
        below = f"/submissions/{submission_id}/cancel"
        return self._call_creator_route("cancel_submission", "POST", competition_id, below)

    def mark_baseline(self, competition_id: int, submission_id: int, is_baseline: bool = True) -> Json:
        """Mark a submission as a baseline, or take the mark back."""
        body = {"is_baseline": is_baseline}
        below = f"/submissions/{submission_id}/baseline"
        return self._call_creator_route("mark_baseline", "PUT", competition_id, below, json=body)

    def delete_submission(self, competition_id: int, submission_id: int) -> Json:
        """Delete a submission of a participant."""
        below = f"/submissions/{submission_id}"
        return self._call_creator_route("delete_submission", "DELETE", competition_id, below)

    def download_submissions(self, competition_id: int, file: str | Path) -> Path:
        """Write the files of all submissions and a table of their scores to a zip archive. Returns its path."""
        path = f"/creator_competition/competition/{competition_id}/submissions/archive"
        target = Path(file)
        with target.open("wb") as opened:
            self._connection.download("download_submissions", path, opened, MLArenaError)
        return target

    def audit_log(
        self,
        competition_id: int,
        *,
        user: str | None = None,
        action: str | None = None,
        before: int | None = None,
        limit: int | None = None,
    ) -> Any:
        """List what was done in a competition, newest first.

        Args:
            competition_id: The competition.
            user: Only what this user did.
            action: Only actions whose names begin with this, such as `agent.`.
            before: Only entries before the one with this id.
            limit: Number of entries. The default is 100, and the most 500.
        """
        params = without_none(user=user, action=action, before=before, limit=limit)
        found = self._call_creator_route("audit_log", "GET", competition_id, "/audit", params=params)
        return as_table(found["entries"])
