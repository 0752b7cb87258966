"""Trains with ranks that are processes: `python real_ranks.py RANKS REDUCTION STEPS [SLOW_RANK]`.

All ranks are forked from one process that has imported torch. REDUCTION is `ordered` (a sum in shared memory, in the
order of the ranks) or `gloo` (torch.distributed's own). Prints JSON: the state's hash by rank, the losses of all
steps, and the wall seconds of a step.
"""

import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ml_trainer_env.server.datasets.bundled import read_bundled
from ml_trainer_env.server.trainer.fleet.engine import (
    MODEL,
    first_state,
    rank_gradients,
    reduce_in_order,
    updated,
)
from ml_trainer_env.server.trainer.fleet.places import BATCHES, places_of
from ml_trainer_env.server.trainer.fleet.settings import Cluster, StepSettings
from ml_trainer_env.server.trainer.fleet.state import FreshFleet, state_hash
from ml_trainer_env.server.trainer.fleet.text import Text

SEED = 11
SLEEP_S = 0.3
LIMIT_S = 120.0

Reduce = Callable[[Tensor], Tensor]


def main() -> None:
    ranks, reduction, steps = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    slow = int(sys.argv[4]) if len(sys.argv) > 4 else None
    torch.set_num_threads(1)
    text = Text.of(read_bundled("speeches.npz"))
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(ranks), context.Queue()
    shared = torch.zeros(2, ranks, MODEL.size).share_memory_()
    with tempfile.TemporaryDirectory() as folder:

        def own(rank: int) -> None:
            reduce = in_order(rank, shared, barrier) if reduction == "ordered" else by_gloo(rank, ranks, folder)
            answers.put((rank, train(rank, ranks, steps, text, reduce, sleeps=rank == slow)))

        processes = [context.Process(target=own, args=(rank,), daemon=True) for rank in range(ranks)]
        for process in processes:
            process.start()
        found = dict(answers.get(timeout=LIMIT_S) for _ in processes)
        for process in processes:
            process.join(LIMIT_S)
    losses = [sum(of_step) / ranks for of_step in zip(*(found[rank]["losses"] for rank in range(ranks)), strict=True)]
    hashes = [found[rank]["hash"] for rank in range(ranks)]
    step_s = max(one["step_s"] for one in found.values())
    sys.stdout.write(json.dumps({"hashes": hashes, "losses": losses, "step_s": step_s}) + "\n")


def in_order(rank: int, shared: Tensor, barrier: Any) -> Reduce:
    """Return a reduction that every rank computes for itself, in the order of the ranks."""
    turn = 0

    def reduce(gradient: Tensor) -> Tensor:
        # Two turns take two places, so that no rank overwrites what another one still reads.
        nonlocal turn
        turn = 1 - turn
        shared[turn, rank] = gradient
        barrier.wait(LIMIT_S)
        return reduce_in_order(shared[turn])

    return reduce


def by_gloo(rank: int, ranks: int, folder: str) -> Reduce:
    store = dist.FileStore(str(Path(folder) / "store"), ranks)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks)

    def reduce(gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total

    return reduce


def train(rank: int, ranks: int, steps: int, text: Text, reduce: Reduce, *, sleeps: bool) -> dict[str, Any]:
    settings = StepSettings(cluster=Cluster(nodes=tuple(range(ranks))))
    state, losses, begun = first_state(FreshFleet(SEED)), [], time.monotonic()
    for _ in range(steps):
        if sleeps:
            time.sleep(SLEEP_S)
        places = places_of(state.seed, state.step, state.clock_us, state.loss_scale, settings)
        own, gradients = rank_gradients(state, settings, [places[rank]], text)
        rate = settings.training.rate_at(state.schedule, 0)
        state, _ = updated(state, reduce(gradients[0]) / BATCHES, settings, rate)
        state = replace(state, step=state.step + 1, schedule=state.schedule + 1)
        losses.append(sum(own) / len(own))
    return {"hash": state_hash(state), "losses": losses, "step_s": (time.monotonic() - begun) / steps}


if __name__ == "__main__":
    main()
