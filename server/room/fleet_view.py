"""What an observer may see of fleet episodes: no more than monitoring shows to the agent."""

from collections.abc import Callable

from ml_trainer_env.server.fleet.episode import FleetEpisode
from ml_trainer_env.server.fleet.insight import BY_RANK, OF_STEP, events_of, figure_of_rank, figures_of
from ml_trainer_env.server.fleet.tasks import UnknownTaskError, find_task
from ml_trainer_env.server.fleet.traces import traces_of
from ml_trainer_env.server.room.views import Chart, Happening, HeatMap, Insight, Standing, Trace, View
from ml_trainer_env.server.store import EpisodeHeader
from ml_trainer_env.server.trainer.fleet.figures import rank_norm
from ml_trainer_env.server.trainer.fleet.settings import RANKS

__all__ = ["FLEET"]

_LEAST_SPAN_S = 0.5
"""Half of what a step takes. The times of healthy ranks differ by less."""


def _standing(episode: FleetEpisode) -> Standing:
    status = episode.monitor.status()
    signal = "finished" if episode.done else "stalled" if status.is_stalled else "running"
    spent = 1 - status.left_s / status.reservation_s
    return Standing(signal=signal, spent=spent, left=f"{status.left_s:.0f} s of the reservation")


def _shown_units(header: EpisodeHeader, episode: FleetEpisode | None, count: int) -> int:
    """Return how many units monitoring shows.

    Where it lags behind, the episode knows how far. Without the episode nothing is shown until the end.
    """
    if episode is not None:
        return min(count, episode.monitor.shown_units)
    try:
        is_late = find_task(header.task).setup(header.seed).telemetry_delay_us > 0
    except UnknownTaskError:
        is_late = True
    return 0 if is_late else count


def _by_rank(title: str, figure_of: Callable[[int], str], least_span: float = 0.0) -> HeatMap:
    labels = tuple(f"rank {rank}" for rank in range(RANKS))
    return HeatMap(title, tuple(map(figure_of, range(RANKS))), labels, least_span)


def _time_by_rank(title: str, figure: str) -> HeatMap:
    return _by_rank(title, lambda rank: figure_of_rank(figure, rank), _LEAST_SPAN_S)


def _happenings(episode: FleetEpisode) -> list[Happening]:
    return [Happening(after, round(one.clock_us / 1e6, 1), one.text) for after, one in events_of(episode.run)]


FLEET = View(
    game="fleet",
    unit="step",
    tasks=("fleet",),
    headline="loss",
    charts=(
        Chart("loss, nats a character", {"loss": "mean of all ranks"}),
        Chart("gradient norm", {"gradient_norm": "reduced"}, log=True),
        Chart("learning rate", {"learning_rate": "rate"}),
        Chart("loss scale", {"loss_scale": "scale"}, log=True),
        Chart("seconds a step", {"step_s": "step"}),
    ),
    heat_maps=(
        _by_rank("loss, nats a character", lambda rank: figure_of_rank("loss_of_rank", rank)),
        _by_rank("gradient norm", rank_norm),
        _time_by_rank("seconds of computing", "compute_s"),
        _time_by_rank("seconds of waiting for data", "data_s"),
        _time_by_rank("seconds of waiting for other ranks and the reduction", "wait_s"),
    ),
    client="FleetEnv",
    standing=_standing,
    shown_units=_shown_units,
    insight=Insight(
        names=(*OF_STEP, *(figure_of_rank(figure, rank) for figure in BY_RANK for rank in range(RANKS))),
        figures=lambda episode, first, after: figures_of(episode.run, first, after),
        happenings=_happenings,
        truth=lambda episode: [Trace(one.kind, one.rank, one.first, one.last) for one in traces_of(episode.run)],
    ),
)
"""The view of the fleet."""
