"""The Python client of the fleet. It works as `client.MLTrainerEnv` does, at the path /fleet of a server.

>>> with FleetEnv(base_url="http://localhost:8000/fleet") as env:
...     env.reset(task_id="fleet_straggler")
...     reply = env.call_tool("run_steps", num_steps=50)
"""

from typing import ClassVar

from ml_trainer_env.client import MLTrainerEnv
from ml_trainer_env.fleet_models import FleetObservation, FleetState
from ml_trainer_env.models import EpisodeObservation, EpisodeState

__all__ = ["FleetEnv"]


class FleetEnv(MLTrainerEnv):
    """A session with the fleet. The observation of a reset is a `fleet_models.FleetObservation`.

    Args:
        base_url: URL of the server, with the path /fleet.
        options: Options of `client.MLTrainerEnv`.
    """

    reset_model: ClassVar[type[EpisodeObservation]] = FleetObservation
    state_model: ClassVar[type[EpisodeState]] = FleetState
