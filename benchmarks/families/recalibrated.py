"""References of calibrated tasks, measured again with the kernels of this machine.

    python benchmarks/families/recalibrated.py [--tasks 24] [--split validation] [--processes 2]

Tables of references were made with other kernels, and on other processors. For tasks that are spread over a split, the
default and the oracle's calls are played again with the three seeds of their calibration. The differences of the means
are compared with the standard deviation of a repeat: two means of three independent repeats differ by 0.82 of it (root
mean square), with equal kernels by nothing.
"""

import argparse
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import ml_trainer_env
from ml_trainer_env.calibration.candidates import Candidate, accepted, read
from ml_trainer_env.server.trainer.kernels import chosen_kernels, kernels_name
from ml_trainer_env.server.trainer.kinds import Kernels

RECORD = Path(ml_trainer_env.__file__).parent / "calibration" / "record"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=24)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    candidates = accepted(read(RECORD / f"{given.split}.jsonl"))
    chosen = candidates[:: max(1, len(candidates) // given.tasks)][: given.tasks]
    print("| draw | default: table | now | oracle: table | now | difference of defaults | of oracles |")
    print("|---|---|---|---|---|---|---|")
    differences = []
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        for candidate, (default, oracle) in zip(chosen, pool.map(measured_again, chosen), strict=True):
            found = [shift(default, candidate.default, candidate), shift(oracle, candidate.oracle, candidate)]
            differences.append(found)
            cells = [figures(candidate.default), figures(default), figures(candidate.oracle), figures(oracle)]
            print(f"| {candidate.number} | {' | '.join(cells)} | {found[0]:+.2f} | {found[1]:+.2f} |", flush=True)
    kernels = kernels_name(chosen_kernels(Kernels.AUTO))
    print(f"\nKernels {kernels}, n = {len(differences)}. Differences in standard deviations of a repeat:")
    for name, values in zip(("default", "oracle"), zip(*differences, strict=True), strict=True):
        root = statistics.fmean(value**2 for value in values) ** 0.5
        largest = max(map(abs, values))
        print(f"{name}: mean {statistics.fmean(values):+.3f}, root mean square {root:.3f}, largest {largest:.2f}")


def measured_again(candidate: Candidate) -> tuple[list[float], list[float]]:
    """Return `m` of the default and of the oracle's calls by seed."""
    # Late imports: they start the trainer, which belongs into the worker's process.
    from ml_trainer_env.calibration.instances import SEEDS, RecordedCalls, play_trial
    from ml_trainer_env.calibration.portfolio import DEFAULT, UNTOUCHED
    from ml_trainer_env.in_process.training import trainer_of_process
    from ml_trainer_env.server.datasets import draw_examples
    from ml_trainer_env.server.tuning.families.tasks import task_of

    opened, instance = trainer_of_process(), candidate.instance
    examples, task = draw_examples(instance.examples), task_of(instance, "train", 0)

    def by_seed(agent: object) -> list[float]:
        seeds = (0, *SEEDS)
        return [play_trial(agent, opened, task, examples, instance.metric, seed).value for seed in seeds]  # type: ignore[arg-type]

    idle = [DEFAULT, UNTOUCHED] if task.start else [DEFAULT]
    default = max((by_seed(agent) for agent in idle), key=statistics.fmean)
    return default, by_seed(RecordedCalls("oracle", candidate.oracle_calls))


def shift(now: Sequence[float], before: Sequence[float], candidate: Candidate) -> float:
    """Return the difference of the means, in standard deviations of a repeat."""
    assert candidate.reference is not None
    return (statistics.fmean(now) - statistics.fmean(before)) / candidate.reference.deviation


def figures(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    main()
