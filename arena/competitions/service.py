"""Rules of competitions: what may be changed, and when a competition may start."""

import time
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.orm import Session

from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.competitions.repository import (
    can_edit,
    competition_files,
    own_competition,
    visible_competition,
)
from ml_trainer_env.arena.competitions.schemas import RULES, CompetitionSettings, NewCompetition, Update
from ml_trainer_env.arena.errors import NotFoundError, RefusedError, TooManyError
from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.runtimes import find_runtime
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, CompetitionFile, FilePurpose, Tag

__all__ = [
    "benchmark_agent",
    "check_settings",
    "create",
    "describe",
    "holds_results",
    "keep_file",
    "remove_file",
    "set_tags",
    "settings_of",
    "start",
    "start_blockers",
    "stop",
    "template_of",
    "update",
    "update_settings",
]


DAY_S = 24 * 3600.0
MAX_DAILY_COMPETITIONS = 50


def settings_of(competition: Competition) -> CompetitionSettings:
    """Get the settings of a competition as a value."""
    return CompetitionSettings.model_validate(competition.settings)


def holds_results(session: Session, competition: Competition, reader_id: int | None) -> bool:
    """Whether the scores of a competition are held back from a reader. Organisers always see them."""
    return settings_of(competition).results_held and not can_edit(session, competition, reader_id)


def describe(competition: Competition) -> dict[str, Any]:
    """Get the public data of a competition."""
    return {
        "id": competition.id,
        "name": competition.name,
        "description": competition.description,
        "markdown": competition.markdown,
        "kernel_version": competition.kernel,
        "is_public": competition.is_public,
        "is_started": competition.is_started,
        "creator": competition.creator.name,
        "created_at_ts": competition.created_at,
        "tags": [tag.name for tag in competition.tags],
        "agent_template": template_of(competition),
        "engine": {"k8s_workload_value": "local", "vm_health_ok": True, "vm_health_checked_at": None},
        **settings_of(competition).model_dump(mode="json"),
    }


def template_of(competition: Competition) -> str:
    """Get the source from which participants start: the creator's, or that of the kind."""
    return competition.agent_template or Kernel(competition.kernel).template


def create(session: Session, user_id: int, wanted: NewCompetition) -> Competition:
    """Create a competition.

    Raises:
        RefusedError: The kernel or a tag does not exist.
        TooManyError: The creator has created too many competitions in the last 24 hours.
        NotFoundError: The competition to copy from does not exist.
    """
    if wanted.kernel_version not in {*Kernel}:
        raise RefusedError(f"kernel_version should be one of {', '.join(Kernel)}, got {wanted.kernel_version!r}")
    made = sa.select(sa.func.count()).where(
        Competition.creator_id == user_id, Competition.created_at >= time.time() - DAY_S
    )
    if (session.scalar(made.select_from(Competition)) or 0) >= MAX_DAILY_COMPETITIONS:
        raise TooManyError(f"you may make {MAX_DAILY_COMPETITIONS} competitions in 24 hours")
    settings = CompetitionSettings()
    competition = Competition(
        creator_id=user_id,
        name=wanted.name,
        kernel=wanted.kernel_version,
        description=wanted.description,
        is_public=wanted.is_public,
        settings=settings.model_dump(mode="json"),
        tags=_tags(session, wanted.tag_ids),
    )
    session.add(competition)
    session.flush()
    if wanted.copy_from_competition_id is not None:
        source = visible_competition(session, wanted.copy_from_competition_id, user_id)
        competition.settings = dict(source.settings)
        competition.markdown, competition.agent_template = source.markdown, source.agent_template
        if source.creator_id == user_id:
            competition.config_origin = dict(source.config_origin)
            for purpose in FilePurpose:
                for file in competition_files(session, source.id, purpose):
                    keep_file(session, competition, purpose, file.name, file.sha256, file.size)
    record(session, user_id, "competition.create", str(competition.id), competition.id)
    return competition


def update(competition: Competition, wanted: Update) -> None:
    """Change the name, the description or the visibility.

    Raises:
        RefusedError: The competition has started, and the change is not only its visibility.
    """
    if wanted.name is not None or wanted.description is not None:
        _require_not_started(competition)
    for field in wanted.model_fields_set:
        if (value := getattr(wanted, field)) is not None:
            setattr(competition, field, value)


def update_settings(
    session: Session, competition: Competition, changes: dict[str, Any], max_upload_bytes: int
) -> CompetitionSettings:
    """Change settings. Returns all settings. The benchmark must then be run again, unless only rules have changed.

    Raises:
        RefusedError: The competition has started, a setting is unknown or out of bounds, or there is no such runtime.
    """
    settings = check_settings(competition, changes, max_upload_bytes)
    if settings.runtime and settings.runtime != competition.settings.get("runtime"):
        find_runtime(session, settings.runtime)
    if set(changes) - RULES:
        _invalidate_benchmark(session, competition)
    competition.settings = settings.model_dump(mode="json")
    return settings


def check_settings(competition: Competition, changes: dict[str, Any], max_upload_bytes: int) -> CompetitionSettings:
    """Get the settings of a competition after a change, without changing them.

    Raises:
        RefusedError: A setting is unknown or out of bounds, or may not change after the start.
    """
    if set(changes) - RULES:
        _require_not_started(competition)
    if unknown := sorted(set(changes) - set(CompetitionSettings.model_fields)):
        raise RefusedError(f"there are no settings {', '.join(unknown)[:200]}")
    try:
        settings = CompetitionSettings.model_validate({**competition.settings, **changes})
    except ValidationError as error:
        raise RefusedError("; ".join(_format_error(one) for one in error.errors())) from error
    if Kernel(competition.kernel).has_matches and (settings.has_brackets or settings.lower_is_better):
        raise RefusedError("ratings of matches know no brackets, and more is better")
    if settings.max_upload_size_bytes > max_upload_bytes:
        raise RefusedError(f"max_upload_size_bytes should be {max_upload_bytes} at the most on this service")
    return settings


def set_tags(session: Session, competition: Competition, tag_ids: list[int]) -> None:
    """Replace the tags of a competition.

    Raises:
        RefusedError: A tag does not exist.
    """
    competition.tags = _tags(session, tag_ids)


def keep_file(
    session: Session,
    competition: Competition,
    purpose: FilePurpose,
    name: str,
    sha256: str,
    size: int,
    while_started: bool = False,
) -> None:
    """Add or replace a file. The benchmark must then be run again.

    Args:
        session: A transaction.
        competition: The competition.
        purpose: Purpose of the file.
        name: Name of the file.
        sha256: SHA-256 of its content.
        size: Its size in bytes.
        while_started: Whether the file may change after the start, because no run reads it.

    Raises:
        RefusedError: The competition has started, or it has too many files.
    """
    if not (competition.is_started and while_started):
        _require_not_started(competition)
        _invalidate_benchmark(session, competition)
    files = {file.name: file for file in competition_files(session, competition.id, purpose)}
    if name in files:
        files[name].sha256, files[name].size = sha256, size
        return
    if len(files) >= settings_of(competition).max_upload_files:
        raise RefusedError(f"there may be {len(files)} files at the most")
    session.add(CompetitionFile(competition_id=competition.id, purpose=purpose, name=name, sha256=sha256, size=size))
    session.flush()


def remove_file(session: Session, competition: Competition, purpose: FilePurpose, name: str) -> None:
    """Remove a file. The benchmark must then be run again.

    Raises:
        NotFoundError: The file does not exist.
        RefusedError: The competition has started.
    """
    _require_not_started(competition)
    file = next((file for file in competition_files(session, competition.id, purpose) if file.name == name), None)
    if file is None:
        raise NotFoundError("there is no such file")
    _invalidate_benchmark(session, competition)
    session.delete(file)


def start(session: Session, competition_id: int, user_id: int) -> Competition:
    """Start a competition, for the first time or after it was stopped. Its settings, name and files are then fixed.

    Raises:
        NotFoundError: It does not exist or belongs to another user.
        RefusedError: It has started, or a file or the score of its benchmark agent is missing.
    """
    competition = own_competition(session, competition_id, user_id)
    _require_not_started(competition)
    if blockers := start_blockers(session, competition):
        raise RefusedError(blockers[0][1])
    competition.is_started = True
    competition.started_at = competition.started_at or time.time()
    record(session, user_id, "competition.start", str(competition.id), competition.id)
    return competition


def start_blockers(session: Session, competition: Competition) -> list[tuple[str, str]]:
    """List the reasons why a competition cannot start now. Each is a code and a message."""
    found = []
    files = {file.name for file in competition_files(session, competition.id, FilePurpose.ENV)}
    if Kernel(competition.kernel).needs_env and "env.py" not in files:
        found.append(("env_missing", "upload env.py first"))
    if missing := sorted(set(settings_of(competition).required_files) - files):
        found.append(("required_file_missing", f"the environment needs the files {', '.join(missing)}"))
    benchmark = benchmark_agent(session, competition.id)
    if benchmark is None or benchmark.status != AgentStatus.ACTIVE or benchmark.mean_reward is None:
        code = "benchmark_missing" if benchmark is None else "benchmark_unscored"
        found.append((code, "run the benchmark first: its agent should be active and have a mean reward"))
    return found


def stop(session: Session, competition: Competition, user_id: int) -> None:
    """Stop a competition. Its settings and files can be changed until it is started again; its results stay.

    Raises:
        RefusedError: It has not started.
    """
    if not competition.is_started:
        raise RefusedError("the competition has not started")
    competition.is_started = False
    record(session, user_id, "competition.stop", str(competition.id), competition.id)


def benchmark_agent(session: Session, competition_id: int) -> Agent | None:
    """Get the benchmark agent. Its score shows that the competition works."""
    query = sa.select(Agent).where(
        Agent.competition_id == competition_id, Agent.is_benchmark, Agent.status != AgentStatus.DELETED
    )
    return session.scalar(query)


def _invalidate_benchmark(session: Session, competition: Competition) -> None:
    """Take the benchmark off the leaderboard, because its score is from before the change."""
    benchmark = benchmark_agent(session, competition.id)
    if benchmark is not None and benchmark.status == AgentStatus.ACTIVE:
        benchmark.status, benchmark.last_status_message = AgentStatus.UPLOAD_VALIDATED, "run the benchmark again"


def _tags(session: Session, tag_ids: list[int]) -> list[Tag]:
    found = list(session.scalars(sa.select(Tag).where(Tag.id.in_(tag_ids))))
    if missing := sorted(set(tag_ids) - {tag.id for tag in found}):
        raise RefusedError(f"there are no tags {missing}")
    return found


def _require_not_started(competition: Competition) -> None:
    if competition.is_started:
        raise RefusedError("the competition has started: only its visibility and its rules can still be changed")


def _format_error(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    return f"{where}: {error['msg']}" if where else str(error["msg"])
