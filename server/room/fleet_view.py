"""What an observer may see of fleet episodes: no more than monitoring shows to the agent."""

from ml_trainer_env.server.fleet.episode import FleetEpisode
from ml_trainer_env.server.fleet.tasks import UnknownTaskError, find_task
from ml_trainer_env.server.room.views import Chart, HeatMap, Standing, View
from ml_trainer_env.server.store import EpisodeHeader
from ml_trainer_env.server.trainer.fleet.figures import batch_loss, rank_norm
from ml_trainer_env.server.trainer.fleet.places import BATCHES
from ml_trainer_env.server.trainer.fleet.settings import RANKS

__all__ = ["FLEET"]


def _standing(episode: FleetEpisode) -> Standing:
    status = episode.monitor.status()
    signal = "finished" if episode.done else "stalled" if status.is_stalled else "running"
    spent = 1 - status.left_s / status.reservation_s
    return Standing(signal=signal, spent=spent, left=f"{status.left_s:.0f} s of the reservation")


def _shown_units(header: EpisodeHeader, episode: FleetEpisode | None, count: int) -> int:
    """Return how many units monitoring shows.

    Where it lags behind, the open episode knows how far. Without the episode nothing is shown until the end.
    """
    if episode is not None:
        return min(count, episode.monitor.shown_units)
    try:
        is_late = find_task(header.task).setup(header.seed).telemetry_delay_us > 0
    except UnknownTaskError:
        is_late = True
    return 0 if is_late else count


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
    ),
    heat_maps=(
        HeatMap("gradient norm by rank", tuple(map(rank_norm, range(RANKS))), tuple(f"rank {n}" for n in range(RANKS))),
        HeatMap("loss by batch", tuple(map(batch_loss, range(BATCHES))), tuple(f"batch {n}" for n in range(BATCHES))),
    ),
    client="FleetEnv",
    standing=_standing,
    shown_units=_shown_units,
)
"""The view of the fleet."""
