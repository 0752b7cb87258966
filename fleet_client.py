"""The Python client of the fleet. It works as `client.MLTrainerEnv` does, at the path /fleet of a server.

>>> with FleetEnv(base_url="http://localhost:8000/fleet") as env:
...     env.reset(task_id="fleet_straggler")
...     reply = env.call_tool("run_steps", num_steps=50)
"""

from typing import Any, ClassVar, Self

from ml_trainer_env.client import MLTrainerEnv
from ml_trainer_env.fleet_models import FleetObservation, FleetState
from ml_trainer_env.models import EpisodeObservation, EpisodeState

__all__ = ["FleetEnv"]

PATH = "/fleet"
"""Where a server that plays both games has the fleet."""


class FleetEnv(MLTrainerEnv):
    """A session with the fleet. The observation of a reset is a `fleet_models.FleetObservation`.

    `from_docker_image` and `from_env` connect to the path /fleet of the server that they start. An image that serves
    the fleet alone has it at the root: pass `path=""`.

    Args:
        base_url: URL of the server, with the path /fleet.
        options: Options of `client.MLTrainerEnv`.
    """

    reset_model: ClassVar[type[EpisodeObservation]] = FleetObservation
    state_model: ClassVar[type[EpisodeState]] = FleetState

    @classmethod
    def _bootstrap_container(cls, image: str, provider: Any = None, *, path: str = PATH, **options: Any) -> Self:
        """Start a container. Called by `from_docker_image`."""
        return super()._bootstrap_container(image, provider, **options)._at(path)

    @classmethod
    def _bootstrap_env(cls, repo_id: str, *, path: str = PATH, **options: Any) -> Self:
        """Start the image of a Space. Called by `from_env`."""
        return super()._bootstrap_env(repo_id, **options)._at(path)

    def _at(self, path: str) -> Self:
        """Address a path of the server, before anything is connected."""
        self._set_base_url(f"{self.base_url}{path}")
        return self
