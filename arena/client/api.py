"""The client's methods: names, arguments, returns and errors are the official SDK's."""

import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ml_trainer_env.arena.client.connection import Connection
from ml_trainer_env.arena.client.errors import MLArenaError, SubmissionError
from ml_trainer_env.arena.client.tables import as_table, rows_of
from ml_trainer_env.arena.client.uploads import existing, multipart, source_of

__all__ = ["Client"]

_MADE = (200, 201)
_QUEUED = (200, 201, 202)
_FINAL = frozenset({"active", "deploy_failed", "upload_failed", "deleted"})

Json = dict[str, Any]


class Client:
    """A client of a competition service; see `connect`. A context manager.

    Every method that sends something raises `AuthenticationError` for a token that is unknown or of the wrong scope,
    `CompetitionNotFoundError` for what is not there or not yours, and `httpx.HTTPError` if the service is not reached.

    Args:
        connection: To the service.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._last_agent: int | None = None
        self._last_competition: int | None = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        shown = "_".join(self._connection.token.split("_", 3)[:3])
        return f"Client(base_url={self._connection.base_url!r}, token='{shown}_...')"

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # What anybody may read of competitions

    def competitions(
        self,
        *,
        q: str | None = None,
        tags: Sequence[str] | str | None = None,
        status: str | None = None,
        page: int | None = None,
        per_page: int | None = None,
    ) -> Any:
        """Public competitions: all of them, or one page.

        Args:
            q: Words that name or description contain.
            tags: Names of tags that they all have.
            status: `started` or `draft`.
            page: From 1; all pages if neither this nor `per_page` is given.
            per_page: 24 if only `page` is given.
        """
        wanted = {"q": q, "status": status, "tags": tags if isinstance(tags, str) else ",".join(tags or ())}
        params: dict[str, Any] = {name: value for name, value in wanted.items() if value}
        if page is not None or per_page is not None:
            return as_table(self._competitions(params, page or 1, per_page or 24)["items"])
        items: list[Any] = []
        number, more = 1, True
        while more:
            found = self._competitions(params, number, 100)
            items += found["items"]
            number, more = number + 1, found["metadata"]["has_next"]
        return as_table(items)

    def competition(self, competition_id: int) -> Json:
        """A public competition: its limits, and whether it has started."""
        return self._json("competition", "GET", f"/competitions/{competition_id}", token=False)

    def list_tags(self) -> Any:
        """All tags that there are."""
        return as_table(self._connection.call("list_tags", "GET", "/competition_tags/tags", token=False, known=False))

    def leaderboard(self, competition_id: int | None = None) -> Any:
        """The board, the best first; of the last submission's competition if none is named.

        Raises:
            SubmissionError: None is named, and there was no submission.
        """
        cid = competition_id or self._last_competition
        if cid is None:
            raise SubmissionError("name a competition: nothing was submitted yet")
        path = f"/leaderboard/competition/{cid}"
        return as_table(self._connection.call("leaderboard", "GET", path, token=False))

    # What creators do

    def create_competition(
        self,
        name: str,
        kernel_version: str,
        description: str | None = None,
        copy_from_competition_id: int | None = None,
        tag_names: Sequence[str] | None = None,
        is_public: bool | None = None,
    ) -> Json:
        """Make a competition.

        Raises:
            MLArenaError: It was refused, or there is no such tag.
        """
        body = _given(
            name=name,
            kernel_version=kernel_version,
            description=description,
            copy_from_competition_id=copy_from_competition_id,
            tag_ids=self._tag_ids(tag_names) if tag_names else None,
            is_public=is_public,
        )
        return self._json(
            "create_competition", "POST", "/creator_competition/competition", MLArenaError, _MADE, json=body
        )

    def set_competition_tags(
        self, competition_id: int, tag_names: Sequence[str] | None = None, tag_ids: Sequence[int] | None = None
    ) -> Json:
        """Give a competition these tags, and no others.

        Raises:
            MLArenaError: Both or neither of names and ids are given, or there is no such tag.
        """
        if (tag_names is None) == (tag_ids is None):
            raise MLArenaError("Provide exactly one of tag_names= or tag_ids=")
        ids = list(tag_ids) if tag_ids is not None else self._tag_ids(tag_names or ())
        return self._create("set_competition_tags", "PUT", competition_id, "/tags", json={"tag_ids": ids})

    def update_competition(
        self,
        competition_id: int,
        *,
        name: str | None = None,
        description: str | None = None,
        is_public: bool | None = None,
    ) -> Json:
        """Change a competition.

        Raises:
            MLArenaError: Nothing is to be changed, or it was refused.
        """
        body = _given(name=name, description=description, is_public=is_public)
        if not body:
            raise MLArenaError("update_competition requires at least one field")
        return self._create("update_competition", "PUT", competition_id, "", json=body)

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
    ) -> Json:
        """Change settings; all of them as they are then.

        Raises:
            MLArenaError: Nothing is to be changed, or it was refused.
        """
        body = _given(
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
        )
        if not body:
            raise MLArenaError("update_settings requires at least one field")
        return self._create("update_settings", "PUT", competition_id, "/settings", json=body)

    def upload_env_file(self, competition_id: int, file_path: str | Path) -> Json:
        """Upload a file of the environment.

        Raises:
            MLArenaError: There is no such file, or it was refused.
        """
        return self._upload_for(competition_id, "upload_env_file", "PUT", "/env/files", file_path)

    def update_env_file_content(self, competition_id: int, filename: str, content: str) -> Json:
        """Write a file of the environment."""
        body = {"filename": filename, "content": content}
        return self._create("update_env_file_content", "PUT", competition_id, "/env/files", json=body)

    def sync_env_from_github(self, competition_id: int, github_repo_url: str, github_token: str | None = None) -> Json:
        """Fetch the environment from GitHub, where the service offers that."""
        body = _given(github_repo_url=github_repo_url, github_token=github_token)
        return self._create("sync_env_from_github", "POST", competition_id, "/env/sync-github", json=body)

    def set_competition_image(self, competition_id: int, image_path: str | Path) -> Json:
        """Upload a competition's picture.

        Raises:
            MLArenaError: There is no such file, or it was refused.
        """
        return self._upload_for(competition_id, "set_competition_image", "POST", "/image", image_path)

    def set_competition_markdown(self, competition_id: int, content: str) -> Json:
        """Write a competition's page."""
        return self._create("set_competition_markdown", "PUT", competition_id, "/markdown", json={"content": content})

    def upload_benchmark_file(self, competition_id: int, file_path: str | Path) -> Json:
        """Upload a file of the benchmark agent.

        Raises:
            MLArenaError: There is no such file, or it was refused.
        """
        return self._upload_for(competition_id, "upload_benchmark_file", "PUT", "/benchmark/files", file_path)

    def update_benchmark_file_content(self, competition_id: int, filename: str, content: str) -> Json:
        """Write a file of the benchmark agent."""
        body = {"filename": filename, "content": content}
        return self._create("update_benchmark_file_content", "PUT", competition_id, "/benchmark/files", json=body)

    def run_benchmark(self, competition_id: int) -> Json:
        """Queue an evaluation of the benchmark agent."""
        return self._create("run_benchmark", "POST", competition_id, "/benchmark/run")

    def benchmark_status(self, competition_id: int) -> Json:
        """How that goes: `none`, `running`, `completed` or `failed`."""
        return self._json(
            "benchmark_status", "GET", f"/creator_competition/competition/{competition_id}/benchmark/status"
        )

    def start_competition(self, competition_id: int) -> Json:
        """Open a competition, for good."""
        return self._create("start_competition", "PUT", competition_id, "/start")

    # What participants do

    def create_attached_agent(
        self, competition_id: int, agent_name: str, copy_from_agent_id: int | None = None
    ) -> Json:
        """Attach an agent to a competition."""
        body = _given(agent_name=agent_name, copy_from_agent_id=copy_from_agent_id)
        path = f"/direct_attache_agents/competition/{competition_id}"
        return self._json("create_attached_agent", "POST", path, SubmissionError, _MADE, json=body)

    def upload_agent_file(self, competition_id: int, attache_agent_id: int, file_path: str | Path) -> Json:
        """Upload a file of an agent.

        Raises:
            SubmissionError: There is no such file, or it was refused.
        """
        path = existing(file_path, SubmissionError)
        with path.open("rb") as file:
            form = multipart(path.name, file, path.stat().st_size)
            return self._submit("upload_agent_file", "PUT", competition_id, attache_agent_id, "/file", _MADE, **form)

    def update_agent_file_content(
        self, competition_id: int, attache_agent_id: int, filename: str, content: str
    ) -> Json:
        """Write a file of an agent."""
        held = content.encode()
        form = multipart(filename, io.BytesIO(held), len(held))
        name = "update_agent_file_content"
        return self._submit(name, "PUT", competition_id, attache_agent_id, "/file", _MADE, **form)

    def delete_agent_file(self, competition_id: int, attache_agent_id: int, filename: str) -> Json:
        """Delete a file of an agent."""
        form = {"delete_file": filename}
        return self._submit("delete_agent_file", "PUT", competition_id, attache_agent_id, "/file", data=form)

    def list_agent_files(self, competition_id: int, attache_agent_id: int) -> Json:
        """Files of an agent, by name."""
        return self._submit("list_agent_files", "GET", competition_id, attache_agent_id, "/file")

    def get_agent_file_content(self, competition_id: int, attache_agent_id: int, filename: str) -> str:
        """What a text file of an agent holds."""
        below = f"/file/{filename}/content"
        found = self._submit("get_agent_file_content", "GET", competition_id, attache_agent_id, below)
        return str(found["content"])

    def deploy_agent(self, competition_id: int, attache_agent_id: int) -> Json:
        """Queue an evaluation of an agent."""
        return self._submit("deploy_agent", "PUT", competition_id, attache_agent_id, "/deploy", _QUEUED)

    def agent_deploy_status(self, competition_id: int, attache_agent_id: int) -> Json:
        """Limits of deploying, and the last evaluation."""
        path = f"/direct_attache_agents/competition/{competition_id}/{attache_agent_id}/deploy"
        return self._json("agent_deploy_status", "GET", path)

    def delete_agent(self, competition_id: int, attache_agent_id: int) -> Json:
        """Take a submission back."""
        return self._submit("delete_agent", "DELETE", competition_id, attache_agent_id, "")

    def agent_status(self, competition_id: int, attache_agent_id: int) -> Json:
        """Where a submission stands: state, queue, runs."""
        return self._submit("agent_status", "GET", competition_id, attache_agent_id, "/status")

    def agent_games(self, attache_agent_id: int) -> Json:
        """An agent's runs, with signed URLs of their logs."""
        path = f"/direct_attache_agents/agent/{attache_agent_id}/games"
        return self._json("agent_games", "GET", path, SubmissionError)

    def runtime_options(self, competition_id: int) -> Any:
        """What agents can run on."""
        path = f"/direct_attache_agents/runtime_options/{competition_id}"
        return as_table(self._connection.call("runtime_options", "GET", path, MLArenaError))

    def resolve_runtime(
        self,
        competition_id: int,
        *,
        language: str | None = None,
        framework: str | None = None,
        framework_version: str | None = None,
    ) -> Json:
        """The first runtime that is as described.

        Raises:
            MLArenaError: There is none.
        """
        wanted = _given(language=language, framework=framework, framework_version=framework_version)
        rows = rows_of(self.runtime_options(competition_id))
        for row in rows:
            if all(row.get(name) == value for name, value in wanted.items()):
                return row
        raise MLArenaError(f"no runtime is {wanted}; there are {rows}")

    def agent_runtime(self, attache_agent_id: int) -> Json:
        """What an agent runs on."""
        path = f"/direct_attache_agents/agent_runtime/{attache_agent_id}"
        return self._json("agent_runtime", "GET", path, MLArenaError)

    def set_agent_runtime(self, attache_agent_id: int, runtime_id: int) -> Json:
        """Choose what an agent runs on."""
        body = {"docker_image_agent_runtime_id": runtime_id}
        path = f"/direct_attache_agents/agent_runtime/{attache_agent_id}"
        return self._json("set_agent_runtime", "PUT", path, MLArenaError, json=body)

    def submit(
        self,
        competition_id: int,
        agent: type[Any] | None = None,
        files: Sequence[str | Path] | None = None,
        agent_name: str | None = None,
        runtime_id: int | None = None,
        runtime: dict[str, str] | None = None,
    ) -> Json:
        """Attach an agent, upload its files, and deploy it.

        Args:
            competition_id: Of the competition.
            agent: A class, whose source becomes `agent.py`; or
            files: Paths.
            agent_name: The class's name, or the first file's, if None.
            runtime_id: What it shall run on; or
            runtime: The same described, as `resolve_runtime` takes it.

        Raises:
            SubmissionError: Both or neither of two are given; a file is missing, or a source not to be had (nothing has
                been created then); or it was refused.
        """
        if (agent is None) == (files is None):
            raise SubmissionError("Provide exactly one of agent= or files=")
        if runtime_id is not None and runtime is not None:
            raise SubmissionError("Provide at most one of runtime_id= or runtime=")
        paths = [existing(path, SubmissionError) for path in files or ()]
        source = source_of(agent) if agent is not None else None
        name = agent_name or (agent.__name__ if agent is not None else paths[0].stem if paths else "agent")
        aid: int = self.create_attached_agent(competition_id, name)["attache_agent_id"]
        if runtime is not None:
            runtime_id = self.resolve_runtime(competition_id, **runtime)["id"]
        if runtime_id is not None:
            self.set_agent_runtime(aid, runtime_id)
        if source is not None:
            self.update_agent_file_content(competition_id, aid, "agent.py", source)
        for path in paths:
            self.upload_agent_file(competition_id, aid, path)
        deploy = self.deploy_agent(competition_id, aid)
        self._last_agent, self._last_competition = aid, competition_id
        return {"attache_agent_id": aid, "agent_id": aid, "deploy": deploy}

    def status(self, agent_id: int | None = None, competition_id: int | None = None) -> Json:
        """Where a submission stands; the last one if none is named.

        Raises:
            SubmissionError: None is named, and there was none.
        """
        aid, cid = agent_id or self._last_agent, competition_id or self._last_competition
        if aid is None or cid is None:
            raise SubmissionError("name agent_id and competition_id: nothing was submitted yet")
        return self.agent_status(cid, aid)

    def tail_logs(
        self,
        competition_id: int,
        attache_agent_id: int,
        *,
        follow: bool = False,
        poll_sec: float = 5.0,
        timeout_sec: float | None = None,
    ) -> Iterator[str]:
        """Lines that tell how an evaluation goes, until it is over.

        Args:
            competition_id: Of the competition.
            attache_agent_id: Of the agent.
            follow: Go on when it is over.
            poll_sec: How often the service is asked.
            timeout_sec: After so long it ends in any case; never if 0 or None.
        """
        deadline = time.monotonic() + timeout_sec if timeout_sec else None
        told: tuple[Any, Any] | None = None
        while True:
            found = self.agent_status(competition_id, attache_agent_id)
            if (now := (found["status"], found["last_status_message"])) != told:
                yield f"[{now[0]}] {now[1] or ''}".rstrip()
                told = now
            yield from _lines(found)
            if (found["status"] in _FINAL and not follow) or (deadline is not None and time.monotonic() > deadline):
                return
            time.sleep(poll_sec)

    # Of courses

    def create_course(
        self,
        name: str,
        code: str,
        start_date: str,
        end_date: str,
        instructor_name: str | None = None,
        competition_id: int | None = None,
    ) -> Json:
        """Make a course; dates are YYYY-MM-DD. The answer has the link by which students join."""
        body = _given(
            name=name,
            code=code,
            start_date=start_date,
            end_date=end_date,
            instructor_name=instructor_name,
            competition_id=competition_id,
        )
        return self._json("create_course", "POST", "/academic_courses/", MLArenaError, _MADE, json=body)

    def enroll_in_course(
        self,
        enrollment_link: str,
        student_email: str | None = None,
        student_number: str | None = None,
        project_url: str | None = None,
    ) -> Json:
        """Join a course."""
        body = _given(student_email=student_email, student_number=student_number, project_url=project_url)
        path = f"/academic_courses/enroll/{enrollment_link}"
        return self._json("enroll_in_course", "POST", path, MLArenaError, _MADE, json=body)

    def _competitions(self, params: dict[str, Any], page: int, per_page: int) -> Json:
        paged = {**params, "page": page, "per_page": per_page}
        return self._json("competitions", "GET", "/competitions/", token=False, known=False, params=paged)

    def _tag_ids(self, names: Sequence[str]) -> list[int]:
        known = {row["name"].casefold(): int(row["id"]) for row in rows_of(self.list_tags())}
        if unknown := [name for name in names if name.casefold() not in known]:
            raise MLArenaError(f"there are no tags {unknown}; there are {sorted(known)}")
        return [known[name.casefold()] for name in names]

    def _upload_for(self, cid: int, name: str, method: str, below: str, file_path: str | Path) -> Json:
        path = existing(file_path, MLArenaError)
        with path.open("rb") as file:
            form = multipart(path.name, file, path.stat().st_size)
            return self._create(name, method, cid, below, _MADE, **form)

    def _create(self, name: str, method: str, cid: int, below: str, ok: Sequence[int] = (200,), **content: Any) -> Json:
        path = f"/creator_competition/competition/{cid}{below}"
        return self._json(name, method, path, MLArenaError, ok, **content)

    def _submit(
        self, name: str, method: str, cid: int, aid: int, below: str, ok: Sequence[int] = (200,), **content: Any
    ) -> Json:
        path = f"/direct_attache_agents/competition/{cid}/{aid}{below}"
        return self._json(name, method, path, SubmissionError, ok, **content)

    def _json(
        self,
        name: str,
        method: str,
        path: str,
        error: type[MLArenaError] | None = None,
        ok: Sequence[int] = (200,),
        **content: Any,
    ) -> Json:
        found: Json = self._connection.call(name, method, path, error, ok, **content)
        return found


def _given(**fields: Any) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


def _lines(found: Json) -> Iterator[str]:
    if found["status"] == "deploy_queue" and (queue := found.get("queue_info")):
        yield f"  queued: position={queue['position_in_queue']} waiting={queue['in_queue_for_second']}s"
    if found["status"] == "deploy_run":
        for run in (found.get("run_info") or {}).get("results", []):
            steps, reward = run["steps_completed"], run["current_reward"]
            yield f"  run: status={run['status']} steps={steps} reward={reward} outcome={run['game_outcome']}"
            if run["status"] == "error":
                yield f"    error[{run['error_type']}]: {run['error_message']}"
