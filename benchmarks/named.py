"""What measurements of the trainer alone share: the images of the named tasks, and the name of the processor."""

import os
import platform
from pathlib import Path

from ml_trainer_env.server.datasets import DataSettings, load_images
from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.tuning.tasks import Task

__all__ = ["processor", "task_images"]


def task_images(task: Task) -> tuple[Examples, str]:
    """Return the images of a named task and their source. Full data sets come from ML_TRAINER_DATA_DIR."""
    folder = os.environ.get("ML_TRAINER_DATA_DIR")
    images = load_images(task.examples, DataSettings(Path(folder) if folder else None, False, 1.0))
    return Examples.of(images, task.augmentation), images.source.value


def processor() -> str:
    """Return the name of the processor."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
