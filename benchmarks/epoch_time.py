"""Our epoch, with the native kernels and with torch, against the loop most people write, interleaved in one run.

    python benchmarks/epoch_time.py [--rounds 7] [--tasks easy_mnist,...] [--threads 2] [--write]

For each task, with and without augmentation: seconds an epoch (training and validation) of the three,
the ratios round by round, and what share of the best matrix product and convolution rate of torch, measured
in the same run, our epoch reaches. Then the validation accuracy of ours and of the usual loop after 10 epochs, mean
of 3 seeds. Without native kernels torch computes ours too. Nothing else should run meanwhile.
"""

import argparse
import datetime as dt
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from named import PAUSE_S, processor, spread, task_images
from torch.utils.flop_counter import FlopCounterMode
from usual_loop import AUGMENTED, BATCH_SIZE, UsualLoop

from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.engine import advance, initial_state
from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.trainer.kernels import chosen_kernels, kernels_name
from ml_trainer_env.server.trainer.kinds import Kernels
from ml_trainer_env.server.trainer.networks import build_network
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.state import FreshState
from ml_trainer_env.server.tuning.named_tasks import TASKS
from ml_trainer_env.server.tuning.tasks import Task

PLAN = LearningRatePlan(LrSchedule.CONSTANT, 0.001, 0, 1)
NATIVE = chosen_kernels(Kernels.AUTO)
RESULTS = Path(__file__).parent / "RESULTS.md"


@dataclass(frozen=True)
class Timing:
    """Seconds an epoch, round by round."""

    native: list[float]
    torch: list[float]
    usual: list[float]

    def times_faster_than(self, others: list[float]) -> list[float]:
        return [other / native for native, other in zip(self.native, others, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="0 leaves the timing out")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-accuracy", action="store_true", help="leave out the comparison after 10 epochs")
    parser.add_argument("--write", action="store_true", help=f"append the tables to {RESULTS.name}")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines: list[str] = []
    if arguments.rounds:
        rates = best_rates()
        lines += header(arguments.rounds, rates)
        print("\n".join(lines), flush=True)
        for task_id in arguments.tasks.split(","):
            lines += task_rows(TASKS[task_id], arguments.rounds, rates)
    if not arguments.no_accuracy:
        lines += ["", "| task | data | ours after 10 epochs | usual loop | difference |", "|---|---|---|---|---|"]
        print("\n".join(lines[-3:]), flush=True)
        for task_id in arguments.tasks.split(","):
            lines.append(accuracy_row(TASKS[task_id]))
            print(lines[-1], flush=True)
    if arguments.write:
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n\n")


def header(rounds: int, rates: tuple[float, float]) -> list[str]:
    now = dt.datetime.now(dt.UTC).date().isoformat()
    kernels = kernels_name(NATIVE)
    return [
        f"### Epoch time, {now}",
        "",
        (
            f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, kernels {kernels}, Python "
            f"{platform.python_version()}, torch {torch.__version__}. Best rates of torch in this run: matrix product "
            f"{rates[0]:.0f} GFLOP/s, convolution {rates[1]:.0f} GFLOP/s (fp32). n = {rounds} interleaved rounds after "
            "one to warm up; median [min, max]."
        ),
        "",
        (
            "| task | augmentation | native, s | torch, s | ratio | usual loop, s | ratio | GFLOP "
            "| share of best matmul | of best conv |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]


def task_rows(task: Task, rounds: int, rates: tuple[float, float]) -> list[str]:
    rows = []
    arrays, _ = task_images(task)
    work = epoch_gflop(task, arrays)
    for augment in (False, True) if arrays.augmentation in AUGMENTED else (False,):
        timing = time_epochs(task, arrays, augment, rounds)
        rate = work / statistics.median(timing.native)
        ratios = [timing.times_faster_than(others) for others in (timing.torch, timing.usual)]
        rows.append(
            f"| {task.id} | {'on' if augment else 'off'} | {spread(timing.native, 3)} | {spread(timing.torch, 3)} "
            f"| {spread(ratios[0], 2)} | {spread(timing.usual, 3)} | {spread(ratios[1], 1)} "
            f"| {work:.1f} | {rate / rates[0]:.0%} | {rate / rates[1]:.0%} |"
        )
        print(rows[-1], flush=True)
    return rows


def time_epochs(task: Task, arrays: Examples, augment: bool, rounds: int) -> Timing:
    """Time the three in turn: one round to warm up, then `rounds`."""
    state = initial_state(FreshState(task.network.name, task.seed))
    config = TrainingConfig(batch_size=BATCH_SIZE, augmentation=augment, augmentation_strength=1.0)
    usual = UsualLoop(state, arrays, augment)
    ours = [TensorData(arrays, kernels=kernels) for kernels in (NATIVE, None)]
    runs: list[Callable[[], object]] = [partial(advance, state, config, PLAN, data) for data in ours]
    timing = Timing([], [], [])
    for number in range(rounds + 1):
        for run, seconds in zip([*runs, usual.epoch], (timing.native, timing.torch, timing.usual), strict=True):
            time.sleep(PAUSE_S)
            began = time.perf_counter()
            run()
            if number:
                seconds.append(time.perf_counter() - began)
    return timing


def accuracy_row(task: Task, epochs: int = 10, seeds: int = 3) -> str:
    """Validation accuracy of both loops after some epochs, with augmentation if the usual loop has it, mean over seeds.

    The rate is annealed to zero: at a constant rate single epochs scatter by more than a point.
    """
    arrays, source = task_images(task)
    tensors = TensorData(arrays, kernels=NATIVE)
    augment = arrays.augmentation in AUGMENTED
    config = TrainingConfig(batch_size=BATCH_SIZE, augmentation=augment, augmentation_strength=1.0)
    ours, theirs = [], []
    for seed in range(seeds):
        torch.manual_seed(seed)
        start = initial_state(FreshState(task.network.name, seed))
        plan = LearningRatePlan(LrSchedule.COSINE, config.learning_rate, 0, epochs)
        _, metrics = advance(start, config, plan, tensors, epochs)
        usual = UsualLoop(start, arrays, augment=augment, anneal_epochs=epochs)
        accuracies = [usual.epoch() for _ in range(epochs)]
        ours.append(metrics[-1].val_accuracy)
        theirs.append(accuracies[-1])
    difference = statistics.mean(ours) - statistics.mean(theirs)
    figures = [f"{statistics.mean(a):.4f} ± {statistics.stdev(a):.4f}" for a in (ours, theirs)]
    return f"| {task.id} | {source} | {figures[0]} | {figures[1]} | {difference:+.4f} |"


def epoch_gflop(task: Task, arrays: Examples) -> float:
    """Floating-point operations of our epoch: training, and evaluating two validation-sized sets."""
    tensors = TensorData(arrays)
    network = build_network(task.network, initial_state(FreshState(task.network.name, 0)).weights)
    batch = tensors.train_inputs[:BATCH_SIZE]
    with FlopCounterMode(display=False) as training:
        network(batch).sum().backward()
    with FlopCounterMode(display=False) as evaluation, torch.no_grad():
        network(batch)
    evaluated = tensors.train_sample + len(tensors.validation_labels)
    flop = training.get_total_flops() * len(tensors.train_labels) + evaluation.get_total_flops() * evaluated
    return flop / BATCH_SIZE / 1e9


def best_rates() -> tuple[float, float]:
    """The best GFLOP/s of a matrix product and of a convolution, over some sizes, in this process."""

    def best(work_gflop: float, run: Callable[[], object]) -> float:
        for _ in range(3):
            run()
        shortest = float("inf")
        for _ in range(10):
            began = time.perf_counter()
            run()
            shortest = min(shortest, time.perf_counter() - began)
        return work_gflop / shortest

    products = []
    for size in (512, 1024, 2048):
        left, right = torch.randn(size, size), torch.randn(size, size)
        products.append(best(2 * size**3 / 1e9, lambda a=left, b=right: a @ b))  # type: ignore[misc]
    convolutions = []
    for channels, side in ((64, 16), (128, 16), (128, 32)):
        images = torch.randn(64, channels, side, side).contiguous(memory_format=torch.channels_last)
        layer = torch.nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)
        with torch.no_grad():
            work = 2 * 64 * channels * channels * 9 * side**2 / 1e9
            convolutions.append(best(work, lambda m=layer, x=images: m(x)))  # type: ignore[misc]
    return max(products), max(convolutions)


if __name__ == "__main__":
    main()
