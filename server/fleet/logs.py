"""The log of a rank, as a training stack prints it: what happened, with harmless lines among it."""

import math
from collections.abc import Iterator, Sequence

from ml_trainer_env.server.fleet.events import Event
from ml_trainer_env.server.fleet.incidents import Draws
from ml_trainer_env.server.fleet.rows import StepRow
from ml_trainer_env.server.trainer.fleet.faults import Notice

__all__ = ["MAX_LINES", "last_lines", "log_lines"]

MAX_LINES = 20
"""The most lines of a reply."""

_MAX_CHARACTERS = 960
"""The most characters of a reply's lines, with what JSON puts around them."""

_EVERY = 5
"""Every so many steps a rank prints a line."""

_SLOW_DATA_S = 0.5

_HARMLESS_LINES = 60
"""Stream of random numbers of the harmless lines."""

_HARMLESS = (
    "NCCL INFO Channel 01/02 : connected via NET/IB/0/GDRDMA",
    "gc: generation 2 collected 1184 objects in 38 ms",
    "UserWarning: the given buffer is not writable",
    "tensorboard: flushed 12 scalars",
    "allocator: reserved 44.1 GiB, allocated 41.7 GiB",
    "dataloader: worker 2 respawned after 10000 samples",
    "clock skew against the time server: 1.8 ms",
    "prefetch queue depth 3 of 4",
)


def log_lines(
    rank: int, seed: int, rows: Sequence[StepRow], events: Sequence[Event], notices: Sequence[Notice], now_us: int
) -> list[str]:
    """Return the whole log of a rank, oldest line first.

    Args:
        rank: The rank.
        seed: Seed of weights, data and noise.
        rows: The steps of the run.
        events: What happened besides.
        notices: What monitoring shows at some time.
        now_us: Virtual time.
    """
    lines = [(event.clock_us, "[launcher] " + event.text) for event in events if event.rank in {None, rank}]
    lines += [(notice.clock_us, "[monitor] " + notice.text) for notice in notices if notice.clock_us <= now_us]
    for row in rows:
        if rank < len(row.places):
            lines += [(row.now_us, text) for text in _of_step(rank, seed, row)]
    lines.sort(key=lambda line: line[0])
    return [f"[t={clock_us / 1e6:.1f}] {text}" for clock_us, text in lines]


def last_lines(lines: Sequence[str], count: int) -> list[str]:
    """Return the last lines, oldest first: at most so many, and as many as a reply has room for."""
    kept: list[str] = []
    room = _MAX_CHARACTERS
    for line in reversed(lines[-count:]):
        room -= len(line) + len('"", ')
        if room < 0:
            break
        kept.append(line)
    return kept[::-1]


def _of_step(rank: int, seed: int, row: StepRow) -> Iterator[str]:
    """Yield what a rank prints of a step."""
    name, places = f"[rank{rank}]", row.places[rank]
    draws = Draws(_HARMLESS_LINES, seed, rank, row.step, row.incarnation)
    if draws.below(12) == 0:
        yield f"{name} INFO {_HARMLESS[draws.below(len(_HARMLESS))]}"
    waited = row.times.data_us[rank] / 1e6
    if waited > _SLOW_DATA_S:
        yield f"{name} WARN dataloader: waited {waited:.2f} s for a batch of shard {places[-1].shard}"
    norm = row.number(f"gradient_norm/{rank}")
    if not math.isfinite(norm):
        yield f"{name} WARN gradient of step {row.step} is not finite"
    if row.figures["skipped"]:
        yield f"{name} WARN overflow: step {row.step} skipped, loss scale {row.number('loss_scale'):.0f}"
    if row.step % _EVERY == 0:
        loss, rate, step_s = row.number("loss"), row.number("learning_rate"), row.times.step_us / 1e6
        yield (
            f"{name} step {row.step} loss {loss:.3f} grad_norm {row.number('gradient_norm'):.3g} "
            f"lr {rate:.2e} {step_s:.2f} s/it"
        )
