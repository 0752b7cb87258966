"""Observations of `MLFleet-v0`: what monitoring shows as numbers near 1. A pure function of what any agent is told."""

import math

import numpy as np
import numpy.typing as npt

from ml_trainer_env.baselines.fleet import clues
from ml_trainer_env.integrations.gymnasium.fleet_view import View

__all__ = ["BOUND", "FEATURES", "features"]

BOUND = 5.0
"""Features are clipped to this magnitude."""

FEATURES = (
    "tier",
    "share of the reservation spent",
    "steps",
    "behind a clean run",
    "restarts",
    "restarted in the last chunk",
    "stalled",
    "nodes in use",
    "spares",
    "drained nodes",
    "shards left out",
    "shards mirrored",
    "loss",
    "loss is not finite",
    "change of the loss",
    "gradient norm",
    "gradient is not finite",
    "rate of the schedule",
    "rate is zero",
    "steps left out",
    "setting: rate",
    "setting: skips what is not finite",
    "setting: dynamic loss scale",
    "setting: steps between checkpoints",
    "setting: sampler offset",
    "setting: records activations",
    "seconds of a step",
    "slowest node",
    "gradient of a node",
    "gradient of a shard",
    "loss of a node",
    "loss of a shard",
    "seconds for data",
    "slowest shard",
    "wait of all ranks",
    "memory of a rank",
    "ranks read alike",
    "deaths",
    "deaths of one node",
    "restarted at another position",
    "seconds until an announced maintenance",
    "node of the announcement is in use",
    "steps since calm",
    "steps since the newest checkpoint",
)
"""The names of the features, in their order."""

_CHANCE_LOSS = 4.564
_STEP_S = 1.15
_WARMUP_STEPS = 80
_DECAY_BEGINS_S, _END_S = 92.0, 360.0
_SOON_S = 60.0


def features(view: View) -> npt.NDArray[np.float32]:
    """Return the features, float32 (len(FEATURES),), each between -5 and 5."""
    values = {**_progress(view), **_training(view), **_settings(view), **_standings(view), **_events(view)}
    found = np.array([values[name] for name in FEATURES], np.float32)
    return np.clip(np.nan_to_num(found, nan=0.0, posinf=BOUND, neginf=-BOUND), -BOUND, BOUND)


def _progress(view: View) -> dict[str, float]:
    status = view.status
    return {
        "tier": float(view.brief.difficulty) / 10 if view.brief.difficulty.isdigit() else 0.0,
        "share of the reservation spent": status["clock_s"] / status["reservation_s"],
        "steps": status["step"] / 300,
        "behind a clean run": (status["clock_s"] / _STEP_S - status["step"]) / 50,
        "restarts": status["restarts"] / 3,
        "restarted in the last chunk": float(view.is_restarted),
        "stalled": float(status["is_stalled"]),
        "nodes in use": len(status["nodes"]) / 8,
        "spares": len(status["spares"]) / 2,
        "drained nodes": float(len(status["drained"])),
        "shards left out": len(status["quarantined"]) / 4,
        "shards mirrored": len(status["mirrored"]) / 4,
    }


def _training(view: View) -> dict[str, float]:
    status, loss = view.status, view.status["loss"]
    before = _CHANCE_LOSS if view.loss_before is None else view.loss_before
    rate = status["learning_rate"]
    return {
        "loss": (_CHANCE_LOSS if loss is None else loss) - 2.5,
        "loss is not finite": float(loss is None and status["step"] > 0),
        "change of the loss": 0.0 if loss is None else 3 * (loss - before),
        "gradient norm": 0.0 if not status["grad_norm"] else math.log10(status["grad_norm"]),
        "gradient is not finite": float(status["grad_norm"] is None and status["step"] > 0),
        "rate of the schedule": math.log(max(1e-3, _rate_factor(view))) / 2,
        "rate is zero": float(rate is not None and rate < 1e-3 * status["settings"]["learning_rate"]),
        "steps left out": view.skipped,
    }


def _rate_factor(view: View) -> float:
    """Return the learning rate as a multiple of what setting, step and time let expect. 1 before the first step."""
    status = view.status
    if not status["learning_rate"]:
        return 1.0
    left = min(1.0, max(1e-3, (_END_S - status["clock_s"]) / (_END_S - _DECAY_BEGINS_S)))
    warmth = min(1.0, max(1, status["step"]) / _WARMUP_STEPS)
    return float(status["learning_rate"] / (status["settings"]["learning_rate"] * warmth * left))


def _settings(view: View) -> dict[str, float]:
    settings = view.status["settings"]
    return {
        "setting: rate": math.log10(settings["learning_rate"] / 0.04),
        "setting: skips what is not finite": float(settings["skip_nonfinite"]),
        "setting: dynamic loss scale": float(settings["dynamic_loss_scale"]),
        "setting: steps between checkpoints": math.log10(settings["checkpoint_every"] / 25),
        "setting: sampler offset": float(settings["sampler_offset"]),
        "setting: records activations": float(settings["record_activations"]),
    }


def _standings(view: View) -> dict[str, float]:
    return {
        "seconds of a step": (view.status["step_s"] or _STEP_S) - _STEP_S,
        "slowest node": 2 * view.slowest.excess,
        "gradient of a node": view.gradient_of_node.excess,
        "gradient of a shard": view.gradient_of_shard.excess,
        "loss of a node": 5 * view.loss_of_node.excess,
        "loss of a shard": 2 * view.loss_of_shard.excess,
        "seconds for data": 2 * view.slowest_shard.median,
        "slowest shard": 2 * view.slowest_shard.excess,
        "wait of all ranks": 2 * view.least_wait_s,
        "memory of a rank": 5 * view.memory.excess,
        "ranks read alike": float(view.reads_alike),
    }


def _events(view: View) -> dict[str, float]:
    status, restart = view.status, clues.restart_position(view.events)
    announced = clues.maintenance(status["notices"])
    moved = restart is not None and restart[0].startswith("step-") and restart[1] != _step_of(restart[0])
    return {
        "deaths": sum(view.deaths.values()) / 3,
        "deaths of one node": max(view.deaths.values(), default=0) / 2,
        "restarted at another position": float(moved),
        "seconds until an announced maintenance": 0.0
        if announced is None
        else math.exp(-abs(announced[1] - status["clock_s"]) / _SOON_S),
        "node of the announcement is in use": float(announced is not None and announced[0] in status["nodes"]),
        "steps since calm": (status["step"] - view.calm_step) / 25,
        "steps since the newest checkpoint": (status["step"] - view.checkpoints[-1].step) / 25,
    }


def _step_of(checkpoint: str) -> int:
    """Return the step in the id of a checkpoint, such as step-75 or step-75-2."""
    number = checkpoint.split("-")[1]
    return int(number) if number.isdigit() else 0
