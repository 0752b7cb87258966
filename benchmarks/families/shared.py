"""What the measurements of the family share: its tasks, episodes in this process, and intervals."""

import argparse
import math
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from ml_trainer_env.baselines.forks import Entrant, play_entrant
from ml_trainer_env.in_process.forks import LocalSessions
from ml_trainer_env.in_process.training import trainer_of_process
from ml_trainer_env.in_process.tuning import LocalSession
from ml_trainer_env.server.datasets import ExampleDraw, draw_examples
from ml_trainer_env.server.tuning.families.tasks import count_family_tasks, family_task
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.tasks import Task

__all__ = ["Outcome", "interval", "parser", "play_task", "spread_over", "tasks_of"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an episode under rubric v3.

    Attributes:
        score: The score.
        x: The uncapped score.
        reward: The sum of all rewards.
        validation: Validation accuracy of the submitted model, or minus its loss for the next token.
        hidden: `m` of the submitted model.
        seconds: Training time of its epochs.
    """

    score: float
    x: float
    reward: float
    validation: float
    hidden: float
    seconds: float


def tasks_of(split: str, count: int | None = None) -> list[Task]:
    """Return the first calibrated tasks of a split."""
    known = count_family_tasks(split)
    return [family_task(split, index) for index in range(min(known, count or known))]


class _Paid(LocalSession):
    """A session that adds up the rewards."""

    reward = 0.0

    def call(self, name: str, arguments: Any, reason: str = "") -> Any:
        reply = super().call(name, arguments)
        self.reward += reply["reward"]
        return reply


def play_task(agent: Entrant, task: Task, seed: int = 0) -> Outcome:
    """Let an agent play a calibrated task under rubric v3.

    Args:
        agent: The agent.
        task: The task.
        seed: Added to the task's own seed.
    """
    assert isinstance(task.examples, ExampleDraw)
    assert task.reference is not None
    examples = draw_examples(task.examples)
    sessions = LocalSessions(lambda: _Paid(trainer_of_process(), task, examples, task.seed + seed, RubricVersion.V3))
    session = play_entrant(agent, sessions)
    assert isinstance(session, _Paid)
    reply, history = session.reply, session.episode.history
    by_loss = task.reference.metric == "loss"
    path = history.ancestry
    last = path[-1].metrics if path else None
    validation = -math.inf if last is None else -last.val_loss if by_loss else last.val_accuracy
    details = reply.get("details", {})  # an episode that ends without a model has none
    return Outcome(
        score=reply["score"],
        x=details.get("x", -math.inf),
        reward=session.reward,
        validation=validation,
        hidden=details.get("submitted", -math.inf),
        seconds=history.seconds,
    )


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and half the width of its 95 % interval (normal approximation)."""
    if len(values) < 2:
        return values[0], math.inf
    return statistics.fmean(values), 1.96 * statistics.stdev(values) / math.sqrt(len(values))


def spread_over(function: Any, arguments: Sequence[Any], processes: int) -> Iterator[Any]:
    """Yield `function(argument)` for each argument, in order, computed by several processes."""
    if processes == 1:
        yield from map(function, arguments)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(function, arguments)


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the common options."""
    found = argparse.ArgumentParser(description=description.splitlines()[0])
    found.add_argument("--split", default="validation", help="default: %(default)s")
    found.add_argument("--tasks", type=int, help="number of tasks (default: all)")
    found.add_argument("--processes", type=int, default=2, help="default: %(default)s")
    return found
