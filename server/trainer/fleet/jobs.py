"""The job functions of the fleet. They are pure. An executor calls `train_step` once for each step.

This module imports torch. Object references name it, so it is imported only where jobs run.
"""

import math
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np

from ml_trainer_env.server.trainer.arrays import Outcome, State
from ml_trainer_env.server.trainer.errors import Interrupted
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.fleet.engine import Step, adjusted, evaluate, first_state, take_step
from ml_trainer_env.server.trainer.fleet.figures import (
    CHANCE_LOSS,
    REPLICA_FIGURES,
    STEP_FIGURES,
    WORST_LOSS,
    WORST_NORM,
    batch_loss,
    rank_norm,
)
from ml_trainer_env.server.trainer.fleet.settings import CheckpointRead, StepSettings
from ml_trainer_env.server.trainer.fleet.state import FleetState, FreshFleet, state_hash
from ml_trainer_env.server.trainer.fleet.text import Text

__all__ = ["measure_checkpoint", "measure_held_out", "measure_replicas", "train_step"]


def train_step(state: State, settings: StepSettings, text: Text, interrupted: Callable[[], bool]) -> Outcome:
    """Take a step.

    Args:
        state: A `FleetState`, or a `FreshFleet` whose weights are drawn first.
        settings: The settings.
        text: The text.
        interrupted: Called before the step. Returns whether to stop.

    Returns:
        The state after the step, its figures, and the hash of the state. It ends the run if a rank stopped.

    Raises:
        Interrupted: `interrupted` returned true.
    """
    if interrupted():
        raise Interrupted
    before = FleetState.from_state(state) if state.arrays else first_state(FreshFleet.from_state(state))
    step = take_step(before, settings, text)
    return Outcome(step.state.to_state(), _figures(step), partial(state_hash, step.state), ends=step.stop is not None)


def measure_held_out(state: State, settings: StepSettings, text: Text, _interrupted: Callable[[], bool]) -> Outcome:
    """Measure the loss on the held-out text of the model that the next step would begin with.

    Returns:
        The figure `held_out_loss`, in nats a character, at most `CHANCE_LOSS`.
    """
    loss = evaluate(adjusted(FleetState.from_state(state), settings), text.held_out)
    return _measured({"held_out_loss": min(loss, CHANCE_LOSS) if math.isfinite(loss) else CHANCE_LOSS})


def measure_checkpoint(state: State, read: CheckpointRead, text: Text, _interrupted: Callable[[], bool]) -> Outcome:
    """Measure what a restart would read from a checkpoint.

    Returns:
        The figures `probe_loss` (on the probe text, in nats a character, at most `WORST_LOSS`), `optimizer_norm` (L2
        norm of Adam's second moment, at most `WORST_NORM`) and `schedule` (position in the schedule).
    """
    restored = FleetState.from_state(state)
    if read.saved_us is not None:
        restored = read.scenario.restored(restored, read.saved_us)
    loss = evaluate(restored, text.probe)
    norm = float(np.linalg.norm(restored.second_moment))
    figures = {
        "probe_loss": min(loss, WORST_LOSS) if math.isfinite(loss) else WORST_LOSS,
        "optimizer_norm": min(norm, WORST_NORM) if math.isfinite(norm) else WORST_NORM,
        "schedule": restored.schedule,
    }
    return _measured(figures)


def measure_replicas(state: State, settings: StepSettings, _text: Text, _interrupted: Callable[[], bool]) -> Outcome:
    """Compute the checksum (CRC-32) of each rank's replica, as the next step would begin with it.

    Returns:
        The figures `checksum_<rank>`, null without the rank.
    """
    fleet, nodes = adjusted(FleetState.from_state(state), settings), settings.cluster.nodes
    sums = [zlib.crc32(np.ascontiguousarray(fleet.replicas.get(node, fleet.weights)).data) for node in nodes]
    missing = dict.fromkeys(REPLICA_FIGURES)
    return _measured({**missing, **dict(zip(REPLICA_FIGURES, sums, strict=False))})


def _measured(figures: Figures) -> Outcome:
    return Outcome(None, figures, str, ends=True)


def _figures(step: Step) -> Figures:
    figures: dict[str, float | bool | None] = dict.fromkeys(STEP_FIGURES)
    figures |= {
        "loss": step.loss,
        "gradient_norm": step.gradient_norm,
        "learning_rate": step.learning_rate,
        "loss_scale": step.state.loss_scale,
        "schedule": step.state.schedule,
        "skipped": step.skipped,
        "step_us": step.times.step_us,
        "clock_us": step.state.clock_us,
        "stopped": step.stop.rank if step.stop else None,
        "hung": step.stop.hangs if step.stop else None,
    }
    figures |= {batch_loss(batch): loss for batch, loss in enumerate(step.batch_losses)}
    return figures | {rank_norm(rank): norm for rank, norm in enumerate(step.rank_norms)}
