"""Measures the fastest evaluation batch on this machine and writes it as a setting.

    ml-trainer-measure               # about 40 seconds, on an idle machine
    ml-trainer-measure --dry-run     # writes nothing

A larger batch is chosen only if it is clearly faster. The setting is in the folder of `ML_TRAINER_STATE_DIR`, and the
server reads it when it starts. Results depend on it: after a change, epochs are trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from ml_trainer_env.command_line import CommandParser, run_command

__all__ = ["BATCHES", "Round", "choose_batch", "main"]

BATCHES = (64, 128, 256, 512)
"""Batches to measure, in examples. The first is the baseline."""

CLEAR_GAIN = 1.05
"""A batch is clearly faster if it is this many times as fast in three quarters of the rounds."""

WORST_LOSS = 0.97
"""Smallest allowed ratio of speeds of any network, in the median round."""

LIMIT_S = 40.0
ROUNDS = 25

Round = dict[str, dict[int, float]]
"""Seconds of one round, by network and batch."""

_TIMER = "ml_trainer_env.server.commands.evaluation_times"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit status."""
    options = _parser().parse_args(arguments)
    return run_command("ml-trainer-measure", lambda: _run(options))


def choose_batch(rounds: Sequence[Round]) -> int:
    """Choose the evaluation batch.

    The gain of a batch in a round is its speedup over the first batch, as the geometric mean over the networks. A batch
    qualifies if the lower quartile of its gains is at least `CLEAR_GAIN`, and the median speedup of each network at
    least `WORST_LOSS`. The qualifying batch with the largest median gain is chosen.

    Args:
        rounds: At least two rounds.
    """
    best, best_gain = BATCHES[0], 0.0
    for batch in BATCHES[1:]:
        gains = [statistics.geometric_mean(_speedups(times, batch).values()) for times in rounds]
        worst = min(statistics.median(_speedups(times, batch)[name] for times in rounds) for name in rounds[0])
        clear = statistics.quantiles(gains, n=4, method="inclusive")[0] >= CLEAR_GAIN and worst >= WORST_LOSS
        if clear and statistics.median(gains) > best_gain:
            best, best_gain = batch, statistics.median(gains)
    return best


def _speedups(times: Round, batch: int) -> dict[str, float]:
    """Return the speedup of a batch over the first, by network."""
    return {name: seconds[BATCHES[0]] / seconds[batch] for name, seconds in times.items()}


def _run(options: argparse.Namespace) -> int:
    from importlib.metadata import version

    from ml_trainer_env.server.settings import Settings
    from ml_trainer_env.server.store.folder import state_folder
    from ml_trainer_env.server.store.measured import write_measured

    settings = Settings.from_environment(os.environ)
    rounds: list[Round] = []
    for times in _time_rounds(settings.torch_threads, options.seconds, options.rounds):
        rounds.append(times)
        print(f"\rround {len(rounds)} of {options.rounds} at most", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    _show(rounds)
    batch = choose_batch(rounds)
    print(f"{len(rounds)} rounds, {settings.torch_threads} torch threads. Evaluation batch: {batch}.")
    if options.dry_run:
        return 0
    facts = {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "torch": version("torch"),
        "torch_threads": settings.torch_threads,
        "rounds": len(rounds),
    }
    path = write_measured(state_folder(settings.state_dir), batch, facts)
    print(f"Written to {path}. Servers use it from their next start, unless ML_TRAINER_EVALUATION_BATCH is set.")
    return 0


def _time_rounds(torch_threads: int, limit_s: float, rounds: int) -> Iterator[Round]:
    """Yield the rounds. A process with the threads of a worker times them."""
    words = [sys.executable, "-m", _TIMER, str(torch_threads), str(limit_s), str(rounds), *map(str, BATCHES)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch_threads), "OMP_WAIT_POLICY": "passive"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield {name: {int(b): s for b, s in row.items()} for name, row in json.loads(line).items()}
    if process.returncode != 0:
        raise OSError(f"the measurement ended with exit status {process.returncode}")


def _show(rounds: Sequence[Round]) -> None:
    print("ms to evaluate 2,000 examples, median [min, max]; in brackets the speedup over the first batch")
    for name in rounds[0]:
        for batch in BATCHES:
            seconds = [times[name][batch] * 1000 for times in rounds]
            ratio = statistics.median(_speedups(times, batch)[name] for times in rounds)
            spread = f"{statistics.median(seconds):8.1f} [{min(seconds):.1f}, {max(seconds):.1f}]"
            print(f"{name:>15} {batch:4d} {spread:>28}  ({ratio:.2f})")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="ml-trainer-measure",
        description="Measure the fastest evaluation batch on this machine and write it as a setting.",
    )
    parser.add_version()
    parser.add_argument("--seconds", type=_seconds, default=LIMIT_S, help="time limit (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=_rounds, default=ROUNDS, help="largest number of rounds (default: %(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the choice and write nothing")
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 3600:
        raise argparse.ArgumentTypeError(f"the time limit is a number of seconds from 0 to 3600, not {text}")
    return value


def _rounds(text: str) -> int:
    value = int(text)
    if not 2 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"the number of rounds is 2 to 1000, not {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
