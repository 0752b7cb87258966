"""The plans of the fleet's units and measurements."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ml_trainer_env.server.datasets.bundled import read_bundled
from ml_trainer_env.server.episodes.states import StateRef
from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.fleet.figures import REPLICA_FIGURES, STEP_FIGURES
from ml_trainer_env.server.trainer.fleet.settings import CheckpointRead, StepSettings
from ml_trainer_env.server.trainer.fleet.state import FleetState, FreshFleet, state_hash
from ml_trainer_env.server.trainer.fleet.text import Text

__all__ = ["Measurement", "StepPlan", "checkpoint_measurement", "fleet_text", "fresh_ref", "held_out", "replicas"]

_JOBS = "ml_trainer_env.server.trainer.fleet.jobs"
_PREPARE = "ml_trainer_env.server.trainer.fleet.text:prepare"
_UNIT = "step"


@lru_cache(maxsize=1)
def fleet_text() -> Text:
    """Return the bundled text."""
    return Text.of(read_bundled("speeches.npz"))


def fresh_ref(seed: int) -> StateRef:
    """Return a reference to the state before the first step. Its weights are drawn where the first step runs."""
    return StateRef(_digest("fresh fleet", str(seed)), 0, initial=FreshFleet(seed).to_state())


@dataclass(frozen=True, slots=True, eq=False)
class StepPlan:
    """The plan of steps; see `UnitPlan`.

    Attributes:
        settings: The settings.
        data: The text.
        label: The label of its units in the metrics.
    """

    settings: StepSettings
    data: Text
    label: str = "fleet"

    @property
    def function(self) -> str:
        """Reference of the job function."""
        return f"{_JOBS}:train_step"

    @property
    def prepare(self) -> str:
        """Reference of the function that prepares the data."""
        return _PREPARE

    @property
    def unit(self) -> str:
        """The noun for a unit in messages."""
        return _UNIT

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of a step's figures."""
        return STEP_FIGURES

    def key(self, identity: str, before: str, position: int) -> str:
        """Return the key of the state after a step: a hash of everything that it depends on."""
        return _digest("fleet step", identity, before, repr(self.settings), self.data.key)

    def digest(self, state: State) -> str:
        """Compute the hash of a state."""
        return state_hash(FleetState.from_state(state))

    def ends(self, figures: Figures) -> bool:
        """Whether a rank died or hung in the step."""
        return figures["stopped"] is not None


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """The plan of a measurement; see `MeasurementPlan`.

    Attributes:
        function: Reference of the job function.
        figures: The names of the measured figures.
        settings: The settings of the job.
        data: The text.
    """

    function: str
    figures: tuple[str, ...]
    settings: Any
    data: Text

    @property
    def prepare(self) -> str:
        """Reference of the function that prepares the data."""
        return _PREPARE

    @property
    def unit(self) -> str:
        """The noun for a unit in messages."""
        return _UNIT


def held_out(settings: StepSettings, text: Text) -> Measurement:
    """Return the measurement of the loss on the held-out text, of the model that the next step would begin with."""
    return Measurement(f"{_JOBS}:measure_held_out", ("held_out_loss",), settings, text)


def checkpoint_measurement(read: CheckpointRead, text: Text) -> Measurement:
    """Return the measurement of what a restart would read from a checkpoint."""
    figures = ("probe_loss", "optimizer_norm", "schedule")
    return Measurement(f"{_JOBS}:measure_checkpoint", figures, read, text)


def replicas(settings: StepSettings, text: Text) -> Measurement:
    """Return the measurement of the checksum of each rank's replica, as the next step would begin with it."""
    figures = REPLICA_FIGURES[: len(settings.cluster.nodes)]
    return Measurement(f"{_JOBS}:measure_replicas", figures, settings, text)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
