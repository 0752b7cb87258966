"""Times evaluation in a separate process, like a worker. `measure.py` starts it and reads its output.

It prints one line of JSON for each round: seconds by network and batch. A round measures all networks and batches in
turn, so that a change of the machine's speed affects all of them.
"""

import json
import sys
import time

import numpy as np
import torch

from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.engine import held_out_accuracy, initial_state
from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.trainer.kinds import AugmentationKind
from ml_trainer_env.server.trainer.network_specs import NETWORKS, NetworkSpec
from ml_trainer_env.server.trainer.state import FreshState

__all__ = ["main", "print_rounds"]

EXAMPLES = 2_000
"""Examples in each measurement, about as many as in an epoch."""


def print_rounds(torch_threads: int, limit_s: float, max_rounds: int, batches: list[int]) -> None:
    """Print the times of at least two rounds, until the time limit or the number of rounds is reached.

    Args:
        torch_threads: Number of torch's threads.
        limit_s: Seconds after which no round starts.
        max_rounds: Largest number of rounds.
        batches: Evaluation batches to measure.
    """
    torch.set_num_threads(torch_threads)
    states = {name: initial_state(FreshState(name, 0)) for name in NETWORKS}
    data = {name: TensorData(_noise(spec)) for name, spec in NETWORKS.items()}
    deadline = time.monotonic() + limit_s
    for number in range(max_rounds + 1):
        if number > 2 and time.monotonic() > deadline:
            return
        seconds: dict[str, dict[str, float]] = {name: {} for name in NETWORKS}
        # Every other round is reversed, so that no batch always follows the same one.
        for name in NETWORKS:
            for batch in batches if number % 2 else reversed(batches):
                data[name].evaluation_batch = batch
                began = time.perf_counter()
                held_out_accuracy(states[name], data[name])
                seconds[name][str(batch)] = time.perf_counter() - began
        if number:  # the first round warms up
            print(json.dumps(seconds), flush=True)


def _noise(spec: NetworkSpec) -> Examples:
    source = np.random.default_rng(0)
    channels, height, width = spec.inputs
    shape = (height, width) if channels == 1 else (height, width, channels)
    few, labels = source.integers(0, 256, (2, *shape), dtype=np.uint8), np.arange(EXAMPLES) % spec.outputs
    many = source.integers(0, 256, (EXAMPLES, *shape), dtype=np.uint8)
    return Examples("noise", AugmentationKind.NONE, few, labels[:2], few, labels[:2], many, labels)


def main() -> None:
    """Run with threads, seconds, rounds and batches from the command line."""
    threads, limit_s, max_rounds, *batches = sys.argv[1:]
    print_rounds(int(threads), float(limit_s), int(max_rounds), [int(batch) for batch in batches])


if __name__ == "__main__":
    main()
