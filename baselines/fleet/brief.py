"""What an agent of the fleet is told when an episode begins."""

from dataclasses import dataclass

from ml_trainer_env.baselines.session import EpisodeBrief
from ml_trainer_env.fleet_models import FleetObservation

__all__ = ["FleetBrief", "brief_of"]


@dataclass(frozen=True, slots=True)
class FleetBrief(EpisodeBrief):
    """Description of an episode of the fleet.

    Attributes:
        reservation_s: Virtual time for which the nodes are reserved.
    """

    reservation_s: float


def brief_of(observation: FleetObservation) -> FleetBrief:
    """Convert the observation of a reset to a brief."""
    task = observation.task
    return FleetBrief(
        episode_id=observation.episode_id,
        task_id=task.id,
        name=task.name,
        description=task.description,
        difficulty=task.difficulty,
        seed=observation.seed,
        rubric=observation.rubric,
        status=observation.status.model_dump(),
        reservation_s=observation.status.reservation_s,
    )
