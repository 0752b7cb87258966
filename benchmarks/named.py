"""What measurements of named tasks share: images, the name of the processor, a pause, and how figures are told."""

import os
import platform
import statistics
from pathlib import Path

from ml_trainer_env.server.datasets import DataSettings, load_images
from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.tuning.tasks import Task

__all__ = ["PAUSE_S", "processor", "spread", "task_images"]

PAUSE_S = 0.1
"""Before each run. Torch's threads spin for milliseconds after their work, and would slow down what comes next."""


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


def spread(values: list[float], places: int) -> str:
    """Return median, least and most."""
    return f"{statistics.median(values):.{places}f} [{min(values):.{places}f}, {max(values):.{places}f}]"
