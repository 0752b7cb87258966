"""Methods that manage one agent of a competition: its files, its runtime and its deployment."""

import io
from pathlib import Path
from typing import Any

from ml_trainer_env.arena.client.base import CREATED, QUEUED, ClientBase, Json, without_none
from ml_trainer_env.arena.client.errors import MLArenaError, SubmissionError
from ml_trainer_env.arena.client.tables import as_table, rows_of
from ml_trainer_env.arena.client.uploads import existing, multipart

__all__ = ["AgentMethods"]


class AgentMethods(ClientBase):
    """Each method sends one request; `submit` combines them. Needs a token with the scope `user`."""

    def create_attached_agent(
        self, competition_id: int, agent_name: str, copy_from_agent_id: int | None = None
    ) -> Json:
        """Create an agent in a competition."""
        body = without_none(agent_name=agent_name, copy_from_agent_id=copy_from_agent_id)
        path = f"/direct_attache_agents/competition/{competition_id}"
        return self._call_json("create_attached_agent", "POST", path, SubmissionError, CREATED, json=body)

    def upload_agent_file(self, competition_id: int, attache_agent_id: int, file_path: str | Path) -> Json:
        """Upload a file of an agent. The service unpacks a .zip archive.

        Raises:
            SubmissionError: The file does not exist, or the service refused it.
        """
        path = existing(file_path, SubmissionError)
        return self._upload(competition_id, attache_agent_id, path.name, path)

    def _upload(self, competition_id: int, attache_agent_id: int, name: str, path: Path) -> Json:
        """Upload a file under a name, which may be a path in the submission."""
        with path.open("rb") as file:
            form = multipart(name, file, path.stat().st_size)
            return self._call_agent_route(
                "upload_agent_file", "PUT", competition_id, attache_agent_id, "/file", CREATED, **form
            )

    def update_agent_file_content(
        self, competition_id: int, attache_agent_id: int, filename: str, content: str
    ) -> Json:
        """Write a text file of an agent."""
        encoded = content.encode()
        form = multipart(filename, io.BytesIO(encoded), len(encoded))
        name = "update_agent_file_content"
        return self._call_agent_route(name, "PUT", competition_id, attache_agent_id, "/file", CREATED, **form)

    def delete_agent_file(self, competition_id: int, attache_agent_id: int, filename: str) -> Json:
        """Delete a file of an agent."""
        form = {"delete_file": filename}
        return self._call_agent_route("delete_agent_file", "PUT", competition_id, attache_agent_id, "/file", data=form)

    def list_agent_files(self, competition_id: int, attache_agent_id: int) -> Json:
        """Get the files of an agent, by name."""
        return self._call_agent_route("list_agent_files", "GET", competition_id, attache_agent_id, "/file")

    def get_agent_file_content(self, competition_id: int, attache_agent_id: int, filename: str) -> str:
        """Get the content of a text file of an agent."""
        below = f"/file/{filename}/content"
        found = self._call_agent_route("get_agent_file_content", "GET", competition_id, attache_agent_id, below)
        return str(found["content"])

    def deploy_agent(self, competition_id: int, attache_agent_id: int) -> Json:
        """Queue an evaluation of an agent."""
        return self._call_agent_route("deploy_agent", "PUT", competition_id, attache_agent_id, "/deploy", QUEUED)

    def agent_deploy_status(self, competition_id: int, attache_agent_id: int) -> Json:
        """Get the deployment limits and the last evaluation."""
        path = f"/direct_attache_agents/competition/{competition_id}/{attache_agent_id}/deploy"
        return self._call_json("agent_deploy_status", "GET", path)

    def delete_agent(self, competition_id: int, attache_agent_id: int) -> Json:
        """Delete an agent."""
        return self._call_agent_route("delete_agent", "DELETE", competition_id, attache_agent_id, "")

    def cancel_agent(self, competition_id: int, attache_agent_id: int) -> Json:
        """Cancel the evaluation of an agent. If it had a score before, it counts again."""
        return self._call_agent_route("cancel_agent", "PUT", competition_id, attache_agent_id, "/cancel")

    def agent_status(self, competition_id: int, attache_agent_id: int) -> Json:
        """Get the status of an agent, its position in the queue, and its runs."""
        return self._call_agent_route("agent_status", "GET", competition_id, attache_agent_id, "/status")

    def agent_games(self, attache_agent_id: int) -> Json:
        """Get the runs of an agent, with signed URLs of their logs."""
        path = f"/direct_attache_agents/agent/{attache_agent_id}/games"
        return self._call_json("agent_games", "GET", path, SubmissionError)

    def runtime_options(self, competition_id: int) -> Any:
        """List the runtimes that an agent can use."""
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
        """Find the first runtime with these properties.

        Raises:
            MLArenaError: No runtime has them.
        """
        wanted = without_none(language=language, framework=framework, framework_version=framework_version)
        rows = rows_of(self.runtime_options(competition_id))
        for row in rows:
            if all(row.get(name) == value for name, value in wanted.items()):
                return row
        raise MLArenaError(f"no runtime is {wanted}; there are {rows}")

    def agent_runtime(self, attache_agent_id: int) -> Json:
        """Get the runtime of an agent."""
        path = f"/direct_attache_agents/agent_runtime/{attache_agent_id}"
        return self._call_json("agent_runtime", "GET", path, MLArenaError)

    def set_agent_runtime(self, attache_agent_id: int, runtime_id: int) -> Json:
        """Set the runtime of an agent."""
        body = {"docker_image_agent_runtime_id": runtime_id}
        path = f"/direct_attache_agents/agent_runtime/{attache_agent_id}"
        return self._call_json("set_agent_runtime", "PUT", path, MLArenaError, json=body)
