"""What the figures of a run tell: one small pure function a clue. Figures are `values` of `query_metrics`, by group.

A figure that is not finite is None. The thresholds are those of the reference run: there, ranks differ by 3 percent in
time, and shards and nodes by about 0.1 nats over a dozen steps.
"""

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "Death",
    "bad_statistics",
    "bad_text_suspects",
    "best_interval",
    "deaths",
    "drift_suspect",
    "growing_ranks",
    "hot_groups",
    "is_above",
    "is_damaged",
    "is_rate_lost",
    "maintenance",
    "majority_rank",
    "rate_factor",
    "reads_alike",
    "restart_position",
    "slow_nodes",
    "slow_shards",
    "waits_of_all",
]

Values = Mapping[str, float | None]
Death = tuple[int, int]
"""The rank and the node of a process that died."""

_HOT = 2.5
_SLOW_COMPUTE = 1.3
_SLOW_DATA_S = 0.3
_SLOW_LINK_S = 0.6
_BAD_TEXT_NATS = 0.3
_BAD_TEXT_NORM = 1.35
_DRIFT_NATS = 0.1
_SURE_DRIFT_NATS = 0.2
_DRIFT_NORM = 1.08
_GROWTH = 1.15
_NORMAL_ENTROPY = (1.5, 2.2)
_NORMAL_DISTINCT = 12
_WORSE_NATS = 0.1
_JUMP_NATS = 0.3
_RECENT_STEPS = 10
_DAMAGE_NATS = 0.3
_WARMUP_STEPS = 80
_DECAY_S = 268.0
"""The rate falls over about the last so many seconds."""

_DEATH = re.compile(r"rank (\d+) \(node (\d+)\) exited")
_POSITION = re.compile(r"job restarted from checkpoint (\S+); the sampler begins at position (\d+)")
_MAINTENANCE = re.compile(r"maintenance scheduled: node (\d+) will be powered off from t=(\d+) s to t=(\d+) s")


def hot_groups(maxima: Mapping[str, Sequence[float | None]]) -> dict[str, float]:
    """Return the groups whose greatest gradient norm is far above that of the others, with the step of it.

    Args:
        maxima: Pairs of a norm and its step, by group. A norm that is not finite is hot.
    """
    median = _median(pair[0] for pair in maxima.values())
    return {
        name: float(step or 0)
        for name, (norm, step) in maxima.items()
        if norm is None or (math.isfinite(median) and norm > _HOT * median)
    }


def rate_factor(rate: float, peak: float, step: int) -> float:
    """Return the factor between a learning rate and what the peak says, in the warm-up or soon after it."""
    return rate / (peak * min(1.0, step / _WARMUP_STEPS))


def slow_nodes(compute_s: Values) -> list[int]:
    """Return the nodes that compute longer than the others, the slowest first."""
    known = _known(compute_s)
    limit = _SLOW_COMPUTE * _median(compute_s.values())
    return [int(name) for name in sorted(known, key=lambda name: -known[name]) if known[name] > limit]


def slow_shards(data_s: Values) -> list[int]:
    """Return the shards that are waited for, the slowest first."""
    known = _known(data_s)
    return [int(name) for name in sorted(known, key=lambda name: -known[name]) if known[name] > _SLOW_DATA_S]


def waits_of_all(wait_s: Values) -> bool:
    """Whether even the rank that comes last waits long: the reduction itself is slow."""
    known = _known(wait_s)
    return bool(known) and min(known.values()) > _SLOW_LINK_S


def bad_text_suspects(loss: Values, grad_norm: Values) -> list[int]:
    """Return the shards with a loss far from the others', or with large gradients, the most suspicious first."""
    losses, norms = _known(loss), _known(grad_norm)
    usual_loss, usual_norm = _median(loss.values()), _median(grad_norm.values())
    strange = {name: abs(value - usual_loss) / _BAD_TEXT_NATS for name, value in losses.items()}
    for name, norm in norms.items():
        strange[name] = max(strange.get(name, 0.0), norm / usual_norm / _BAD_TEXT_NORM)
    return [int(name) for name in sorted(strange, key=lambda name: -strange[name]) if strange[name] > 1]


def bad_statistics(statistics_of_shard: Mapping[str, float]) -> bool:
    """Whether a shard's text is not what such text is: too predictable, not predictable enough, or repeated."""
    low, high = _NORMAL_ENTROPY
    is_usual = low < statistics_of_shard["entropy_of_next_nats"] < high
    return not is_usual or statistics_of_shard["distinct_sequences"] < _NORMAL_DISTINCT


def drift_suspect(loss_by_node: Values, norm_by_node: Values) -> int | None:
    """Return the node whose loss and gradients are above those of the others. None if there is none."""
    losses = _known(loss_by_node)
    if len(losses) < 2:
        return None
    node = max(losses, key=lambda name: losses[name])
    excess = losses[node] - _median(loss_by_node.values())
    growth = (norm_by_node.get(node) or 0.0) / _median(norm_by_node.values())
    is_odd = excess > _SURE_DRIFT_NATS or (excess > _DRIFT_NATS and growth > _DRIFT_NORM)
    return int(node) if is_odd else None


def majority_rank(checksums: Mapping[str, object]) -> int | None:
    """Return a rank whose replica is that of the most ranks. None if all are equal."""
    counts = Counter(map(str, checksums.values())).most_common()
    if len(counts) < 2:
        return None
    return next(int(name.rsplit("_", 1)[-1]) for name, value in checksums.items() if str(value) == counts[0][0])


def reads_alike(loss_by_rank: Values) -> bool:
    """Whether the losses of all ranks are equal: they read the same batch."""
    return len(loss_by_rank) > 1 and len(set(loss_by_rank.values())) == 1


def growing_ranks(memory_gb: Values) -> list[int]:
    """Return the ranks that use far more memory than the others."""
    limit = _GROWTH * _median(memory_gb.values())
    return [int(name) for name, value in _known(memory_gb).items() if value > limit]


def is_above(before: Mapping[int, float | None], after: Mapping[int, float | None]) -> bool:
    """Whether the loss is higher after a restart than before it, at the same steps or at those just before them.

    Args:
        before: Losses by step from before the restart, also of steps before the checkpoint.
        after: Losses of the first steps after it.
    """
    if not after:
        return False
    if any(loss is None for loss in after.values()):
        return True
    known = {step: loss for step, loss in before.items() if loss is not None}
    rises = [loss - known[step] for step, loss in after.items() if step in known and loss is not None]
    first, last = min(after), after[max(after)] or 0.0
    recent = [loss for step, loss in known.items() if first - _RECENT_STEPS <= step < first]
    is_higher = bool(rises) and statistics.fmean(rises) > _WORSE_NATS
    return is_higher or (bool(recent) and last > statistics.fmean(recent) + _JUMP_NATS)


def is_rate_lost(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether the learning rate is far below what it was, beyond what warm-up and decay explain.

    Args:
        then: A reply from before a restart.
        now: A reply from after it.
    """
    before, after = _peak(then), _peak(now)
    return before is not None and after is not None and after < 0.5 * before


def is_damaged(probe_loss: float | None, saved_loss: float | None) -> bool:
    """Whether a checkpoint's loss on other text is far from the loss with which it was saved.

    Args:
        probe_loss: The loss on probe text. None if it is not finite.
        saved_loss: The training loss of the step before it was saved. None for the state before the first step.
    """
    return probe_loss is None or (saved_loss is not None and probe_loss > saved_loss + _DAMAGE_NATS)


def best_interval(save_s: float, between_deaths_s: float, step_s: float) -> int:
    """Return the steps between two checkpoints that lose the least time (Young 1974): sqrt(2 save time, MTBF)."""
    return max(1, round(math.sqrt(2 * save_s * between_deaths_s) / step_s))


def deaths(events: Iterable[str]) -> list[Death]:
    """Return the processes that died, by the launcher's lines."""
    return [(int(found[1]), int(found[2])) for event in events if (found := _DEATH.search(event))]


def restart_position(events: Iterable[str]) -> tuple[str, int] | None:
    """Return the checkpoint of the last restart and the position in the data at which it began. None for no restart."""
    found = [match for event in events if (match := _POSITION.search(event))]
    return (found[-1][1], int(found[-1][2])) if found else None


def maintenance(notices: Iterable[str]) -> tuple[int, float, float] | None:
    """Return the node that will be powered off, from when, and until when. None if none is announced."""
    found = next((match for notice in notices if (match := _MAINTENANCE.search(notice))), None)
    return (int(found[1]), float(found[2]), float(found[3])) if found else None


def _peak(reply: Mapping[str, Any]) -> float | None:
    """Return the rate that a schedule of linear warm-up and linear decay had at its peak, up to a factor."""
    rate, step, left_s = reply["learning_rate"], reply["step"], reply["left_s"]
    if rate is None or step < 1 or left_s <= 0:
        return None
    warmth = min(1.0, step / _WARMUP_STEPS)
    return float(rate / warmth / min(left_s, _DECAY_S))


def _known(values: Values) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _median(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else math.nan
