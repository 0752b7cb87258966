"""Methods that create, change and start a competition."""

from collections.abc import Sequence
from pathlib import Path

from ml_trainer_env.arena.client.base import CREATED, Json, without_none
from ml_trainer_env.arena.client.competitions import CompetitionMethods
from ml_trainer_env.arena.client.errors import MLArenaError
from ml_trainer_env.arena.client.tables import rows_of
from ml_trainer_env.arena.client.uploads import existing, multipart

__all__ = ["CreatorMethods"]


class CreatorMethods(CompetitionMethods):
    """Creates and changes competitions. Needs a token with the scope `creator`."""

    def create_competition(
        self,
        name: str,
        kernel_version: str,
        description: str | None = None,
        copy_from_competition_id: int | None = None,
        tag_names: Sequence[str] | None = None,
        is_public: bool | None = None,
    ) -> Json:
        """Create a competition.

        Raises:
            MLArenaError: The service refused the request, or a tag does not exist.
        """
        body = without_none(
            name=name,
            kernel_version=kernel_version,
            description=description,
            copy_from_competition_id=copy_from_competition_id,
            tag_ids=self._tag_ids(tag_names) if tag_names else None,
            is_public=is_public,
        )
        return self._call_json(
            "create_competition", "POST", "/creator_competition/competition", MLArenaError, CREATED, json=body
        )

    def set_competition_tags(
        self, competition_id: int, tag_names: Sequence[str] | None = None, tag_ids: Sequence[int] | None = None
    ) -> Json:
        """Replace the tags of a competition.

        Raises:
            MLArenaError: Both or neither of names and ids are given, or a tag does not exist.
        """
        if (tag_names is None) == (tag_ids is None):
            raise MLArenaError("Provide exactly one of tag_names= or tag_ids=")
        ids = list(tag_ids) if tag_ids is not None else self._tag_ids(tag_names or ())
        return self._call_creator_route("set_competition_tags", "PUT", competition_id, "/tags", json={"tag_ids": ids})

    def update_competition(
        self,
        competition_id: int,
        *,
        name: str | None = None,
        description: str | None = None,
        is_public: bool | None = None,
    ) -> Json:
        """Change the name, the description or the visibility of a competition.

        Raises:
            MLArenaError: No field is given, or the service refused the request.
        """
        body = without_none(name=name, description=description, is_public=is_public)
        if not body:
            raise MLArenaError("update_competition requires at least one field")
        return self._call_creator_route("update_competition", "PUT", competition_id, "", json=body)

    def update_settings(
        self,
        competition_id: int,
        *,
        simulation_timeout_sec: int | None = None,
        max_upload_size_bytes: int | None = None,
        max_upload_files: int | None = None,
        max_active_agents_per_participant: int | None = None,
        evaluation_metric: str | None = None,
        evaluation_metric2: str | None = None,
        evaluation_is_elo_score: bool | None = None,
        evaluation_deployment_nb_constraint_run: int | None = None,
        evaluation_deployment_nb_initial_score_run: int | None = None,
        evaluation_episode_budget_brackets: Sequence[Sequence[float]] | None = None,
        deletion_allowed: bool | None = None,
        quota_returned: Sequence[str] | None = None,
        results_held: bool | None = None,
        rows_per_participant: int | None = None,
    ) -> Json:
        """Change settings of a competition. Returns all settings.

        The last four may change while the competition runs. `rows_per_participant=0` gives every submission a row.

        Raises:
            MLArenaError: No setting is given, or the service refused the request.
        """
        body = without_none(
            simulation_timeout_sec=simulation_timeout_sec,
            max_upload_size_bytes=max_upload_size_bytes,
            max_upload_files=max_upload_files,
            max_active_agents_per_participant=max_active_agents_per_participant,
            evaluation_metric=evaluation_metric,
            evaluation_metric2=evaluation_metric2,
            evaluation_is_elo_score=evaluation_is_elo_score,
            evaluation_deployment_nb_constraint_run=evaluation_deployment_nb_constraint_run,
            evaluation_deployment_nb_initial_score_run=evaluation_deployment_nb_initial_score_run,
            evaluation_episode_budget_brackets=evaluation_episode_budget_brackets,
            deletion_allowed=deletion_allowed,
            quota_returned=quota_returned,
            results_held=results_held,
            rows_per_participant=rows_per_participant or None,
        )
        if rows_per_participant == 0:
            body["rows_per_participant"] = None
        if not body:
            raise MLArenaError("update_settings requires at least one field")
        return self._call_creator_route("update_settings", "PUT", competition_id, "/settings", json=body)

    def upload_env_file(self, competition_id: int, file_path: str | Path) -> Json:
        """Upload a file of the environment.

        Raises:
            MLArenaError: The file does not exist, or the service refused it.
        """
        return self._upload_file(competition_id, "upload_env_file", "PUT", "/env/files", file_path)

    def update_env_file_content(self, competition_id: int, filename: str, content: str) -> Json:
        """Write a text file of the environment."""
        body = {"filename": filename, "content": content}
        return self._call_creator_route("update_env_file_content", "PUT", competition_id, "/env/files", json=body)

    def sync_env_from_github(self, competition_id: int, github_repo_url: str, github_token: str | None = None) -> Json:
        """Fetch the environment from GitHub. A service may refuse this."""
        body = without_none(github_repo_url=github_repo_url, github_token=github_token)
        return self._call_creator_route("sync_env_from_github", "POST", competition_id, "/env/sync-github", json=body)

    def set_competition_image(self, competition_id: int, image_path: str | Path) -> Json:
        """Upload the picture of a competition.

        Raises:
            MLArenaError: The file does not exist, or the service refused it.
        """
        return self._upload_file(competition_id, "set_competition_image", "POST", "/image", image_path)

    def set_competition_markdown(self, competition_id: int, content: str) -> Json:
        """Write the Markdown page of a competition."""
        return self._call_creator_route(
            "set_competition_markdown", "PUT", competition_id, "/markdown", json={"content": content}
        )

    def upload_benchmark_file(self, competition_id: int, file_path: str | Path) -> Json:
        """Upload a file of the benchmark agent.

        Raises:
            MLArenaError: The file does not exist, or the service refused it.
        """
        return self._upload_file(competition_id, "upload_benchmark_file", "PUT", "/benchmark/files", file_path)

    def update_benchmark_file_content(self, competition_id: int, filename: str, content: str) -> Json:
        """Write a text file of the benchmark agent."""
        body = {"filename": filename, "content": content}
        return self._call_creator_route(
            "update_benchmark_file_content", "PUT", competition_id, "/benchmark/files", json=body
        )

    def run_benchmark(self, competition_id: int) -> Json:
        """Queue an evaluation of the benchmark agent."""
        return self._call_creator_route("run_benchmark", "POST", competition_id, "/benchmark/run")

    def benchmark_status(self, competition_id: int) -> Json:
        """Get the state of the benchmark's evaluation: `none`, `running`, `completed` or `failed`."""
        return self._call_json(
            "benchmark_status", "GET", f"/creator_competition/competition/{competition_id}/benchmark/status"
        )

    def start_competition(self, competition_id: int) -> Json:
        """Start a competition. A started competition cannot be stopped."""
        return self._call_creator_route("start_competition", "PUT", competition_id, "/start")

    def _tag_ids(self, names: Sequence[str]) -> list[int]:
        known = {row["name"].casefold(): int(row["id"]) for row in rows_of(self.list_tags())}
        if unknown := [name for name in names if name.casefold() not in known]:
            raise MLArenaError(f"there are no tags {unknown}; there are {sorted(known)}")
        return [known[name.casefold()] for name in names]

    def _upload_file(self, cid: int, name: str, method: str, below: str, file_path: str | Path) -> Json:
        path = existing(file_path, MLArenaError)
        with path.open("rb") as file:
            form = multipart(path.name, file, path.stat().st_size)
            return self._call_creator_route(name, method, cid, below, CREATED, **form)
