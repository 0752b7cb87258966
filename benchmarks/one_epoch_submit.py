"""What one epoch and a submit earn on each task under both rubrics: the figures in docs/tasks.md.

    python benchmarks/one_epoch_submit.py

The default configuration, each task's own seed, 2 torch threads. The images are those that
ML_TRAINER_DATA_DIR holds, else the bundled ones and the stand-in.
"""

import asyncio
import os
from pathlib import Path

from ml_trainer_env.server.datasets import DataSettings, load_images
from ml_trainer_env.server.episodes.game import TimeLimits
from ml_trainer_env.server.episodes.units import LiveSource
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.tuning.episode import TuningEpisode
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.named_tasks import TASKS


async def main() -> None:
    executor = InProcessExecutor(probe=PROBE)
    folder = os.environ.get("ML_TRAINER_DATA_DIR")
    data = DataSettings(Path(folder) if folder else None, False, 1.0)
    print("| task | data | validation accuracy | score v1 | score v2 | reward v1 | reward v2 |")
    print("|---|---|---|---|---|---|---|")
    for task in TASKS.values():
        images = load_images(task.examples, data)
        scores, rewards, accuracy = [], [], 0.0
        for rubric in RubricVersion:
            episode = TuningEpisode(
                name=f"{task.id}-{rubric}",
                task=task,
                examples=images,
                seed=task.seed,
                rubric=rubric,
                source=LiveSource(executor),
                limits=TimeLimits(),
            )
            trained, submitted = await episode.run_epochs(1), await episode.submit()
            accuracy = submitted["best_val_accuracy"]
            scores.append(submitted["score"])
            rewards.append(trained["reward"] + submitted["reward"])
        figures = " | ".join([*map("{:.4f}".format, scores), *map("{:.4f}".format, rewards)])
        print(f"| {task.id} | {images.source.value} | {accuracy:.4f} | {figures} |")
    await executor.close()


if __name__ == "__main__":
    asyncio.run(main())
