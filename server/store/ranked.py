"""Ranked runs in the journal: which tasks were begun, by which episodes, and the report of a closed run.

The functions work within a transaction of the caller. A task that was begun stays begun, whatever becomes of its
episode.
"""

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.store.damage import load_json, raw_column
from ml_trainer_env.server.store.statements import conflict_insert
from ml_trainer_env.server.store.tables import EPISODES, HOLDS, RANKED_RUNS, RANKED_TASKS, WITHHELD
from ml_trainer_env.server.trainer.limits import shown

__all__ = [
    "RankedEpisode",
    "RankedRun",
    "RankedRunError",
    "begin_task",
    "begun_tasks",
    "close_run",
    "is_ranked_name",
    "names_in_open_runs",
    "report_of",
    "require_resumable",
]


class RankedRunError(MLTrainerError):
    """A ranked run does not allow what was asked for. The message says why and what is allowed."""


@dataclass(frozen=True, slots=True)
class RankedRun:
    """A ranked run.

    Attributes:
        key: Names the run in the journal. It is made of the secret and does not tell it.
        facts: What must stay the same from its first task to its last: number of tasks, table and family, by name.
    """

    key: str
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RankedEpisode:
    """The only episode of a task in a ranked run.

    Attributes:
        name: Its name.
        done: Whether it has ended.
        epochs: Number of epochs that it spent.
        withheld: What its replies did not tell. None before its end.
    """

    name: str
    done: bool
    epochs: int
    withheld: Mapping[str, Any] | None


def begin_task(connection: sa.Connection, run: RankedRun, task: str, episode: str) -> None:
    """Record that a task is begun.

    Raises:
        RankedRunError: The task was begun before, or the run is closed or began with other facts.
    """
    _require_open(connection, run)
    ours = sa.and_(RANKED_TASKS.c.run == run.key, RANKED_TASKS.c.task == task)
    begun = connection.execute(sa.select(RANKED_TASKS.c.episode).where(ours)).scalar()
    if begun is not None:
        raise RankedRunError(
            f"{task} was begun as episode {begun!r}, and each task of a ranked run is begun once; while that episode "
            "has not ended, go on with it by its episode_id and resume=true"
        )
    row = {"run": run.key, "task": task, "episode": episode, "begun_at": time.time()}
    try:
        connection.execute(sa.insert(RANKED_TASKS).values(row))
    except sa.exc.IntegrityError as error:
        raise RankedRunError(f"another server has begun {task} at this moment") from error


def require_resumable(connection: sa.Connection, run: RankedRun, episode: str) -> None:
    """Check that an episode belongs to an open run and has not ended.

    Raises:
        RankedRunError: It does not, or it has.
    """
    ours = sa.and_(RANKED_TASKS.c.run == run.key, RANKED_TASKS.c.episode == episode)
    task = connection.execute(sa.select(RANKED_TASKS.c.task).where(ours)).scalar()
    if task is None:
        raise RankedRunError(f"there is no episode {shown(episode)} in this ranked run, which goes on with no other")
    if report_of(connection, run) is not None:
        raise RankedRunError(_CLOSED)
    if connection.execute(sa.select(EPISODES.c.done).where(EPISODES.c.name == episode)).scalar():
        raise RankedRunError(f"episode {episode!r} of {task} has ended, and each task of a ranked run is played once")


def is_ranked_name(connection: sa.Connection, episode: str) -> bool:
    """Whether an episode of this name belongs to a ranked run, even if it was deleted."""
    marks = sa.select(RANKED_TASKS.c.task).where(RANKED_TASKS.c.episode == episode)
    return connection.execute(marks).first() is not None


def names_in_open_runs() -> sa.Select[tuple[str]]:
    """Return a query of the names of all episodes whose ranked run is not closed."""
    closed = sa.select(RANKED_RUNS.c.run).where(RANKED_RUNS.c.report.is_not(None))
    return sa.select(RANKED_TASKS.c.episode).where(RANKED_TASKS.c.run.not_in(closed))


def begun_tasks(connection: sa.Connection, run: RankedRun) -> dict[str, RankedEpisode]:
    """Return the episodes of a run by task.

    Raises:
        ValueError: A row is damaged.
    """
    figures = raw_column(WITHHELD.c.figures).label("withheld")
    joined = RANKED_TASKS.outerjoin(EPISODES, EPISODES.c.name == RANKED_TASKS.c.episode)
    joined = joined.outerjoin(WITHHELD, WITHHELD.c.episode == EPISODES.c.id)
    columns = (RANKED_TASKS.c.task, RANKED_TASKS.c.episode, EPISODES.c.done, EPISODES.c.epochs, figures)
    rows = connection.execute(sa.select(*columns).select_from(joined).where(RANKED_TASKS.c.run == run.key))
    return {
        task: RankedEpisode(
            name=name,
            done=bool(done),
            epochs=epochs or 0,
            withheld=None if withheld is None else load_json("withheld figures", withheld, dict),
        )
        for task, name, done, epochs, withheld in rows
    }


def report_of(connection: sa.Connection, run: RankedRun) -> dict[str, Any] | None:
    """Return the report of a run. None while it is open.

    Raises:
        ValueError: The report is damaged.
    """
    statement = sa.select(raw_column(RANKED_RUNS.c.report)).where(RANKED_RUNS.c.run == run.key)
    report = connection.execute(statement).scalar()
    return None if report is None else dict(load_json("report", report, dict))


def close_run(
    connection: sa.Connection, run: RankedRun, report: Callable[[Mapping[str, RankedEpisode]], Mapping[str, Any]]
) -> dict[str, Any]:
    """Close a run and return its report. Sessions that still play an episode of it lose the episode.

    Args:
        connection: A writing transaction.
        run: The run. A closed one stays as it is.
        report: Makes the report of the episodes by task.

    Raises:
        RankedRunError: The run began with other facts.
    """
    if (stored := report_of(connection, run)) is not None:
        return stored
    _require_open(connection, run)
    made = dict(report(begun_tasks(connection, run)))
    connection.execute(sa.update(RANKED_RUNS).where(RANKED_RUNS.c.run == run.key).values(report=made))
    names = sa.select(RANKED_TASKS.c.episode).where(RANKED_TASKS.c.run == run.key)
    unfinished = sa.and_(EPISODES.c.name.in_(names), ~EPISODES.c.done)
    ids = sa.select(EPISODES.c.id).where(unfinished)
    connection.execute(sa.delete(HOLDS).where(HOLDS.c.episode.in_(ids)))
    connection.execute(sa.update(EPISODES).where(unfinished).values(owner=uuid.uuid4().hex))
    return made


_CLOSED = (
    "the ranked run of this state folder is closed, and nothing of it can be begun or resumed; another agent needs a "
    "server with another ML_TRAINER_STATE_DIR"
)


def _require_open(connection: sa.Connection, run: RankedRun) -> None:
    """Check that a run is open and has the facts that it began with. Records a new run."""
    new = conflict_insert(connection, RANKED_RUNS).values(run=run.key, facts=dict(run.facts))
    connection.execute(new.on_conflict_do_nothing())
    # Locked, so that another server closes the run before this transaction or after it.
    known = sa.select(raw_column(RANKED_RUNS.c.facts), RANKED_RUNS.c.report.is_not(None)).with_for_update()
    row = connection.execute(known.where(RANKED_RUNS.c.run == run.key)).one()
    facts, is_closed = row
    if is_closed:
        raise RankedRunError(_CLOSED)
    begun_with = load_json("facts", facts, dict)
    for name, value in run.facts.items():
        if begun_with.get(name) != value:
            raise RankedRunError(
                f"the ranked run began with {name} {begun_with.get(name)}, and this server has {value}: start it as "
                "before, or with another ML_TRAINER_STATE_DIR"
            )
