"""Rules of submissions: which files are a valid agent, when it may be deployed, and what its owner may see.

States: created -> upload_validated <-> upload_failed -> deploy_queue -> deploy_run -> active or deploy_failed.
Files may be changed at any time. An evaluation uses the files as they were at deployment. Changing files does not
change the status of an agent that is being evaluated or is active.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.competitions.repository import visible_competition
from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.errors import NotFoundError, RefusedError, TooManyError
from ml_trainer_env.arena.files.names import require_distinct
from ml_trainer_env.arena.files.sources import Sources
from ml_trainer_env.arena.runtimes import default_runtime, runtimes
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions.repository import (
    agent_files,
    count_active,
    count_agents_since,
    count_on_board,
    deploys_since,
    latest_deploy,
    open_deploys,
    own_agent,
    position_in_queue,
)
from ml_trainer_env.arena.submissions.validation import validate
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
    "deploy_limits",
    "deploy_state",
    "derive_seed",
    "keep_file",
    "keep_files",
    "quota",
    "rerun",
    "runtime_row",
    "set_runtime",
    "status",
    "visible_figure",
    "visible_status",
]

DAY_S = 24 * 3600.0
MAX_DAILY_AGENTS = 200


def attach(
    session: Session, user_id: int, competition_id: int, name: str, copy_from: int | None, sources: Sources
) -> Agent:
    """Create a submission.

    Raises:
        NotFoundError: The competition, or the agent to copy, does not exist.
        RefusedError: The copied agent has more or larger files than this competition allows.
        TooManyError: The user has created too many agents in the last 24 hours.
    """
    competition = visible_competition(session, competition_id, user_id)
    if count_agents_since(session, user_id, time.time() - DAY_S) >= MAX_DAILY_AGENTS:
        raise TooManyError(f"you may make {MAX_DAILY_AGENTS} agents in 24 hours")
    agent = Agent(competition_id=competition.id, user_id=user_id, name=name, competition=competition)
    default = default_runtime(session, settings_of(competition).runtime)
    agent.runtime_id = None if default is None else default.id
    session.add(agent)
    session.flush()
    if copy_from is not None:
        source = own_agent(session, copy_from, user_id)
        agent.runtime_id = source.runtime_id
        files, allowed = agent_files(session, source.id), settings_of(competition)
        largest = max((file.size for file in files), default=0)
        if len(files) > allowed.max_upload_files or largest > allowed.max_upload_size_bytes:
            raise RefusedError("the agent has more files, or larger ones, than this competition allows")
        for file in files:
            session.add(AgentFile(agent_id=agent.id, name=file.name, sha256=file.sha256, size=file.size))
        session.flush()
        validate(session, agent, sources)
    record(session, user_id, "agent.create", str(agent.id))
    return agent


def keep_file(session: Session, agent: Agent, name: str, sha256: str, size: int, sources: Sources) -> None:
    """Add or replace a file, then validate all files. Raises what `keep_files` raises."""
    keep_files(session, agent, {name: (sha256, size)}, sources)


def keep_files(session: Session, agent: Agent, files: Mapping[str, tuple[str, int]], sources: Sources) -> None:
    """Add or replace files, then validate all files.

    Args:
        session: A transaction.
        agent: The submission.
        files: SHA-256 and size in bytes of each file, by its valid path.
        sources: What inspects them.

    Raises:
        RefusedError: The agent would have too many files, or two that are the same file on some systems.
    """
    known = {file.name: file for file in agent_files(session, agent.id)}
    allowed = settings_of(agent.competition).max_upload_files
    if len(known.keys() | files.keys()) > allowed:
        raise RefusedError(f"an agent may have {allowed} files at the most")
    require_distinct([*known, *(path for path in files if path not in known)])
    for path, (sha256, size) in files.items():
        if path in known:
            known[path].sha256, known[path].size = sha256, size
        else:
            session.add(AgentFile(agent_id=agent.id, name=path, sha256=sha256, size=size))
    session.flush()
    validate(session, agent, sources)


def delete_file(session: Session, agent: Agent, name: str, sources: Sources) -> None:
    """Remove a file, then validate the others.

    Raises:
        NotFoundError: The file does not exist.
    """
    file = next((file for file in agent_files(session, agent.id) if file.name == name), None)
    if file is None:
        raise NotFoundError("there is no such file")
    session.delete(file)
    session.flush()
    validate(session, agent, sources)


def deploy(session: Session, agent: Agent, services: Services) -> Deploy:
    """Queue an evaluation of the current files. An unfinished evaluation of the same agent is cancelled.

    Raises:
        RefusedError: The files are not a valid agent, its runtime was removed, the competition has not started, or the
            user has too many active agents.
        TooManyError: The user has deployed too often in the last 24 hours. Deleted agents count, too.
    """
    competition = agent.competition
    settings = settings_of(competition)
    if not agent.files_ok:
        raise RefusedError(f"the files make no agent: {agent.files_message}")
    runtime = session.get(Runtime, agent.runtime_id) if agent.runtime_id is not None else None
    if runtime is not None and runtime.environment and not runtime.available:
        known = _names_of_runtimes(session)
        raise RefusedError(f"the runtime {runtime.framework} is no longer available; there are {known}")
    if not competition.is_started and not agent.is_benchmark:
        raise RefusedError("the competition has not started")
    if not agent.is_benchmark and _reached_active_limit(session, agent):
        raise RefusedError(f"{settings.max_active_agents_per_participant} agents of yours may be active at a time")
    daily = services.settings.daily_deploys
    if len(_deploys_of_the_day(session, agent)) >= daily:
        raise TooManyError(f"you may deploy {daily} times in 24 hours to a competition")
    files = {file.name: file.sha256 for file in agent_files(session, agent.id)}
    deploy = _queue(session, agent, services, files, agent.runtime_id)
    record(session, agent.user_id, "agent.deploy", f"{agent.id} {deploy.id}")
    return deploy


def rerun(session: Session, agent: Agent, services: Services, by: int) -> Deploy:
    """Queue another evaluation of what was evaluated last, for an organiser. The old results no longer count.

    It does not count against the limits of the owner, and waits until no participant's evaluation does.

    Args:
        session: A transaction.
        agent: The submission.
        services: The components of the service.
        by: The organiser.

    Raises:
        RefusedError: The submission is neither active nor failed.
    """
    last = latest_deploy(session, agent.id)
    if agent.status not in (AgentStatus.ACTIVE, AgentStatus.DEPLOY_FAILED) or last is None:
        raise RefusedError(f"only an active or a failed submission can be run again, and this one is {agent.status}")
    deploy = _queue(session, agent, services, dict(last.files), last.runtime_id, is_rerun=True)
    agent.mean_reward, agent.reward_ci95, agent.rewards, agent.final_rewards = None, None, [], []
    agent.max_run_s, agent.max_ram_bytes, agent.scored_at, agent.scored_deploy_id = None, None, None, None
    record(session, by, "agent.rerun", f"{agent.id} {deploy.id}")
    return deploy


def _queue(
    session: Session,
    agent: Agent,
    services: Services,
    files: dict[str, str],
    runtime_id: int | None,
    is_rerun: bool = False,
) -> Deploy:
    """Queue an evaluation of files, given by path and SHA-256, in a runtime."""
    competition, settings = agent.competition, settings_of(agent.competition)
    cancel_open(session, agent)
    session.refresh(agent)  # a worker may have written to it before the cancellation
    deploy = Deploy(agent_id=agent.id, files=files, runtime_id=runtime_id, is_rerun=is_rerun)
    kinds = [RunKind.CONSTRAINT] * settings.evaluation_deployment_nb_constraint_run
    kinds += [RunKind.SCORE] * settings.evaluation_deployment_nb_initial_score_run
    deploy.runs = [
        Run(number=number, kind=kind, seed=derive_seed(services.key, competition, number))
        for number, kind in enumerate(kinds)
    ]
    session.add(deploy)
    agent.status, agent.last_status_message = AgentStatus.DEPLOY_QUEUE, "waiting for a worker"
    session.flush()
    return deploy


def _reached_active_limit(session: Session, agent: Agent) -> bool:
    """Whether the user's other agents already reach the limit of active agents."""
    return count_on_board(session, agent) >= settings_of(agent.competition).max_active_agents_per_participant


def _deploys_of_the_day(session: Session, agent: Agent) -> list[float]:
    since = time.time() - DAY_S
    return deploys_since(session, agent.user_id, agent.competition_id, agent.is_benchmark, since)


def derive_seed(key: bytes, competition: Competition, number: int) -> int:
    """Derive the secret seed of a run. All agents of a competition get the same seeds, for paired comparisons."""
    digest = hmac.new(key, f"seed {competition.id} {number}".encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8]) >> 1


def cancel_open(session: Session, agent: Agent) -> None:
    """Cancel unfinished evaluations. One in the finals counts as succeeded, as before. The worker then stops."""
    for one in open_deploys(session, agent.id):
        one.status = DeployStatus.SUCCEEDED if one.is_final else DeployStatus.CANCELLED
        one.finished_at = one.finished_at or time.time()


def delete(session: Session, agent: Agent, by: int | None = None) -> None:
    """Delete a submission. It leaves the leaderboard; its rows stay in the database.

    Args:
        session: A transaction.
        agent: The submission.
        by: Who deletes it; None for its owner.
    """
    cancel_open(session, agent)
    agent.status, agent.last_status_message = AgentStatus.DELETED, ""
    record(session, agent.user_id if by is None else by, "agent.delete", str(agent.id))


def set_runtime(session: Session, agent: Agent, runtime_id: int, sources: Sources) -> Runtime:
    """Set the runtime of an agent, then validate its files.

    Raises:
        RefusedError: There is no such runtime.
    """
    chosen = session.get(Runtime, runtime_id)
    if chosen is None or not chosen.available:
        raise RefusedError(f"there is no runtime {runtime_id} here; there are {_names_of_runtimes(session)}")
    agent.runtime_id = chosen.id
    validate(session, agent, sources)
    return chosen


def _names_of_runtimes(session: Session) -> str:
    return ", ".join(f"{one.id} ({one.framework} {one.framework_version})" for one in runtimes(session)) or "none"


def runtime_row(runtime: Runtime) -> dict[str, Any]:
    """Get a runtime in the SDK's format."""
    names = ("id", "language", "language_version", "framework", "framework_version", "requirement")
    return {name: getattr(runtime, name) for name in names}


def status(session: Session, agent: Agent) -> dict[str, Any]:
    """Get the status of an agent for its owner."""
    last = latest_deploy(session, agent.id)
    queued = last is not None and last.status == DeployStatus.QUEUED and not last.is_final
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
    """Get the deployment limits and the last evaluation."""
    last = latest_deploy(session, agent.id)
    return {
        "deploymentLimits": deploy_limits(session, agent, daily),
        "latestDeploy": {
            "id": last.id,
            "created_at_ts": last.created_at,
            "status": visible_status(last),
            "finished_at_ts": last.finished_at,
            "failure_message": last.failure_message,
        }
        if last
        else None,
    }


def deploy_limits(session: Session, agent: Agent, daily: int) -> dict[str, Any]:
    """Get how often the owner of an agent may deploy to its competition, and whether the agent may be deployed now."""
    times = _deploys_of_the_day(session, agent)
    can_deploy = (
        len(times) < daily
        and agent.files_ok
        and agent.competition.is_started
        and not _reached_active_limit(session, agent)
    )
    return _used(times, daily) | {"can_deploy": can_deploy}


def quota(session: Session, competition: Competition, user_id: int, daily: int) -> dict[str, Any]:
    """Get how often a user may still deploy to a competition, and how many of the user's submissions may be active."""
    times = deploys_since(session, user_id, competition.id, False, time.time() - DAY_S)
    most = settings_of(competition).max_active_agents_per_participant
    return _used(times, daily) | {"active": count_active(session, competition.id, user_id), "most_active": most}


def _used(times: list[float], daily: int) -> dict[str, Any]:
    """Get what is left of a daily limit after deployments at these times."""
    used = len(times)
    return {
        "daily_deploy_limit": daily,
        "daily_deploys_used": used,
        "daily_deploys_remaining": max(0, daily - used),
        "next_deploy_available_at": times[used - daily] + DAY_S if 0 < daily <= used else None,
    }


def visible_status(deploy: Deploy) -> DeployStatus:
    """Get the status that the owner sees. An evaluation in the finals is shown as succeeded unless it fails."""
    over = deploy.status == DeployStatus.FAILED or not deploy.is_final
    return DeployStatus(deploy.status) if over else DeployStatus.SUCCEEDED


def visible_figure(kind: RunKind, figure: float | None) -> float | None:
    """Get a figure of a run for its owner, or None for a final run.

    Only the mean of the finals is visible. Otherwise an agent could pass information to its owner through the figures.
    """
    return None if kind == RunKind.FINAL else figure


def _run_row(run: Run) -> dict[str, Any]:
    return {
        "status": run.status,
        "kind": run.kind,
        "steps_completed": 1 if run.reward is not None else 0,
        "current_reward": visible_figure(run.kind, run.reward),
        "game_outcome": "completed" if run.reward is not None else "error",
        "error_type": run.error_type,
        "error_message": run.error_message,
    }
