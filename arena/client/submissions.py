"""Methods that submit an agent and follow its evaluation."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ml_trainer_env.arena.client.agents import AgentMethods
from ml_trainer_env.arena.client.base import Json
from ml_trainer_env.arena.client.class_source import source_of
from ml_trainer_env.arena.client.errors import SubmissionError
from ml_trainer_env.arena.client.packing import collect

__all__ = ["SubmissionMethods"]

_FINAL = frozenset({"active", "deploy_failed", "upload_failed", "deleted"})


class SubmissionMethods(AgentMethods):
    """Submits an agent, and reports the progress of its evaluation."""

    def submit(
        self,
        competition_id: int,
        agent: type[Any] | None = None,
        files: str | Path | Sequence[str | Path] | None = None,
        agent_name: str | None = None,
        runtime_id: int | None = None,
        runtime: dict[str, str] | None = None,
    ) -> Json:
        """Create an agent, upload its files, and deploy it. Files are checked before the first request.

        Args:
            competition_id: The competition.
            agent: A class. Its source becomes `agent.py`, with the imports, functions, classes and constants that it
                needs of its file or notebook cell. Give either `agent` or `files`.
            files: A file, a folder or a .zip archive to upload, or several of them. Paths within folders and archives
                are kept. A folder with an agent.py is the submission itself, and any other keeps its own name, too.
                Hidden files and `__pycache__` are left out.
            agent_name: Name of the agent. By default the name of the class or of the first file.
            runtime_id: The runtime. Give at most one of `runtime_id` and `runtime`.
            runtime: Arguments for `resolve_runtime`.

        Raises:
            SubmissionError: The arguments contradict each other, a file does not exist, two files would have the same
                path, the source of the class is not available or needs names of other cells, or the service refused a
                request.
        """
        if (agent is None) == (files is None):
            raise SubmissionError("Provide exactly one of agent= or files=")
        if runtime_id is not None and runtime is not None:
            raise SubmissionError("Provide at most one of runtime_id= or runtime=")
        uploads = collect(files) if files is not None else []
        source = source_of(agent) if agent is not None else None
        name = agent_name or (agent.__name__ if agent is not None else _default_name(files or ()))
        aid: int = self.create_attached_agent(competition_id, name)["attache_agent_id"]
        if runtime is not None:
            runtime_id = self.resolve_runtime(competition_id, **runtime)["id"]
        if runtime_id is not None:
            self.set_agent_runtime(aid, runtime_id)
        if source is not None:
            self.update_agent_file_content(competition_id, aid, "agent.py", source)
        for upload in uploads:
            self._upload(competition_id, aid, upload.path, upload.file)
        deploy = self.deploy_agent(competition_id, aid)
        self._last_agent, self._last_competition = aid, competition_id
        return {"attache_agent_id": aid, "agent_id": aid, "deploy": deploy}

    def status(self, agent_id: int | None = None, competition_id: int | None = None) -> Json:
        """Get the status of a submission. The default is this client's last submission.

        Raises:
            SubmissionError: No submission is given, and this client has made none.
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
        """Yield lines about the progress of an evaluation until it ends.

        Args:
            competition_id: The competition.
            attache_agent_id: The agent.
            follow: Continue after the evaluation has ended.
            poll_sec: Seconds between two requests.
            timeout_sec: Stop after this many seconds. 0 and None mean no limit.
        """
        deadline = time.monotonic() + timeout_sec if timeout_sec else None
        last_status: tuple[Any, Any] | None = None
        while True:
            found = self.agent_status(competition_id, attache_agent_id)
            if (current := (found["status"], found["last_status_message"])) != last_status:
                yield f"[{current[0]}] {current[1] or ''}".rstrip()
                last_status = current
            yield from _format_status(found)
            if (found["status"] in _FINAL and not follow) or (deadline is not None and time.monotonic() > deadline):
                return
            time.sleep(poll_sec)


def _default_name(files: str | Path | Sequence[str | Path]) -> str:
    """Get the name of the first file or folder, without its ending."""
    first = Path(files if isinstance(files, str | Path) else files[0]).resolve()
    return first.name if first.is_dir() else first.stem


def _format_status(found: Json) -> Iterator[str]:
    if found["status"] == "deploy_queue" and (queue := found.get("queue_info")):
        yield f"  queued: position={queue['position_in_queue']} waiting={queue['in_queue_for_second']}s"
    if found["status"] == "deploy_run":
        for run in (found.get("run_info") or {}).get("results", []):
            steps, reward = run["steps_completed"], run["current_reward"]
            yield f"  run: status={run['status']} steps={steps} reward={reward} outcome={run['game_outcome']}"
            if run["status"] == "error":
                yield f"    error[{run['error_type']}]: {run['error_message']}"
