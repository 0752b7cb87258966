"""Rules of submissions: which files are a valid agent, when it may be deployed, and what its owner may see.

States: created -> upload_validated <-> upload_failed -> deploy_queue -> deploy_run -> active or deploy_failed.
Files may be changed at any time. An evaluation uses the files as they were at deployment. Changing files does not
change the status of an agent that is being evaluated or is active.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.competitions.repository import visible_competition
from ml_trainer_env.arena.competitions.service import holds_results, settings_of
from ml_trainer_env.arena.errors import NotFoundError, RefusedError, TooManyError
from ml_trainer_env.arena.files.names import require_distinct
from ml_trainer_env.arena.files.sources import Sources
from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.runtimes import default_runtime, runtimes
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions.opponents import draw_opponents
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
    "cancel",
    "cancel_open",
    "delete",
    "delete_file",
    "deploy",
    "deploy_limits",
    "deploy_state",
    "derive_seed",
    "keep_file",
    "keep_files",
    "mark_baseline",
    "quota",
    "rerun",
    "runtime_row",
    "set_runtime",
    "status",
    "visible_figure",
    "visible_message",
    "visible_reward",
    "visible_runs",
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
    record(session, user_id, "agent.create", str(agent.id), agent.competition_id)
    return agent


def keep_file(session: Session, agent: Agent, name: str, sha256: str, size: int, sources: Sources) -> None:
    """Add or replace a file, then validate all files. Raises what `keep_files` raises."""
    keep_files(session, agent, {name: (sha256, size)}, sources)


def keep_files(
    session: Session, agent: Agent, files: Mapping[str, tuple[str, int]], sources: Sources, *, only: bool = False
) -> None:
    """Add or replace files, then validate all files.

    Args:
        session: A transaction.
        agent: The submission.
        files: SHA-256 and size in bytes of each file, by its valid path.
        sources: What inspects them.
        only: Whether all other files are removed.

    Raises:
        RefusedError: The agent would have too many files, or two that are the same file on some systems.
    """
    for file in agent_files(session, agent.id) if only else []:
        if file.name not in files:
            session.delete(file)
    session.flush()
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
        TooManyError: The user has deployed too often in the last 24 hours. Deleted agents and cancelled evaluations
            count, too, unless `quota_returned` says otherwise.
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
    if len(_deploys_of_the_day(session, agent, daily)) >= daily:
        raise TooManyError(f"you may deploy {daily} times in 24 hours to a competition")
    files = {file.name: file.sha256 for file in agent_files(session, agent.id)}
    deploy = _queue(session, agent, services, files, agent.runtime_id)
    record(session, agent.user_id, "agent.deploy", f"{agent.id} {deploy.id}", agent.competition_id)
    return deploy


def rerun(session: Session, agent: Agent, services: Services, by: int | None) -> Deploy:
    """Queue another evaluation of a submission in any state, for an organiser. The old results no longer count.

    What was evaluated last is evaluated, and the current files of a submission that never was. It does not count
    against the limits of the owner, and waits until no participant's evaluation does. One that waits for its first run
    stays as it is, and one that is under way begins again in its place.

    Args:
        session: A transaction.
        agent: The submission.
        services: The components of the service.
        by: The organiser; None for the operator.

    Raises:
        RefusedError: The submission was never evaluated, and its files are not a valid agent.
    """
    last = latest_deploy(session, agent.id)
    if last is None and not agent.files_ok:
        raise RefusedError(f"the submission was never evaluated, and its files make no agent: {agent.files_message}")
    is_open = agent.status in (AgentStatus.DEPLOY_QUEUE, AgentStatus.DEPLOY_RUN)
    if last is not None and is_open and last.attempt == 0:
        deploy = last
    elif last is not None and is_open and not last.is_rerun:
        deploy = _queue(session, agent, services, dict(last.files), last.runtime_id)
        deploy.created_at, last.is_rerun = last.created_at, True  # it counts once against the owner's limit
    else:
        files = {file.name: file.sha256 for file in agent_files(session, agent.id)} if last is None else last.files
        runtime_id = agent.runtime_id if last is None else last.runtime_id
        deploy = _queue(session, agent, services, dict(files), runtime_id, is_rerun=True)
    agent.mean_reward, agent.reward_ci95, agent.rewards, agent.final_rewards = None, None, [], []
    agent.max_run_s, agent.max_ram_bytes, agent.scored_at, agent.scored_deploy_id = None, None, None, None
    record(session, by, "agent.rerun", f"{agent.id} {deploy.id}", agent.competition_id)
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
    if Kernel(competition.kernel).has_matches:
        draw_opponents(session, deploy, agent, services.key)
    return deploy


def _reached_active_limit(session: Session, agent: Agent) -> bool:
    """Whether the user's other agents already reach the limit of active agents."""
    return count_on_board(session, agent) >= settings_of(agent.competition).max_active_agents_per_participant


def _deploys_of_the_day(session: Session, agent: Agent, daily: int) -> list[float]:
    return _deploys_that_count(session, agent.competition, agent.user_id, agent.is_benchmark, daily)


def _deploys_that_count(
    session: Session, competition: Competition, user_id: int, is_benchmark: bool, daily: int
) -> list[float]:
    """List the times of the deployments of the last 24 hours that count against the limit."""
    returned = settings_of(competition).quota_returned
    since = time.time() - DAY_S
    return deploys_since(session, user_id, competition.id, is_benchmark, since, returned, most_returned=daily)


def derive_seed(key: bytes, competition: Competition, number: int) -> int:
    """Derive the secret seed of a run. All agents of a competition get the same seeds, for paired comparisons."""
    digest = hmac.new(key, f"seed {competition.id} {number}".encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8]) >> 1


def cancel_open(session: Session, agent: Agent) -> None:
    """Cancel unfinished evaluations. One in the finals counts as succeeded, as before. The worker then stops."""
    for one in open_deploys(session, agent.id):
        one.status = DeployStatus.SUCCEEDED if one.is_final else DeployStatus.CANCELLED
        one.finished_at = one.finished_at or time.time()


def cancel(session: Session, agent: Agent, by: int | None, *, is_organiser: bool = False) -> None:
    """Cancel the evaluation of a submission. If it had results before, they count again.

    Args:
        session: A transaction.
        agent: The submission.
        by: Who cancels it; None for the operator.
        is_organiser: Whether an organiser or the operator cancels it, and not its owner.

    Raises:
        RefusedError: Nothing is being evaluated, or an organiser has ordered it and its owner would cancel it. Finals
            cannot be cancelled.
    """
    found = [one for one in open_deploys(session, agent.id) if not one.is_final]
    if not found:
        raise RefusedError("nothing of the submission is being evaluated")
    if found[0].is_rerun and not is_organiser:
        raise RefusedError("an organiser has ordered this evaluation, so only an organiser cancels it")
    cancel_open(session, agent)
    session.refresh(agent)  # a worker may have written to it before the cancellation
    if agent.mean_reward is not None:
        agent.status = AgentStatus.ACTIVE
    else:
        agent.status = AgentStatus.UPLOAD_VALIDATED if agent.files_ok else AgentStatus.UPLOAD_FAILED
    agent.last_status_message = "the evaluation was cancelled"
    record(session, by, "agent.cancel", str(agent.id), agent.competition_id)


def mark_baseline(session: Session, agent: Agent, is_baseline: bool, by: int | None) -> None:
    """Mark a submission as a yardstick, or take the mark back. Only an organiser may.

    A baseline is shown as such, is a participant of its own, plays no finals, and does not count against limits.

    Args:
        session: A transaction.
        agent: The submission.
        is_baseline: Whether it is a baseline.
        by: The organiser; None for the operator.
    """
    agent.is_baseline, agent.changed_at = is_baseline, time.time()
    record(session, by, "agent.baseline", f"{agent.id} {is_baseline}", agent.competition_id)


def delete(session: Session, agent: Agent, by: int | None = None, *, is_organiser: bool = False) -> None:
    """Delete a submission. It leaves the leaderboard; its rows stay in the database.

    Args:
        session: A transaction.
        agent: The submission.
        by: Who deletes it; None for the operator.
        is_organiser: Whether an organiser or the operator deletes it, and not its owner.

    Raises:
        RefusedError: The competition does not let participants delete submissions.
    """
    if not is_organiser and not settings_of(agent.competition).deletion_allowed:
        raise RefusedError("submissions to this competition cannot be deleted: its organisers do not allow it")
    cancel_open(session, agent)
    agent.status, agent.last_status_message = AgentStatus.DELETED, ""
    record(session, by, "agent.delete", str(agent.id), agent.competition_id)


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


def status(session: Session, agent: Agent, reader_id: int | None) -> dict[str, Any]:
    """Get the status of an agent for a reader, who may read it."""
    last = latest_deploy(session, agent.id)
    is_held = holds_results(session, agent.competition, reader_id)
    queued = last is not None and last.status == DeployStatus.QUEUED and not last.is_final
    finished = [run for run in last.runs if run.finished_at is not None] if last else []
    return {
        "attache_agent_id": agent.id,
        "competition_id": agent.competition_id,
        "agent_name": agent.name,
        "status": agent.status,
        "last_status_message": visible_message(agent, is_held),
        "mean_reward": None if is_held else agent.mean_reward,
        "queue_info": {
            "position_in_queue": position_in_queue(session, last),
            "in_queue_for_second": round(time.time() - last.created_at, 1),
        }
        if last is not None and queued
        else None,
        "run_info": {"results": [_run_row(run, is_held) for run in visible_runs(finished, is_held)]} if last else None,
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
    times = _deploys_of_the_day(session, agent, daily)
    can_deploy = (
        len(times) < daily
        and agent.files_ok
        and agent.competition.is_started
        and not _reached_active_limit(session, agent)
    )
    return _used(times, daily) | {"can_deploy": can_deploy}


def quota(session: Session, competition: Competition, user_id: int, daily: int) -> dict[str, Any]:
    """Get how often a user may still deploy to a competition, and how many of the user's submissions may be active."""
    times = _deploys_that_count(session, competition, user_id, False, daily)
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


def visible_reward(run: Run, is_held: bool) -> float | None:
    """Get the reward of a run for its owner, or None for a final run and while results are held back."""
    return None if is_held else visible_figure(run.kind, run.reward)


def visible_runs(runs: Sequence[Run], is_held: bool) -> list[Run]:
    """Get the runs that the owner may know of.

    While results are held back, the runs that a reward has earned are left out: their number tells of it.
    """
    return [run for run in runs if not (is_held and run.kind in (RunKind.EXTENDED, RunKind.FINAL))]


def visible_message(agent: Agent, is_held: bool) -> str:
    """Get the status message for the owner. While results are held back, it tells no score and no number of runs."""
    if is_held and agent.status == AgentStatus.ACTIVE:
        return "it is graded, and the organisers hold the results back"
    if is_held and agent.status == AgentStatus.DEPLOY_QUEUE:
        return "waiting for a worker"
    return agent.last_status_message


def _run_row(run: Run, is_held: bool) -> dict[str, Any]:
    return {
        "status": run.status,
        "kind": run.kind,
        "steps_completed": 1 if run.reward is not None else 0,
        "current_reward": visible_reward(run, is_held),
        "game_outcome": "completed" if run.reward is not None else "error",
        "error_type": run.error_type,
        "error_message": run.error_message,
    }
