"""The benchmark agent of a competition: a submission that is built from the creator's benchmark files."""

from typing import Any

from sqlalchemy.orm import Session

from ml_trainer_env.arena.competitions.repository import competition_files
from ml_trainer_env.arena.competitions.service import benchmark_agent, settings_of
from ml_trainer_env.arena.errors import RefusedError
from ml_trainer_env.arena.runtimes import default_runtime
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.submissions.repository import agent_files, latest_deploy
from ml_trainer_env.arena.submissions.validation import validate
from ml_trainer_env.arena.tables import Agent, AgentFile, AgentStatus, Competition, Deploy, FilePurpose

__all__ = ["benchmark_state", "run_benchmark"]


_STATUS_NAMES = {
    AgentStatus.DEPLOY_QUEUE: "running",
    AgentStatus.DEPLOY_RUN: "running",
    AgentStatus.ACTIVE: "completed",
    AgentStatus.DEPLOY_FAILED: "failed",
}
"""Any other status means that the benchmark must be run."""


def run_benchmark(session: Session, competition: Competition, services: Services) -> Deploy:
    """Queue an evaluation of the benchmark agent.

    Raises:
        RefusedError: Its files are missing or invalid, or the competition has started.
        TooManyError: It was evaluated too often in the last 24 hours.
    """
    if competition.is_started:
        raise RefusedError("the competition has started")
    files = competition_files(session, competition.id, FilePurpose.BENCHMARK)
    if not any(file.name == "agent.py" for file in files):
        raise RefusedError("upload the benchmark's agent.py first")
    agent = benchmark_agent(session, competition.id)
    if agent is None:
        agent = Agent(
            competition_id=competition.id,
            user_id=competition.creator_id,
            name="benchmark",
            is_benchmark=True,
            competition=competition,
        )
        session.add(agent)
        session.flush()
    runtime = default_runtime(session, settings_of(competition).runtime)
    agent.runtime_id = None if runtime is None else runtime.id
    service.cancel_open(session, agent)
    for old in agent_files(session, agent.id):
        session.delete(old)
    session.flush()
    for file in files:
        session.add(AgentFile(agent_id=agent.id, name=file.name, sha256=file.sha256, size=file.size))
    session.flush()
    validate(session, agent, services.sources)
    return service.deploy(session, agent, services)


def benchmark_state(session: Session, competition: Competition) -> dict[str, Any]:
    """Get the state of the benchmark's evaluation."""
    agent = benchmark_agent(session, competition.id)
    last = latest_deploy(session, agent.id) if agent else None
    if agent is None or last is None:
        return {"status": "none", "success": None, "agent_results": []}
    status = _STATUS_NAMES.get(AgentStatus(agent.status), "none")
    failed = status == "failed"
    result = {
        "score": agent.mean_reward if status == "completed" else None,
        "is_agent_code_error": failed,
        "agent_code_error_message": agent.last_status_message if failed else None,
    }
    over = status in {"completed", "failed"}
    return {"status": status, "success": not failed if over else None, "agent_results": [result] if over else []}
