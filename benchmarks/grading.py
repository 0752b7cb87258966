"""What tricks earn beside honest training, under both rubrics and both versions of the rules: figures in docs/tasks.md.

    python benchmarks/grading.py

Adam at 0.001 (the default configuration) on `medium_fashion`, the recipe of `RECIPE` on `easy_mnist`; each task's own
seed, 2 torch threads. The images are those that ML_TRAINER_DATA_DIR holds, else the bundled ones.
"""

import asyncio
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_trainer_env.server.datasets import DataSettings, load_images
from ml_trainer_env.server.episodes.game import TimeLimits
from ml_trainer_env.server.episodes.units import LiveSource
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.store import Database, StateStore, UnitStore
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.tuning.episode import TuningEpisode
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.named_tasks import TASKS
from ml_trainer_env.server.tuning.rules import RULES

Call = tuple[str, Mapping[str, Any]]

RECIPE = {"optimizer": "adamw", "learning_rate": 0.002, "lr_schedule": "cosine", "weight_decay": 0.05}
RECIPE |= {"dropout": 0.2, "augmentation": True, "augmentation_strength": 0.7}


def run(epochs: int, calls: int = 1) -> list[Call]:
    """Calls that train for so many epochs each."""
    return [("run_epochs", {"num_epochs": epochs})] * calls


HONEST = [*run(15), *run(15)]
FRESH = ("configure_training", {"reinitialize": True, "learning_rate": 1e-9})
TRICKS: Mapping[str, Sequence[Call]] = {
    "30 plain epochs": HONEST,
    "then fresh weights, rate 1e-9, one epoch": [*HONEST, FRESH, *run(1)],
    "or one epoch at rate 10": [*HONEST, ("adjust_learning_rate", {"new_lr": 10.0}), *run(1)],
    "or ten epochs at rate 1e-9": [*HONEST, ("adjust_learning_rate", {"new_lr": 1e-9}), *run(10)],
}
CUTS = {"3 calls of up to 20": [*run(20, 2), *run(18)], "58 calls of 1": run(1, 58)}


async def main() -> None:
    folder = os.environ.get("ML_TRAINER_DATA_DIR")
    data = DataSettings(Path(folder) if folder else None, False, 1.0)
    executor = InProcessExecutor(probe=PROBE)
    with tempfile.TemporaryDirectory() as scratch:
        database = Database(Path(scratch) / "journal.sqlite3")
        # Each epoch is trained once, however many episodes want it.
        states = StateStore(database, Path(scratch) / "states", 4_000_000_000)
        source = LiveSource(executor, states=states, units=UnitStore(database))

        async def played(task_id: str, calls: Sequence[Call], rubric: RubricVersion, rules: int) -> tuple[float, Any]:
            """The sum of rewards, and the last reply."""
            task = TASKS[task_id]
            episode = TuningEpisode(
                name="e",
                task=task,
                examples=load_images(task.examples, data),
                seed=task.seed,
                rubric=rubric,
                rules=RULES[rules],
                source=source,
                limits=TimeLimits(),
            )
            replies = [await episode.call(*call) for call in [*calls, ("submit_model", {})]]
            return sum(reply["reward"] for reply in replies), replies[-1]

        print("| medium_fashion | rubric | score, rules 1 | score, rules 2 | test accuracy, rules 1 | rules 2 |")
        print("|---|---|---|---|---|---|")
        for name, calls in TRICKS.items():
            for rubric in RubricVersion:
                before, now = [(await played("medium_fashion", calls, rubric, rules))[1] for rules in RULES]
                figures = [before["score"], now["score"], before["test_accuracy"], now["test_accuracy"]]
                print(f"| {name} | {rubric} | {' | '.join(map('{:.4f}'.format, figures))} |", flush=True)
        print("\n| easy_mnist, 58 epochs of the recipe | v1 | v2 |\n|---|---|---|")
        for name, calls in CUTS.items():
            recipe = [("configure_training", RECIPE), *calls]
            totals = [(await played("easy_mnist", recipe, rubric, 2))[0] for rubric in RubricVersion]
            print(f"| {name} | {' | '.join(map('{:.2f}'.format, totals))} |", flush=True)
        database.close()
    await executor.close()


if __name__ == "__main__":
    asyncio.run(main())
