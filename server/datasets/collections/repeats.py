"""Drops repeated examples, so that two parts of a task never share one."""

from ml_trainer_env.server.datasets.collections.values import Pool

__all__ = ["drop_repeats"]


def drop_repeats(pool: Pool) -> Pool:
    """Return a pool with one of each set of identical inputs: the first of them, and none if their labels differ."""
    labels_by_input: dict[bytes, set[int]] = {}
    first: dict[bytes, int] = {}
    for place, (row, label) in enumerate(zip(pool.inputs, pool.labels.tolist(), strict=True)):
        key = row.tobytes()
        first.setdefault(key, place)
        labels_by_input.setdefault(key, set()).add(label)
    kept = [place for key, place in first.items() if len(labels_by_input[key]) == 1]
    return Pool(pool.inputs[kept], pool.labels[kept], None if pool.in_test is None else pool.in_test[kept])
