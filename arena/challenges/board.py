"""The leaderboard: places of participants or of submissions, the reader's own place, neighbours, a rolling window."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Request
from sqlalchemy.orm import Session

from ml_trainer_env.arena.access import Anybody, InjectedServices
from ml_trainer_env.arena.challenges.values import iso
from ml_trainer_env.arena.competitions.metrics import Metric
from ml_trainer_env.arena.competitions.repository import can_edit, visible_competition
from ml_trainer_env.arena.competitions.service import holds_results, settings_of
from ml_trainer_env.arena.errors import NotFoundError, RefusedError
from ml_trainer_env.arena.leaderboard.cache import Boards
from ml_trainer_env.arena.leaderboard.metrics import board_metric
from ml_trainer_env.arena.leaderboard.service import Entry, figure_of, ranked_by
from ml_trainer_env.arena.leaderboard.standings import Standing, neighbours, standings
from ml_trainer_env.arena.tables import (
    Competition,
    Course,
    CourseAssistant,
    CourseModule,
    Enrollment,
    Module,
    ModuleChallenge,
    Run,
    RunKind,
    RunStatus,
    Team,
)
from ml_trainer_env.arena.teams.repository import teams_by_user

__all__ = ["Board", "figures", "open_board", "passes", "router", "teaches"]

router = APIRouter(prefix="/api/leaderboard", tags=["challenges"])

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]
_Number = Annotated[int | None, Query(ge=1, le=2**31 - 1)]

DAY_S = 24 * 3600.0
MAX_MATCHES = 50
_PER_QUERY = 5000


@dataclass(frozen=True, slots=True)
class Board:
    """A leaderboard as one reader sees it.

    Attributes:
        metrics: Its columns.
        places: The places, best first.
        teams: Teams by the ids of their members.
        windows: Rewards within the rolling window by evaluation; None if the competition has no window.
        reader_id: The reader; None for a reader without a token.
        is_staff: Whether the reader may edit the competition.
        taught_ids: Users whom the reader teaches in the competition.
        threshold: The score with which students pass; None without a bar.
        lower_is_better: Whether a lower score is better.
    """

    metrics: Sequence[Metric]
    places: Sequence[Standing]
    teams: Mapping[int, Team]
    windows: Mapping[int, list[float]] | None
    reader_id: int | None
    is_staff: bool
    taught_ids: frozenset[int]
    threshold: float | None = None
    lower_is_better: bool = False

    def row(self, place: Standing) -> dict[str, Any]:
        """Get the row of a place."""
        entry = place.entry
        team = None if entry.is_benchmark else self.teams.get(entry.user_id)
        is_mine = self.is_mine(entry)
        may_know = is_mine or self.is_staff or entry.user_id in self.taught_ids
        found = {
            "rank": place.rank,
            "username": entry.user_name,
            "avatar_key": None,
            "submission_id": entry.agent_id,
            "submission_name": entry.name,
            **figures(entry, self.metrics, self.windows),
            "n_episodes_total": len(entry.rewards),
            "elo_variance": None,
            "created_at_ts": iso(entry.created_at),
            "is_my_submission": is_mine,
            "can_open": self.reader_id is not None and (may_know or entry.is_public),
            "team_id": team.id if team else None,
            "team_name": team.name if team else None,
            "team_members": [member.user.name for member in team.members] if team else None,
            "is_public": entry.is_public if may_know or entry.is_public else None,
            "is_benchmark": entry.is_benchmark,
        }
        if self.threshold is None:
            return found
        return found | {"passed": passes(entry.mean, self.threshold, self.lower_is_better)}

    def place_of(self, agent_id: int) -> Standing | None:
        """Get the place of a submission; None if it has none here."""
        return next((place for place in self.places if place.entry.agent_id == agent_id), None)

    def own_place(self) -> Standing | None:
        """Get the best place of the reader or of the reader's team; None without one."""
        return next((place for place in self.places if self.is_mine(place.entry)), None)

    def is_mine(self, entry: Entry) -> bool:
        """Whether a submission belongs to the reader or to the reader's team."""
        if self.reader_id is None or entry.is_benchmark:
            return False
        team = self.teams.get(self.reader_id)
        return entry.user_id == self.reader_id or (team is not None and self.teams.get(entry.user_id) is team)

    def surroundings(self, place: Standing | None, window: int) -> dict[str, Any] | None:
        """Get the row of a place with its position, its percentile and its neighbours."""
        if place is None:
            return None
        percentile = 100.0 * (len(self.places) - place.position + 1) / len(self.places)
        around = [self.row(one) for one in neighbours(self.places, place.position, window)]
        return self.row(place) | {"position": place.position, "percentile": percentile, "neighbours": around}


def open_board(
    session: Session,
    boards: Boards,
    competition: Competition,
    reader_id: int | None,
    *,
    by_participant: bool = True,
    course: Course | None = None,
    metric: Metric | None = None,
) -> Board:
    """Rank a competition for a reader. While results are held back, only organisers see places.

    Args:
        session: A transaction.
        boards: The cache of ranked agents.
        competition: The competition, which the reader may see.
        reader_id: The reader; None without a token.
        by_participant: Whether to rank participants instead of submissions.
        course: Rank only the students of this course.
        metric: The metric to rank by; None for that of the competition.

    Raises:
        RefusedError: The course does not teach the competition.
    """
    settings = settings_of(competition)
    is_held = holds_results(session, competition, reader_id)
    entries: Sequence[Entry] = [] if is_held else boards.entries(session, competition)
    ranking = settings.ranking_metric if metric is None else metric
    entries = ranked_by(entries, ranking)
    teams = teams_by_user(session, competition.id)
    threshold, taught = None, frozenset[int]()
    if course is not None:
        students = frozenset(session.scalars(sa.select(Enrollment.user_id).where(Enrollment.course_id == course.id)))
        threshold = _threshold(session, course, competition)
        entries = [entry for entry in entries if entry.user_id in students and not entry.is_benchmark]
        if reader_id is not None and teaches(session, course, reader_id):
            taught = students
    team_ids = {user_id: team.id for user_id, team in teams.items()} if by_participant else None
    places = standings(entries, team_ids, lambda entry: figure_of(entry, ranking))
    windows = _windows(session, competition, [place.entry.deploy_id for place in places])
    staff = can_edit(session, competition, reader_id)
    is_low = settings.lower_is_better
    return Board(settings.shown_metrics, places, teams, windows, reader_id, staff, taught, threshold, is_low)


def passes(score: float, threshold: float, lower_is_better: bool) -> bool:
    """Whether a score reaches the bar of a course."""
    return score <= threshold if lower_is_better else score >= threshold


def teaches(session: Session, course: Course, user_id: int) -> bool:
    """Whether a user is the teacher of a course or one of its assistants."""
    return course.teacher_id == user_id or session.get(CourseAssistant, (course.id, user_id)) is not None


def figures(entry: Entry, metrics: Sequence[Metric], windows: Mapping[int, list[float]] | None) -> dict[str, Any]:
    """Get the figures of an agent, under the names that its row and its page use."""
    run_s, ram = entry.max_run_s, entry.max_ram_bytes
    recent = windows.get(entry.deploy_id) if windows is not None else None
    return {
        "score": entry.mean,
        "score_ci95": entry.ci95,
        "metrics": {metric.key: figure_of(entry, metric) for metric in metrics},
        "metrics_window": {metric.key: metric.aggregate(recent, run_s, ram) for metric in metrics} if recent else None,
        "number_of_runs": len(entry.rewards),
        "last_end_run_ts": iso(entry.scored_at),
        "action_time_max_sec": run_s,
        "agent_metric_total_ram_max_bytes": ram,
        "agent_metric_vram_max_bytes": None,
    }


@router.get("/challenge/{cid}")
def leaderboard(
    cid: Id,
    caller: Anybody,
    services: InjectedServices,
    request: Request,
    limit: Annotated[int | None, Query(ge=0, le=100_000)] = None,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    aggregate: Literal["user", "submission"] = "user",
    course_id: _Number = None,
    me: bool = False,
    around: _Number = None,
    q: Annotated[str, Query(max_length=200)] = "",
    window: Annotated[int, Query(ge=0, le=25)] = 3,
    metric: Annotated[str, Query(max_length=32)] = "",
) -> dict[str, Any]:
    """Get the leaderboard of a challenge: one row for each participant, or for each submission.

    The official client does not send `metric`, which asks for the board of another metric.
    """
    boards: Boards = request.app.state.boards
    reader_id = caller.user_id if caller else None
    with services.database.transaction(read_only=True) as session:
        competition = visible_competition(session, cid, reader_id)
        course = None if course_id is None else _course_of_reader(session, course_id, reader_id)
        by_participant = aggregate == "user"
        wanted = board_metric(competition, metric) if metric else None
        board = open_board(
            session, boards, competition, reader_id, by_participant=by_participant, course=course, metric=wanted
        )
        end = None if limit is None else offset + limit
        matches = [place for place in board.places if q and q.lower() in place.entry.user_name.lower()]
        settings = settings_of(competition)
        found: dict[str, Any] = {
            "challenge": {
                "challenge_id": cid,
                "metrics": [metric.model_dump() for metric in settings.shown_metrics],
                "window_days": settings.window_days,
                "has_gpu": False,
                "kernel_version": competition.kernel,
            },
            "total": len(board.places),
            "leaders": [board.row(place) for place in board.places[offset:end]],
            "me": board.surroundings(board.own_place(), window) if me else None,
            "around": board.surroundings(board.place_of(around), window) if around is not None else None,
            "matches": [board.row(place) for place in matches[:MAX_MATCHES]],
        }
        if course is not None:
            found["course_context"] = {"course_id": course.id, "pass_threshold": board.threshold}
        return found


def _course_of_reader(session: Session, course_id: int, reader_id: int | None) -> Course:
    """Get a course whose students a reader may see: as one of them, or as their teacher."""
    course = session.get(Course, course_id)
    enrolled = sa.select(Enrollment.id).where(Enrollment.course_id == course_id, Enrollment.user_id == reader_id)
    if (
        course is None
        or reader_id is None
        or not (teaches(session, course, reader_id) or session.scalar(enrolled) is not None)
    ):
        raise NotFoundError("there is no such course")
    return course


def _threshold(session: Session, course: Course, competition: Competition) -> float | None:
    query = (
        sa.select(ModuleChallenge)
        .join(CourseModule, CourseModule.module_id == ModuleChallenge.module_id)
        .join(Module, Module.id == ModuleChallenge.module_id)
        .where(CourseModule.course_id == course.id, ModuleChallenge.competition_id == competition.id)
        .order_by(Module.is_published.desc(), CourseModule.position)
    )
    link = session.scalars(query).first()
    if link is None:
        raise RefusedError("the course does not hold this challenge")
    return link.pass_threshold


def _windows(session: Session, competition: Competition, deploy_ids: list[int]) -> dict[int, list[float]] | None:
    """Get the rewards within the rolling window by evaluation.

    Runs of the finals are left out, because figures that change while the window moves on would tell single ones.
    """
    days = settings_of(competition).window_days
    if days is None:
        return None
    found: dict[int, list[float]] = {}
    for start in range(0, len(deploy_ids), _PER_QUERY):
        query = sa.select(Run.deploy_id, Run.reward).where(
            Run.deploy_id.in_(deploy_ids[start : start + _PER_QUERY]),
            Run.kind.in_((RunKind.SCORE, RunKind.EXTENDED)),
            Run.status == RunStatus.COMPLETED,
            Run.finished_at >= time.time() - days * DAY_S,
        )
        for deploy_id, reward in session.execute(query.order_by(Run.number)):
            found.setdefault(deploy_id, []).append(float(reward or 0.0))
    return found
