"""Values that several replies of the protocol share."""

import datetime as dt
from typing import Any

from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.submissions.service import visible_message
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, Runtime, Team, User

__all__ = [
    "KIND_LABEL",
    "MACHINE",
    "challenge_context",
    "challenge_status",
    "iso",
    "owner_block",
    "runtime_row",
    "status_block",
    "team_block",
]

KIND_LABEL = "Code challenge"
"""All kinds of this service run code."""

MACHINE = {"id": 1, "name": "local", "runtime": "vm", "vm_health_ok": True, "vm_health_checked_at_ts": None}
"""The machine of this service: its workers, taken together."""

_PHASES = {
    AgentStatus.DEPLOY_QUEUE: "deployment",
    AgentStatus.DEPLOY_RUN: "deployment",
    AgentStatus.DEPLOY_FAILED: "deployment",
    AgentStatus.ACTIVE: "active",
    AgentStatus.DELETED: "terminal",
}
"""Phases of a submission. Any other status belongs to the phase `upload`."""


def iso(at: float | None) -> str | None:
    """Write a time in seconds since 1970 as ISO 8601 in UTC, `2026-01-31T12:00:00Z`."""
    if at is None:
        return None
    return dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def challenge_status(competition: Competition) -> str:
    """Get the status of a competition: `draft`, `started` or `stopped`."""
    if competition.is_started:
        return "started"
    return "draft" if competition.started_at is None else "stopped"


def challenge_context(competition: Competition) -> dict[str, Any]:
    """Get what all runs of a competition share."""
    return {
        "metrics": [metric.model_dump() for metric in settings_of(competition).shown_metrics],
        "number_of_agents": 1,
        "render_delay_second": None,
    }


def status_block(agent: Agent, *, with_message: bool = True, is_held: bool = False) -> dict[str, Any]:
    """Get the status of a submission, as every reply with a submission has it.

    Args:
        agent: The submission.
        with_message: Whether the reader may see its message, which can quote the agent's own output.
        is_held: Whether scores are held back from the reader.
    """
    status = AgentStatus(agent.status)
    exists = status is not AgentStatus.DELETED
    message = visible_message(agent, is_held) or None
    if not agent.files_ok and status in {AgentStatus.ACTIVE, AgentStatus.DEPLOY_QUEUE, AgentStatus.DEPLOY_RUN}:
        message = f"{message or status}; the files have changed since: {agent.files_message}"
    return {
        "status": status,
        "phase": _PHASES.get(status, "upload"),
        "last_status_message": message if with_message else None,
        "status_update_ts": iso(max(agent.created_at, agent.changed_at, agent.scored_at or 0.0)),
        "is_uploadable": exists,
        "is_deployable": exists and agent.files_ok,
        "is_settled": status not in {AgentStatus.DEPLOY_QUEUE, AgentStatus.DEPLOY_RUN},
    }


def owner_block(user: User) -> dict[str, Any]:
    """Get the public data of a user."""
    return {"user_id": user.id, "username": user.name, "avatar_key": user.profile.get("avatar_key")}


def team_block(team: Team | None) -> dict[str, Any] | None:
    """Get the public data of a team."""
    if team is None:
        return None
    members = [
        {"id": one.user_id, "username": one.user.name, "avatar_key": one.user.profile.get("avatar_key")}
        for one in team.members
    ]
    return {"id": team.id, "name": team.name, "members": members}


def runtime_row(runtime: Runtime | None) -> dict[str, Any] | None:
    """Get a runtime; None without one."""
    if runtime is None:
        return None
    names = ("id", "language", "language_version", "framework", "framework_version", "requirement")
    row = {name: getattr(runtime, name) for name in names} | {"display_name": runtime.framework}
    if not runtime.environment:
        return row | {"packages": [{"name": runtime.framework, "version": runtime.framework_version}]}
    return row | {"packages": [{"name": name, "version": version} for name, version in runtime.packages.items()]}
