"""(d) An episode that was played before: how much sooner it is over, and that it is the same."""

import asyncio
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.clients import SocketSession
from serving.figures import Result, spread
from serving.processes import Server

__all__ = ["measure"]

TASK = "hard_cifar"
SEED = 77
CALLS = (1, 5, 4, 5, 5)
TIMES = 5
CLOCKS = ("epoch_time_s",)
"""Of no consequence: a clock's, and told of an epoch as it was when it was trained."""


def measure(folder: Path, data_dir: str) -> list[Result]:
    """Measure."""
    settings = {"workers": 1, "torch_threads": 2, **({"data_dir": data_dir} if data_dir else {})}
    with Server(folder, **settings) as server:
        return [asyncio.run(_measure(server.url))]


@dataclass(frozen=True)
class Episode:
    """An episode that was played.

    Attributes:
        source: Of its images.
        training_s: What the calls that train took.
        total_s: What all took, from reset to the grade.
        replies: What the calls that train were answered.
        grade: What the submission was answered.
    """

    source: str
    training_s: float
    total_s: float
    replies: list[Any]
    grade: Any


async def _measure(url: str) -> Result:
    await _play(url, SEED + 1)  # images are read, and the worker has seen them
    first = await _play(url, SEED)
    again = [await _play(url, SEED) for _ in range(TIMES)]
    same = all(_same(first, repeated) for repeated in again)
    cached = all(reply["from_cache"] for repeated in again for reply in repeated.replies)
    trained = not any(reply["from_cache"] for reply in first.replies)
    training, total = [r.training_s for r in again], [r.total_s for r in again]
    ratio = first.training_s / statistics.median(training)
    whole = first.total_s / statistics.median(total)
    lines = [
        (
            f"One of {TASK} ({first.source} images) with augmentation, {sum(CALLS)} epochs in {len(CALLS)} calls, "
            f"a submission at the end, once and {TIMES} times again; median [min, max]."
        ),
        "",
        "| | trained, s | repeated, s | ratio |",
        "|---|---|---|---|",
        f"| calls that train | {first.training_s:.2f} | {spread(training, 4)} | **{ratio:.0f}** |",
        f"| reset to grade | {first.total_s:.2f} | {spread(total, 4)} | **{whole:.0f}** |",
        "",
        (
            f"Metrics, rewards and weights_hash of every call equal: {_word(same)}. from_cache of every repeated call: "
            f"{_word(cached)}; the first was trained: {_word(trained)}. Wanted: a ratio of at least 50."
        ),
    ]
    return Result("A repeated episode", lines, {"ratio": ratio, "whole_ratio": whole, "same": same and cached})


async def _play(url: str, seed: int) -> Episode:
    session = await SocketSession.open(url)
    began = time.perf_counter()
    observation = await session.reset(task_id=TASK, seed=seed)
    await session.call("configure_training", augmentation=True, augmentation_strength=0.8, optimizer="adamw")
    training_s, replies = 0.0, []
    for epochs in CALLS:
        before = time.perf_counter()
        replies.append(await session.call("run_epochs", num_epochs=epochs))
        training_s += time.perf_counter() - before
    grade = await session.call("submit_model")
    total_s = time.perf_counter() - began
    await session.close()
    return Episode(observation["task"]["dataset"]["source"], training_s, total_s, replies, grade)


def _same(one: Episode, other: Episode) -> bool:
    return all(
        _comparable(mine) == _comparable(theirs)
        for mine, theirs in zip([*one.replies, one.grade], [*other.replies, other.grade], strict=True)
    )


def _comparable(reply: Any) -> Any:
    """A reply without what must differ: where its epochs came from, and what a clock said."""
    kept = {name: value for name, value in reply.items() if name not in {"from_cache", *CLOCKS}}
    if "epochs" in kept:
        kept["epochs"] = [{name: v for name, v in row.items() if name != "from_cache"} for row in kept["epochs"]]
    return kept


def _word(holds: bool) -> str:
    return "yes" if holds else "NO"
