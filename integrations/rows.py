"""Rows that name episodes: a prompt, a task and a seed. The description of the task comes when the episode begins."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["task_rows"]

_INSTRUCTIONS: Mapping[str, str] = {
    "tuning": (
        "You are an experienced machine learning engineer. You train a real model on a fixed budget of epochs by "
        "calling tools. The figures tell how it goes; epochs that are spent never come back. Submit the model by "
        "submit_model at the end: it is graded on hidden examples."
    ),
    "fleet": (
        "You are an experienced engineer on call for a large training run. Look at its metrics and logs by calling "
        "tools, find out what is wrong, if anything is, and put it right with as little lost time as possible. "
        "run_steps lets the run go on; submit_model ends the episode."
    ),
}


def task_rows(split: str, indices: Iterable[int], seeds: Sequence[int | None] = (None,)) -> list[dict[str, Any]]:
    """List a row for each task and seed.

    Args:
        split: Game and split: `tuning/train`, `fleet/validation` and so on.
        indices: Indices of tasks of the split.
        seeds: Seeds of episodes of each task; None for the task's own.

    Returns:
        Rows with `prompt` (chat messages), `task_id` and `seed`.

    Raises:
        ValueError: The game is unknown.
    """
    game = split.partition("/")[0]
    if game not in _INSTRUCTIONS:
        raise ValueError(f"expected a split of {' or '.join(_INSTRUCTIONS)}, such as tuning/train, not {split!r}")
    prompt = [{"role": "user", "content": _INSTRUCTIONS[game]}]
    return [{"prompt": prompt, "task_id": f"{split}/{index}", "seed": seed} for index in indices for seed in seeds]
