"""Actions of `MLFleet-v0`: what may be done to a run, aimed at whatever stands out in its figures."""

from collections.abc import Callable, Generator, Mapping
from enum import IntEnum
from typing import Any

from ml_trainer_env.baselines.fleet import clues
from ml_trainer_env.baselines.session import Reply
from ml_trainer_env.integrations.gymnasium.fleet_view import Checkpoint, View

__all__ = ["Act", "Calls", "calls_of"]

Calls = Generator[tuple[str, dict[str, object]], Reply, None]
"""Yields calls of tools, as name and arguments, and receives the replies. It yields none where there is no target."""

_SKIP_POSITIONS = 24
_SAFE_LOSS_SCALE = 2.0**15
_POORLY_LINKED_GBPS = 200.0
_LEAST_RANKS = 4


class Act(IntEnum):
    """What to do before the next steps."""

    NOTHING = 0
    """Let the job run."""
    REPLACE_SLOWEST = 1
    """Take out the node that computes the longest. Every "take out" is by a spare, or without one if none is left."""
    REPLACE_GRADIENT = 2
    """Take out the node of the greatest gradient norm."""
    REPLACE_LOSS = 3
    """Take out the node of the highest loss."""
    REPLACE_DEAD = 4
    """Take out the node that died last."""
    FIND_SLOW_LINK = 5
    """Test the nodes one after another, 12 s each, and take out the first whose link is slow."""
    DRAIN_ANNOUNCED = 6
    """Drain the node that is announced to be powered off."""
    RESTORE_DRAINED = 7
    """Use the node again that was drained last."""
    QUARANTINE_STRANGEST = 8
    """Leave out the shard whose loss is the farthest from those of the others."""
    MIRROR_SLOWEST = 9
    """Read the shard from a mirror that is waited for the longest."""
    MAKE_EQUAL = 10
    """Compare the replicas, and copy the one of the most ranks to all."""
    SCALE_DYNAMICALLY = 11
    """Use a dynamic loss scale."""
    GUARD = 12
    """Leave out steps that are not finite, and go back to the last calm checkpoint."""
    SAVE_OFTENER = 13
    """Halve the steps between two checkpoints."""
    SAVE_LESS = 14
    """Save every 100 steps."""
    LOWER_RATE = 15
    """Divide the learning rate by 3."""
    RAISE_RATE = 16
    """Multiply the learning rate by 3."""
    SWITCH_SAMPLER = 17
    """Set `sampler_offset` the other way."""
    STOP_RECORDING = 18
    """Record no activations."""
    SET_SCHEDULE = 19
    """Set the position in the schedule to the step."""
    RESTART_NEWEST = 20
    """Restart from the newest checkpoint, at its positions in data and schedule."""
    RESTART_FRESH = 21
    """The same with a fresh optimizer."""
    RESTART_EARLIER = 22
    """Restart from the checkpoint before the newest."""
    ROLL_BACK = 23
    """Restart from the last calm checkpoint."""
    ROLL_BACK_AND_SKIP = 24
    """The same, and leave out 24 positions in the data from there on."""


def calls_of(act: Act, view: View) -> Calls:
    """Return the calls of an act. None of them trains."""
    return _ACTS[act](view)


def _set(changes: Callable[[View], Mapping[str, object]]) -> Callable[[View], Calls]:
    def calls(view: View) -> Calls:
        yield "set_training", dict(changes(view))

    return calls


def _take_out(node_of: Callable[[View], int | None]) -> Callable[[View], Calls]:
    def calls(view: View) -> Calls:
        yield from _without(node_of(view), view)

    return calls


def _without(node: int | None, view: View) -> Calls:
    if node not in view.status["nodes"]:
        return
    if view.status["spares"]:
        yield "set_node", {"node": node, "action": "replace"}
    elif len(view.status["nodes"]) > _LEAST_RANKS:
        yield "set_node", {"node": node, "action": "drain"}


def _restart(checkpoint_of: Callable[[View], Checkpoint], **how: object) -> Callable[[View], Calls]:
    def calls(view: View) -> Calls:
        yield _restarted(checkpoint_of(view), **how)

    return calls


def _restarted(kept: Checkpoint, **how: object) -> tuple[str, dict[str, object]]:
    """Return a restart at the positions that belong to a checkpoint, whatever it says itself."""
    return "restart", {"checkpoint": kept.id, "data_position": kept.step, "schedule_position": kept.step, **how}


def _calm(view: View) -> Checkpoint:
    return view.checkpoint_before(view.calm_step)


def _newest(view: View) -> Checkpoint:
    return view.checkpoints[-1]


def _earlier(view: View) -> Checkpoint:
    return view.checkpoints[-2] if len(view.checkpoints) > 1 else view.checkpoints[-1]


def _nothing(_: View) -> Calls:
    yield from ()


def _find_slow_link(view: View) -> Calls:
    for node in view.status["nodes"]:
        found: Mapping[str, Any] = yield "inspect", {"kind": "node", "id": str(node)}
        if found["self_test"]["link_gbps"] < _POORLY_LINKED_GBPS:
            yield from _without(node, view)
            return


def _drain_announced(view: View) -> Calls:
    announced = clues.maintenance(view.status["notices"])
    if announced is not None and announced[0] in view.status["nodes"]:
        yield "set_node", {"node": announced[0], "action": "drain"}


def _restore_drained(view: View) -> Calls:
    if view.status["drained"]:
        yield "set_node", {"node": view.status["drained"][-1], "action": "restore"}


def _quarantine(view: View) -> Calls:
    shard = view.loss_of_shard.group
    if shard is not None and shard not in view.status["quarantined"]:
        yield "set_shard", {"shard": shard, "action": "quarantine"}


def _mirror(view: View) -> Calls:
    if (shard := view.slowest_shard.group) is not None:
        yield "set_shard", {"shard": shard, "action": "mirror"}


def _make_equal(_: View) -> Calls:
    found: Mapping[str, Any] = yield "inspect", {"kind": "replicas"}
    sums = {name: value for name, value in found.items() if name.startswith("checksum_")}
    if (rank := clues.majority_rank(sums)) is not None:
        yield "broadcast", {"from_rank": rank}


def _guard(view: View) -> Calls:
    yield "set_training", {"skip_nonfinite": True}
    yield _restarted(_calm(view))


def _roll_back_and_skip(view: View) -> Calls:
    kept = _calm(view)
    first = max(kept.step, view.calm_step)
    yield _restarted(kept, skip_from=first, skip_to=first + _SKIP_POSITIONS)


def _rate_times(factor: float) -> Callable[[View], Mapping[str, object]]:
    return lambda view: {"learning_rate": min(1.0, view.status["settings"]["learning_rate"] * factor)}


_ACTS: Mapping[Act, Callable[[View], Calls]] = {
    Act.NOTHING: _nothing,
    Act.REPLACE_SLOWEST: _take_out(lambda view: view.slowest.group),
    Act.REPLACE_GRADIENT: _take_out(lambda view: view.gradient_of_node.group),
    Act.REPLACE_LOSS: _take_out(lambda view: view.loss_of_node.group),
    Act.REPLACE_DEAD: _take_out(lambda view: view.last_dead),
    Act.FIND_SLOW_LINK: _find_slow_link,
    Act.DRAIN_ANNOUNCED: _drain_announced,
    Act.RESTORE_DRAINED: _restore_drained,
    Act.QUARANTINE_STRANGEST: _quarantine,
    Act.MIRROR_SLOWEST: _mirror,
    Act.MAKE_EQUAL: _make_equal,
    Act.SCALE_DYNAMICALLY: _set(lambda _: {"dynamic_loss_scale": True, "loss_scale": _SAFE_LOSS_SCALE}),
    Act.GUARD: _guard,
    Act.SAVE_OFTENER: _set(
        lambda view: {"checkpoint_every": max(1, int(view.status["settings"]["checkpoint_every"]) // 2)}
    ),
    Act.SAVE_LESS: _set(lambda _: {"checkpoint_every": 100}),
    Act.LOWER_RATE: _set(_rate_times(1 / 3)),
    Act.RAISE_RATE: _set(_rate_times(3.0)),
    Act.SWITCH_SAMPLER: _set(lambda view: {"sampler_offset": not view.status["settings"]["sampler_offset"]}),
    Act.STOP_RECORDING: _set(lambda _: {"record_activations": False}),
    Act.SET_SCHEDULE: _set(lambda view: {"schedule_position": min(1_000, view.status["step"])}),
    Act.RESTART_NEWEST: _restart(_newest),
    Act.RESTART_FRESH: _restart(_newest, fresh_optimizer=True),
    Act.RESTART_EARLIER: _restart(_earlier),
    Act.ROLL_BACK: _restart(_calm),
    Act.ROLL_BACK_AND_SKIP: _roll_back_and_skip,
}
