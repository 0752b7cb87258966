"""Do the native kernels and bf16 train as well as torch in fp32? Validation accuracy of whole runs, over seeds.

    python benchmarks/accuracy.py [--tasks medium_fashion,hard_cifar] [--epochs 8] [--seeds 5] [--bf16]

Each run has the same settings: Adam at 0.002, cosine, dropout 0.2, augmentation at half strength. Runs of one seed
begin with the same weights, and see the same examples in the same order. Differences are paired by seed. A processor
without instructions for bf16 computes it all the same, slowly.
"""

import argparse
import math
import statistics
import time

import torch
from named import processor, task_images
from scipy.stats import t

from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.engine import advance, initial_state
from ml_trainer_env.server.trainer.kernels import chosen_kernels, kernels_name
from ml_trainer_env.server.trainer.kinds import Kernels, Precision
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.state import FreshState
from ml_trainer_env.server.tuning.named_tasks import TASKS

RATE = 0.002
CONFIG = TrainingConfig(
    learning_rate=RATE, lr_schedule=LrSchedule.COSINE, dropout=0.2, augmentation=True, augmentation_strength=0.5
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="medium_fashion,hard_cifar", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=5, help="at least 2; default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--bf16", action="store_true", help="torch in bf16, too")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    native = chosen_kernels(Kernels.AUTO)
    print(
        f"{processor()}, {given.threads} threads, torch {torch.__version__}, {given.epochs} epochs, n = {given.seeds}"
    )
    print("\n| task | data | computed by | validation accuracy | difference from torch in fp32 | CPU s an epoch |")
    print("|---|---|---|---|---|---|")
    for task_id in given.tasks.split(","):
        arrays, source = task_images(TASKS[task_id])
        ways = {"torch, fp32": TensorData(arrays), f"{kernels_name(native)}, fp32": TensorData(arrays, kernels=native)}
        if given.bf16:
            ways["torch, bf16"] = TensorData(arrays, precision=Precision.BF16)
        found: dict[str, list[float]] = {}
        for name, data in ways.items():
            began = time.process_time()
            found[name] = [
                accuracy(TASKS[task_id].network.name, data, given.epochs, seed) for seed in range(given.seeds)
            ]
            seconds = (time.process_time() - began) / given.seeds / given.epochs
            differences = [one - other for one, other in zip(found[name], found["torch, fp32"], strict=True)]
            beside = "" if name == "torch, fp32" else f"{statistics.fmean(differences):+.4f} ± {half(differences):.4f}"
            mean, deviation = statistics.fmean(found[name]), statistics.stdev(found[name])
            print(
                f"| {task_id} | {source} | {name} | {mean:.4f} (sd {deviation:.4f}) | {beside} | {seconds:.2f} |",
                flush=True,
            )


def accuracy(network: str, data: TensorData, epochs: int, seed: int) -> float:
    """Return the validation accuracy after a whole run."""
    plan = LearningRatePlan(LrSchedule.COSINE, RATE, 0, epochs)
    return advance(initial_state(FreshState(network, seed)), CONFIG, plan, data, epochs)[1][-1].val_accuracy


def half(values: list[float]) -> float:
    """Return half of the 95 % interval of a mean, by Student's t."""
    return float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


if __name__ == "__main__":
    main()
