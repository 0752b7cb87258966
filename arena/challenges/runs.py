"""Runs and deploy attempts as replies: one form for all readers, without what a reader may not see."""

from collections.abc import Sequence
from typing import Any

from ml_trainer_env.arena.challenges.values import iso
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions.service import visible_figure, visible_reward, visible_status
from ml_trainer_env.arena.tables import Agent, Blame, Deploy, DeployStatus, Run, RunKind, RunStatus

__all__ = ["deploy_row", "failure_row", "run_rows"]

_LOG_BYTES = 20_000
"""Only the end of a longer log is in a reply."""


def deploy_row(deploy: Deploy, is_close: bool) -> dict[str, Any]:
    """Get a deploy attempt.

    Args:
        deploy: The evaluation.
        is_close: Whether the reader may see the message of a failure, which can quote the agent's output.
    """
    return {
        "id": deploy.id,
        "created_at_ts": iso(deploy.created_at),
        "status": visible_status(deploy),
        "finished_at_ts": iso(deploy.finished_at),
        "failure_message": deploy.failure_message if is_close else None,
        "failure_owner": deploy.failure_owner,
    }


def run_rows(
    runs: Sequence[Run], services: Services, is_close: bool, is_staff: bool, is_held: bool = False
) -> list[dict[str, Any]]:
    """Get runs.

    Args:
        runs: The runs, with their evaluations.
        services: The components of the service.
        is_close: Whether the reader may see the output and the error messages of the agent.
        is_staff: Whether the reader may see the error messages of the environment.
        is_held: Whether scores are held back from the reader.
    """
    return [_run_row(run, run.deploy.agent, services, is_close, is_staff, is_held) for run in runs]


def failure_row(run: Run, is_close: bool) -> dict[str, Any]:
    """Get why a run failed."""
    of_agent = run.error_owner in (None, Blame.PARTICIPANT)
    return {
        "simulation_result_id": run.id,
        "created_at_ts": iso(run.finished_at),
        "job_status": "completed",
        "job_error_type": None,
        "env_error_type": None if of_agent else run.error_type,
        "agent_error_type": run.error_type if of_agent else None,
        "agent_error_message": run.error_message if of_agent and is_close else None,
    }


def _run_row(
    run: Run, agent: Agent, services: Services, is_close: bool, is_staff: bool, is_held: bool
) -> dict[str, Any]:
    failed = run.status == RunStatus.ERROR
    of_agent = failed and run.error_owner in (None, Blame.PARTICIPANT)
    of_env = failed and not of_agent
    reward = visible_reward(run, is_held)
    return {
        "simulation_result_id": run.id,
        "submission_deploy_id": run.deploy_id,
        "job_status": _job_status(run),
        "job_started_at_ts": None,
        "job_completed_at_ts": iso(run.finished_at),
        "job_error_type": None,
        "job_error_message": None,
        "job_retry_count": 0,
        "created_at_ts": iso(run.deploy.created_at),
        "simulate_end_time_ts": iso(run.finished_at),
        "is_test": run.kind == RunKind.CONSTRAINT,
        "is_deployment": run.kind != RunKind.FINAL,
        "env_nb_steps": None,
        "env_error_type": run.error_type if of_env else None,
        "env_error_message": run.error_message if of_env and is_staff else None,
        "env_stdout_logs": None,
        "replay": None,
        "submission_results": [
            {
                "id": run.id,
                "submission_id": agent.id,
                "submission_name": agent.name,
                "user_name": agent.user.name,
                "submission_status": agent.status,
                "agent_attached_player_id": 0,
                "env_player_name": None,
                "score": reward,
                "score_variance": None,
                "n_episodes": 1 if run.finished_at is not None else None,
                "score_ci95": None,
                "agent_nb_steps": None,
                "game_outcome": None,
                "final_rank": None,
                "score_elo_before": None,
                "score_elo_delta": None,
                "metrics": {},
                "info_message": None,
                "action_time_max_sec": visible_figure(run.kind, run.wall_s),
                "agent_metric_total_ram_max_bytes": visible_figure(run.kind, run.peak_ram_bytes),
                "agent_error_type": run.error_type if of_agent else None,
                "agent_error_message": run.error_message if of_agent and is_close else None,
                "agent_stdout_logs": _log(run, services) if is_close else None,
            }
        ],
    }


def _job_status(run: Run) -> str:
    if run.finished_at is not None:
        return "completed"
    if run.deploy.status in {DeployStatus.CANCELLED, DeployStatus.FAILED}:  # no worker takes it any more
        return "cancelled"
    return "running" if run.deploy.status == DeployStatus.RUNNING and _is_next(run) else "pending"


def _is_next(run: Run) -> bool:
    return all(other.finished_at is not None for other in run.deploy.runs if other.number < run.number)


def _log(run: Run, services: Services) -> str | None:
    if run.log_sha256 is None:
        return None
    return services.blobs.get(run.log_sha256)[-_LOG_BYTES:].decode(errors="replace")
