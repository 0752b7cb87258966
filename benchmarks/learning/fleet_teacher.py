"""A teacher of the fleet's acts that reads what goes wrong. For training alone: a policy that it taught knows less.

It answers in the acts of `MLFleet-v0`, and only once the figures show what it knows, so that a policy that sees the
figures can learn why. That is learning by cheating (Chen et al. 2019).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from ml_trainer_env.baselines.fleet import clues
from ml_trainer_env.integrations.gymnasium.fleet_actions import Act
from ml_trainer_env.integrations.gymnasium.fleet_view import CALM, Standing, View
from ml_trainer_env.server.fleet.run import FleetRun
from ml_trainer_env.server.trainer.fleet import faults

__all__ = ["advised"]

_SHOWS_SLOW = math.log(1.3)
_SHOWS_LOSS = 0.1
_SHOWS_TEXT = 0.3
_SHOWS_DATA_S = 0.3
_SHOWS_WAIT_S = 0.6
_SHOWS_MEMORY = math.log(1.15)
_SHOWS_JUMP = 0.2
_USUAL_RATE, _FAR_RATE = 0.04, 1.8
_USUAL_INTERVAL, _RARE_INTERVAL = 25, 100
_EXCHANGE_PAYS_S, _SEARCH_PAYS_S, _QUARANTINE_PAYS_S = 60.0, 140.0, 40.0
"""With less time left it does not pay."""
_LEAVE_S = 40.0
"""So long before it is powered off a node is left."""


def advised(view: View, run: FleetRun) -> Act:
    """Return what to do next about what goes wrong, if it shows by now.

    Args:
        view: What a policy is shown.
        run: The run. Its scenario tells what goes wrong.
    """
    for kind, answer in _ANSWERS.items():
        for fault in run.scenario.faults:
            if isinstance(fault, kind) and (act := answer(fault, view, run)) is not Act.NOTHING:
                return act
    return Act.NOTHING


def _is_used(node: int, view: View, least_left_s: float = _EXCHANGE_PAYS_S) -> bool:
    return node in view.status["nodes"] and view.status["left_s"] > least_left_s


def _stands_out(standing: Standing, group: int, least: float) -> bool:
    return standing.group == group and standing.excess > least


def _hang(_fault: faults.Hang, view: View, _run: FleetRun) -> Act:
    return Act.RESTART_NEWEST if view.status["is_stalled"] else Act.NOTHING


def _half_precision(_fault: faults.HalfPrecision, view: View, run: FleetRun) -> Act:
    return Act.SCALE_DYNAMICALLY if view.skipped > 0 and not run.training.dynamic_loss_scale else Act.NOTHING


def _nonfinite(_fault: faults.NonfiniteBatch, view: View, _run: FleetRun) -> Act:
    return Act.GUARD if view.status["loss"] is None and view.status["step"] > 0 else Act.NOTHING


def _high_rate(fault: faults.HighRate, view: View, run: FleetRun) -> Act:
    is_far = fault.factor * run.training.learning_rate > _FAR_RATE * _USUAL_RATE
    return Act.LOWER_RATE if is_far and view.status["learning_rate"] else Act.NOTHING


def _shared_sampler(_fault: faults.SharedSampler, view: View, run: FleetRun) -> Act:
    is_wrong = run.training.sampler_offset == run.scenario.loader_offsets
    return Act.SWITCH_SAMPLER if is_wrong and view.reads_alike else Act.NOTHING


def _sticky(fault: faults.StickyNode, view: View, _run: FleetRun) -> Act:
    again = view.last_dead == fault.node and view.deaths.get(fault.node, 0) > 1
    return Act.REPLACE_DEAD if again and _is_used(fault.node, view) else Act.NOTHING


def _maintenance(fault: faults.Maintenance, view: View, _run: FleetRun) -> Act:
    announced, clock_s = clues.maintenance(view.status["notices"]), view.status["clock_s"]
    is_near = announced is not None and announced[1] - _LEAVE_S < clock_s < announced[2]
    return Act.DRAIN_ANNOUNCED if is_near and _is_used(fault.node, view) else Act.NOTHING


def _lost_schedule(_fault: faults.LostSchedule, view: View, _run: FleetRun) -> Act:
    rate, setting = view.status["learning_rate"], view.status["settings"]["learning_rate"]
    return Act.SET_SCHEDULE if rate is not None and rate < 1e-3 * setting else Act.NOTHING


def _lost_cursor(_fault: faults.LostCursor, _view: View, run: FleetRun) -> Act:
    return Act.RESTART_NEWEST if run.cluster.repeated is not None else Act.NOTHING


def _missing_optimizer(_fault: faults.MissingOptimizer, view: View, run: FleetRun) -> Act:
    first = next((row for row in run.rows if row.settings.cluster.incarnation == run.cluster.incarnation), None)
    adjustment = None if first is None else first.settings.adjustment
    if adjustment is None or adjustment.restored_us is None or adjustment.fresh_optimizer:
        return Act.NOTHING
    loss, before = view.status["loss"], view.loss_before
    jumped = loss is None or (before is not None and loss > before + _SHOWS_JUMP)
    return Act.RESTART_FRESH if jumped else Act.NOTHING


def _memory_leak(fault: faults.MemoryLeak, view: View, run: FleetRun) -> Act:
    shows = _stands_out(view.memory, fault.rank, _SHOWS_MEMORY)
    return Act.STOP_RECORDING if shows and run.training.record_activations else Act.NOTHING


def _poisoned(fault: faults.PoisonedBatch, view: View, run: FleetRun) -> Act:
    is_skipped = any(first <= fault.first + 8 < after for first, after in run.cluster.skipped)
    shows = _stands_out(view.gradient_of_shard, fault.shard, CALM)
    return Act.ROLL_BACK_AND_SKIP if shows and not is_skipped else Act.NOTHING


def _corruption(fault: faults.SilentCorruption, view: View, _run: FleetRun) -> Act:
    shows = _stands_out(view.gradient_of_node, fault.node, CALM)
    return Act.REPLACE_GRADIENT if shows and _is_used(fault.node, view) else Act.NOTHING


def _drifting(fault: faults.DriftingReplica, view: View, _run: FleetRun) -> Act:
    shows = _stands_out(view.loss_of_node, fault.node, _SHOWS_LOSS)
    return Act.REPLACE_LOSS if shows and _is_used(fault.node, view) else Act.NOTHING


def _straggler(fault: faults.Straggler, view: View, _run: FleetRun) -> Act:
    shows = _stands_out(view.slowest, fault.node, _SHOWS_SLOW)
    return Act.REPLACE_SLOWEST if shows and _is_used(fault.node, view) else Act.NOTHING


def _slow_storage(_fault: faults.SlowStorage, view: View, run: FleetRun) -> Act:
    often = run.training.checkpoint_every < _RARE_INTERVAL
    return Act.SAVE_LESS if often and view.slowest_shard.median > _SHOWS_DATA_S else Act.NOTHING


def _rare_checkpoints(_fault: faults.RareCheckpoints, _view: View, run: FleetRun) -> Act:
    is_slow_to_save = any(isinstance(fault, faults.SlowStorage) for fault in run.scenario.faults)
    rare = run.training.checkpoint_every > _USUAL_INTERVAL and not is_slow_to_save
    return Act.SAVE_OFTENER if rare else Act.NOTHING


def _loader(fault: faults.LoaderStall, view: View, _run: FleetRun) -> Act:
    slowest = view.slowest_shard
    shows = slowest.group in fault.shards and slowest.excess > _SHOWS_DATA_S
    return Act.MIRROR_SLOWEST if shows and view.status["left_s"] > _QUARANTINE_PAYS_S else Act.NOTHING


def _bad_shard(fault: faults.BadShard, view: View, _run: FleetRun) -> Act:
    strangest = view.loss_of_shard
    shows = strangest.group in fault.shards and strangest.excess > _SHOWS_TEXT
    is_left_out = strangest.group in view.status["quarantined"]
    pays = view.status["left_s"] > _QUARANTINE_PAYS_S
    return Act.QUARANTINE_STRANGEST if shows and pays and not is_left_out else Act.NOTHING


def _slow_link(fault: faults.SlowLink, view: View, _run: FleetRun) -> Act:
    shows = view.least_wait_s > _SHOWS_WAIT_S
    return Act.FIND_SLOW_LINK if shows and _is_used(fault.node, view, _SEARCH_PAYS_S) else Act.NOTHING


_ANSWERS: Mapping[type[faults.Fault], Callable[[Any, View, FleetRun], Act]] = {
    faults.Hang: _hang,
    faults.HalfPrecision: _half_precision,
    faults.NonfiniteBatch: _nonfinite,
    faults.HighRate: _high_rate,
    faults.SharedSampler: _shared_sampler,
    faults.Maintenance: _maintenance,
    faults.StickyNode: _sticky,
    faults.LostSchedule: _lost_schedule,
    faults.LostCursor: _lost_cursor,
    faults.MissingOptimizer: _missing_optimizer,
    faults.MemoryLeak: _memory_leak,
    faults.PoisonedBatch: _poisoned,
    faults.SilentCorruption: _corruption,
    faults.DriftingReplica: _drifting,
    faults.Straggler: _straggler,
    faults.SlowStorage: _slow_storage,
    faults.RareCheckpoints: _rare_checkpoints,
    faults.LoaderStall: _loader,
    faults.BadShard: _bad_shard,
    faults.SlowLink: _slow_link,
}
"""What to do about each kind of fault, the most urgent first."""
