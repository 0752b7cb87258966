"""Rules of submissions: what makes an agent, when it may be deployed, what its owner is told.

States: created -> upload_validated <-> upload_failed -> deploy_queue -> deploy_run -> active or deploy_failed.
Files may be changed at any time; what is deployed is what they were then. While an evaluation is open, and on the
board, changed files leave the status as it is.
"""

import ast
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.blobs import Blobs
from ml_trainer_env.arena.competitions.repository import visible_competition
from ml_trainer_env.arena.competitions.service import python_complaint, settings_of
from ml_trainer_env.arena.errors import NotFoundError, RefusedError, TooManyError
from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions.repository import (
    agent_files,
    count_deploys_since,
    count_on_board,
    latest_deploy,
    open_deploys,
    own_agent,
    position_in_queue,
    runtimes,
)
from ml_trainer_env.arena.tables import (
    Agent,
    AgentFile,
    AgentStatus,
    Competition,
    Deploy,
    DeployStatus,
    Run,
    RunKind,
    Runtime,
)

__all__ = [
    "attach",
    "cancel_open",
    "delete",
    "delete_file",
    "deploy",
    "deploy_state",
    "files_message",
    "keep_file",
    "run_seed",
    "runtime_row",
    "set_runtime",
    "status",
    "validate",
]

DAY_S = 24 * 3600.0

_LOOSE = (AgentStatus.CREATED, AgentStatus.UPLOAD_VALIDATED, AgentStatus.UPLOAD_FAILED, AgentStatus.DEPLOY_FAILED)


def attach(
    session: Session, user_id: int, competition_id: int, name: str, copy_from: int | None, blobs: Blobs
) -> Agent:
    """Make a submission.

    Raises:
        NotFoundError: There is no such competition, or no such agent to copy.
    """
    competition = visible_competition(session, competition_id, user_id)
    agent = Agent(competition_id=competition.id, user_id=user_id, name=name, competition=competition)
    options = runtimes(session)
    agent.runtime_id = options[0].id if options else None
    session.add(agent)
    session.flush()
    if copy_from is not None:
        source = own_agent(session, copy_from, user_id)
        agent.runtime_id = source.runtime_id
        for file in agent_files(session, source.id):
            session.add(AgentFile(agent_id=agent.id, name=file.name, sha256=file.sha256, size=file.size))
        session.flush()
        validate(session, agent, blobs)
    record(session, user_id, "agent.create", str(agent.id))
    return agent


def keep_file(session: Session, agent: Agent, name: str, sha256: str, size: int, blobs: Blobs) -> None:
    """Add or replace a file, and look at them all.

    Raises:
        RefusedError: It would have too many files.
    """
    files = {file.name: file for file in agent_files(session, agent.id)}
    allowed = settings_of(agent.competition).max_upload_files
    if name in files:
        files[name].sha256, files[name].size = sha256, size
    elif len(files) >= allowed:
        raise RefusedError(f"an agent may have {allowed} files at the most")
    else:
        session.add(AgentFile(agent_id=agent.id, name=name, sha256=sha256, size=size))
    session.flush()
    validate(session, agent, blobs)


def delete_file(session: Session, agent: Agent, name: str, blobs: Blobs) -> None:
    """Remove a file, and look at the rest.

    Raises:
        NotFoundError: There is none of this name.
    """
    file = next((file for file in agent_files(session, agent.id) if file.name == name), None)
    if file is None:
        raise NotFoundError("there is no such file")
    session.delete(file)
    session.flush()
    validate(session, agent, blobs)


def deploy(session: Session, agent: Agent, services: Services) -> Deploy:
    """Queue an evaluation of the files as they are; one that is open is cancelled.

    Raises:
        RefusedError: The files make no agent; the competition has not started; too many agents are on the board.
        TooManyError: It was deployed too often today.
    """
    competition = agent.competition
    settings = settings_of(competition)
    if not agent.files_ok:
        complaint = _complaint(_python_files(session, agent, services.blobs), Kernel(competition.kernel))
        raise RefusedError(f"the files make no agent: {complaint}")
    if not competition.is_started and not agent.is_benchmark:
        raise RefusedError("the competition has not started")
    if not agent.is_benchmark:
        if count_on_board(session, agent) >= settings.max_active_agents_per_participant:
            raise RefusedError(f"{settings.max_active_agents_per_participant} agents of yours may be active at a time")
        if count_deploys_since(session, agent.id, time.time() - DAY_S) >= services.settings.daily_deploys:
            raise TooManyError(f"an agent may be deployed {services.settings.daily_deploys} times in 24 hours")
    cancel_open(session, agent)
    deploy = Deploy(agent_id=agent.id, files={file.name: file.sha256 for file in agent_files(session, agent.id)})
    kinds = [RunKind.CONSTRAINT] * settings.evaluation_deployment_nb_constraint_run
    kinds += [RunKind.SCORE] * settings.evaluation_deployment_nb_initial_score_run
    deploy.runs = [
        Run(number=number, kind=kind, seed=run_seed(services.key, competition, number))
        for number, kind in enumerate(kinds)
    ]
    session.add(deploy)
    agent.status, agent.last_status_message = AgentStatus.DEPLOY_QUEUE, "waiting for a worker"
    session.flush()
    record(session, agent.user_id, "agent.deploy", f"{agent.id} {deploy.id}")
    return deploy


def run_seed(key: bytes, competition: Competition, number: int) -> int:
    """The secret seed of a competition's run: the same for all its agents, so that they can be compared in pairs."""
    digest = hmac.new(key, f"seed {competition.id} {number}".encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8]) >> 1


def cancel_open(session: Session, agent: Agent) -> None:
    """Cancel an evaluation that is not done. Its worker notices when it next writes."""
    for one in open_deploys(session, agent.id):
        one.status, one.finished_at = DeployStatus.CANCELLED, time.time()


def delete(session: Session, agent: Agent) -> None:
    """Take it off the board, for good. What it was stays in the records."""
    cancel_open(session, agent)
    agent.status, agent.last_status_message = AgentStatus.DELETED, ""
    record(session, agent.user_id, "agent.delete", str(agent.id))


def set_runtime(session: Session, agent: Agent, runtime_id: int) -> Runtime:
    """Choose what it runs on.

    Raises:
        RefusedError: This host has no such runtime.
    """
    chosen = session.get(Runtime, runtime_id)
    if chosen is None or not chosen.available:
        raise RefusedError(f"there is no runtime {runtime_id} here")
    agent.runtime_id = chosen.id
    return chosen


def runtime_row(runtime: Runtime) -> dict[str, Any]:
    """A runtime as the SDK knows it."""
    names = ("id", "language", "language_version", "framework", "framework_version", "requirement")
    return {name: getattr(runtime, name) for name in names}


def status(session: Session, agent: Agent) -> dict[str, Any]:
    """All that its owner may know of where it stands."""
    last = latest_deploy(session, agent.id)
    queued = last is not None and last.status == DeployStatus.QUEUED
    return {
        "attache_agent_id": agent.id,
        "competition_id": agent.competition_id,
        "agent_name": agent.name,
        "status": agent.status,
        "last_status_message": agent.last_status_message,
        "mean_reward": agent.mean_reward,
        "queue_info": {
            "position_in_queue": position_in_queue(session, last),
            "in_queue_for_second": round(time.time() - last.created_at, 1),
        }
        if last is not None and queued
        else None,
        "run_info": {"results": [_run_row(run) for run in last.runs if run.finished_at is not None]} if last else None,
    }


def deploy_state(session: Session, agent: Agent, daily: int) -> dict[str, Any]:
    """Limits of deploying, and the last evaluation."""
    used = count_deploys_since(session, agent.id, time.time() - DAY_S)
    last = latest_deploy(session, agent.id)
    return {
        "deploymentLimits": {
            "daily_deploy_limit": daily,
            "daily_deploys_used": used,
            "daily_deploys_remaining": max(0, daily - used),
            "next_deploy_available_at": None if used < daily or last is None else last.created_at + DAY_S,
            "can_deploy": used < daily and agent.files_ok,
        },
        "latestDeploy": {
            "id": last.id,
            "created_at_ts": last.created_at,
            "status": last.status,
            "finished_at_ts": last.finished_at,
            "failure_message": last.failure_message,
        }
        if last
        else None,
    }


def _run_row(run: Run) -> dict[str, Any]:
    return {
        "status": run.status,
        "kind": run.kind,
        "steps_completed": 1 if run.reward is not None else 0,
        "current_reward": run.reward,
        "game_outcome": "completed" if run.reward is not None else "error",
        "error_type": run.error_type,
        "error_message": run.error_message,
    }


def validate(session: Session, agent: Agent, blobs: Blobs) -> None:
    """Look at the files, and note what they are."""
    complaint = _complaint(_python_files(session, agent, blobs), Kernel(agent.competition.kernel))
    agent.files_ok = complaint is None
    if agent.status in _LOOSE:
        agent.status = AgentStatus.UPLOAD_VALIDATED if complaint is None else AgentStatus.UPLOAD_FAILED
        agent.last_status_message = complaint or "the files make an agent"


def files_message(session: Session, agent: Agent, blobs: Blobs) -> str:
    """What there is to say of its files as they are."""
    complaint = _complaint(_python_files(session, agent, blobs), Kernel(agent.competition.kernel))
    return complaint or "the files make an agent"


def _python_files(session: Session, agent: Agent, blobs: Blobs) -> dict[str, bytes]:
    return {file.name: blobs.get(file.sha256) for file in agent_files(session, agent.id) if file.name.endswith(".py")}


def _complaint(files: Mapping[str, bytes], kernel: Kernel) -> str | None:
    """Why files make no agent; None if they do. Nothing is run."""
    if "agent.py" not in files:
        return "there is no agent.py"
    for name, content in files.items():
        if complaint := python_complaint(name, content):
            return complaint
    classes = [node for node in ast.parse(files["agent.py"]).body if isinstance(node, ast.ClassDef)]
    named = [node for node in classes if node.name == "Agent"] or (classes if len(classes) == 1 else [])
    if not named:
        return "agent.py should define a class Agent, or one class only"
    have = {node.name for node in named[0].body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    missing = [" or ".join(group) for group in kernel.methods if not have.intersection(group)]
    if missing and not named[0].bases:
        return f"the class {named[0].name} should have a method {' and a method '.join(missing)}"
    return None
