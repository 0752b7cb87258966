"""Brings examples into the form of the bundled files."""

import numpy as np

from ml_trainer_env.server.datasets.collections.repeats import drop_repeats
from ml_trainer_env.server.datasets.collections.values import Pool

Arrays = dict[str, np.ndarray]

LIMIT = 8.0
"""Standardised numbers are clipped to this many deviations: single readings would make the rest invisible."""


def standardise(inputs: np.ndarray) -> np.ndarray:
    """Returns float32 with mean 0 and deviation 1 by last axis, clipped, rounded so that files compress."""
    flat = inputs.reshape(-1, inputs.shape[-1]).astype(np.float64)
    deviation = flat.std(0)
    kept = deviation > 1e-9
    numbers = (inputs[..., kept] - flat.mean(0)[kept]) / deviation[kept]
    rounded: np.ndarray = (np.rint(np.clip(numbers, -LIMIT, LIMIT) * 1024) / 1024).astype(np.float32)
    return rounded


def finish(inputs: np.ndarray, labels: np.ndarray, in_test: np.ndarray | None = None) -> Arrays:
    """Returns the arrays of a bundled file, without repeated examples."""
    pool = drop_repeats(Pool(np.ascontiguousarray(inputs), labels.astype(np.int64), in_test))
    arrays = {"inputs": pool.inputs, "labels": pool.labels.astype(np.uint8)}
    return arrays if pool.in_test is None else arrays | {"in_test": pool.in_test}
