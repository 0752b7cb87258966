"""The job functions of the fleet. They are pure. An executor calls `train_step` once for each step.

This module imports torch. Object references name it, so it is imported only where jobs run.
"""

from collections.abc import Callable
from functools import partial

from ml_trainer_env.server.trainer.arrays import Outcome, State
from ml_trainer_env.server.trainer.errors import Interrupted
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.fleet.engine import Step, evaluate, first_state, take_step
from ml_trainer_env.server.trainer.fleet.settings import RANKS, StepSettings
from ml_trainer_env.server.trainer.fleet.state import FleetState, FreshFleet, state_hash
from ml_trainer_env.server.trainer.fleet.text import Text

__all__ = ["STEP_FIGURES", "measure_held_out", "measure_probe", "train_step"]

_OF_STEP = ("loss", "gradient_norm", "learning_rate", "loss_scale", "skipped", "step_us", "clock_us", "died")
_OF_RANK = ("loss", "gradient_norm", "compute_us", "data_us", "wait_us")

STEP_FIGURES = (*_OF_STEP, *(f"{name}/{rank}" for rank in range(RANKS) for name in _OF_RANK))
"""Names of a step's figures. Those of a rank end in its number; ranks that are not used have none."""


def train_step(state: State, settings: StepSettings, text: Text, interrupted: Callable[[], bool]) -> Outcome:
    """Take a step.

    Args:
        state: A `FleetState`, or a `FreshFleet` whose weights are drawn first.
        settings: The settings.
        text: The text.
        interrupted: Called before the step. Returns whether to stop.

    Returns:
        The state after the step, its figures, and the hash of the state. It ends the run if a rank died.

    Raises:
        Interrupted: `interrupted` returned true.
    """
    if interrupted():
        raise Interrupted
    before = FleetState.from_state(state) if state.arrays else first_state(FreshFleet.from_state(state))
    step = take_step(before, settings, text)
    return Outcome(step.state.to_state(), _figures(step), partial(state_hash, step.state), ends=step.died is not None)


def measure_held_out(state: State, _settings: None, text: Text, _interrupted: Callable[[], bool]) -> Outcome:
    """Measure the loss on the held-out text: the figure `held_out_loss`, in nats a character."""
    return Outcome(None, {"held_out_loss": evaluate(FleetState.from_state(state), text.held_out)}, str, ends=True)


def measure_probe(state: State, _settings: None, text: Text, _interrupted: Callable[[], bool]) -> Outcome:
    """Measure the loss on the probe text: the figure `probe_loss`, in nats a character."""
    return Outcome(None, {"probe_loss": evaluate(FleetState.from_state(state), text.probe)}, str, ends=True)


def _figures(step: Step) -> Figures:
    figures: dict[str, float | bool | None] = {
        "loss": step.loss,
        "gradient_norm": step.gradient_norm,
        "learning_rate": step.learning_rate,
        "loss_scale": step.state.loss_scale,
        "skipped": step.skipped,
        "step_us": step.times.step_us,
        "clock_us": step.state.clock_us,
        "died": step.died,
    }
    times = step.times
    by_rank = (step.rank_losses, step.rank_norms, times.compute_us, times.data_us, times.wait_us)
    for name, values in zip(_OF_RANK, by_rank, strict=True):
        figures |= {f"{name}/{rank}": value for rank, value in enumerate(values)}
    return figures
