"""Calibrates the tasks of the family: `ml-trainer-calibrate`.

It can be stopped at any time and goes on where it was. Each candidate is a line in the record, so nothing is measured
twice. `--write` makes the tables from the record.
"""

import argparse
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from ml_trainer_env.calibration.candidates import Candidate, accepted, append, candidate_of, read
from ml_trainer_env.calibration.tables import tier_bounds, write_oracles, write_table
from ml_trainer_env.server.datasets import DataSettings, ImageRequest, load_images
from ml_trainer_env.server.tuning.families.draw import FAMILY_SPLITS, draw_instance
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.named_references import NamedReference, named_reference_to_json
from ml_trainer_env.server.tuning.named_tasks import TASKS
from ml_trainer_env.server.tuning.reference import Metric

__all__ = ["main"]

COUNTS = {"train": 512, "validation": 128, "test": 128}
"""Number of tasks by split. A table may grow: its first rows stay as they are."""

_TIERS_OF = "validation"
"""The split that cuts the tiers."""

_ROOT = Path(__file__).resolve().parents[1]
_RECORD = _ROOT / "calibration" / "record"
_TABLES = _ROOT / "server" / "tuning" / "families" / "tables"
NAMED_REFERENCES = _ROOT / "server" / "tuning" / "families" / "tables" / "named.jsonl"
_ORACLES = _ROOT / "validation" / "oracles" / "tuning"
_CALIBRATED_NAMES = tuple(name for name, task in TASKS.items() if RubricVersion.V3 in task.rubrics)
"""The named tasks that rubric v3 can grade."""

_EXPECTED_SHARE, _EXPECTED_S = 0.17, 7.0
"""Assumed share of accepted candidates, and CPU seconds of a candidate, before any is measured."""

_LOG = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if given.write:
        write(given.record)
        return 0
    if given.named:
        for task_id in given.named:
            calibrate_named(task_id, given.record / "named.jsonl", given.data_dir)
        return 0
    deadline = time.monotonic() + given.minutes * 60 if given.minutes else float("inf")
    for split in given.split or FAMILY_SPLITS:
        calibrate_split(split, given.count or COUNTS[split], given.record, given.processes, deadline)
    return 0


def calibrate_split(split: str, count: int, record: Path, processes: int, deadline: float = float("inf")) -> None:
    """Measure candidates of a split until `count` are accepted, or until the deadline.

    Args:
        split: The split.
        count: Number of accepted candidates.
        record: Folder of the record.
        processes: Number of processes.
        deadline: No candidate begins after this, in seconds of the monotonic clock.
    """
    file = record / f"{split}.jsonl"
    known = {one.number: one for one in read(file)}
    began, measured = time.monotonic(), 0
    _LOG.info("%s: %d candidates are known, %d accepted", split, len(known), len(_accepted(known)))
    with ProcessPoolExecutor(processes, get_context("spawn"), _end_with_parent, (os.getpid(),)) as pool:
        for one in pool.map(_with_difficulty, [one for one in _accepted(known) if not one.heuristic]):
            known[one.number] = one
            append(file, one)
        pending: dict[Future[Candidate], int] = {}
        following = 0
        while len(_accepted(known)) < count:
            while len(pending) < processes and time.monotonic() < deadline:
                while following in known or following in pending.values():
                    following += 1
                pending[pool.submit(_measure, split, following)] = following
            if not pending:
                break
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                number = pending.pop(future)
                known[number] = future.result()
                append(file, known[number])
                measured += 1
                _LOG.info("%s", _progress(split, known, count, (time.monotonic() - began) / measured))
        for future in pending:
            future.cancel()


def calibrate_named(task_id: str, file: Path, data_dir: Path | None) -> None:
    """Measure the references of a named task for the images that are there, and append them to the record.

    One recipe may solve it, as one does: named tasks are to begin with, and the family is to compare agents.
    """
    from ml_trainer_env.calibration.instances import calibrate_task
    from ml_trainer_env.in_process.training import trainer_of_process

    task, opened = TASKS[task_id], trainer_of_process()
    assert isinstance(task.examples, ImageRequest)
    examples = load_images(task.examples, DataSettings(data_dir))
    measured = calibrate_task(task, examples, Metric.ACCURACY, opened, is_named=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    if measured.reference is None:
        _LOG.info("%s: rejected, default %s, oracle %s", task_id, measured.default, measured.oracle)
        return
    found = NamedReference(task_id, examples.checksum, measured.reference, opened.identity.key)
    with file.open("a") as lines:
        lines.write(named_reference_to_json(found) + "\n")
    _LOG.info("%s: %s", task_id, found)


def write(record: Path) -> None:
    """Make the tables and the oracles' files from the record. A split that is not complete gets neither.

    A split is complete when the difficulty of its tasks is measured, too. The tiers are cut by the validation split
    alone, so that those of other splits do not move them.
    """
    found = {split: accepted(read(record / f"{split}.jsonl"))[: COUNTS[split]] for split in FAMILY_SPLITS}
    bounds = tier_bounds([one for one in found[_TIERS_OF] if one.heuristic])
    for split, candidates in found.items():
        measured = sum(bool(one.heuristic) for one in candidates)
        if measured < COUNTS[split]:
            _LOG.info("%s: no table, since %d of %d tasks are accepted and measured", split, measured, COUNTS[split])
            continue
        write_table(_TABLES / f"{split}.jsonl", candidates, bounds)
        write_oracles(_ORACLES / f"{split}.jsonl", split, candidates)
        _LOG.info("%s: %d tasks", split, len(candidates))
    if (named := record / "named.jsonl").exists():
        NAMED_REFERENCES.write_text(named.read_text())


def _measure(split: str, number: int) -> Candidate:
    """Measure a candidate in a process of its own. One thread each, so that all processors are used."""
    from ml_trainer_env.calibration.instances import calibrate
    from ml_trainer_env.in_process.training import trainer_of_process

    instance, opened = draw_instance(split, number), trainer_of_process()
    return candidate_of(number, instance, calibrate(instance, opened), opened.identity.key)


def _with_difficulty(candidate: Candidate) -> Candidate:
    """Measure the difficulty of a candidate that was accepted before difficulty was measured with several seeds."""
    from ml_trainer_env.calibration.instances import measure_difficulty
    from ml_trainer_env.in_process.training import trainer_of_process

    return replace(candidate, heuristic=measure_difficulty(candidate.instance, trainer_of_process()))


def _end_with_parent(parent: int) -> None:
    """End this process soon after its parent, which may be killed at any time."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _accepted(known: dict[int, Candidate]) -> list[Candidate]:
    return accepted([known[number] for number in sorted(known)])


def _progress(split: str, known: dict[int, Candidate], count: int, seconds: float) -> str:
    """Return a line that says how long the rest will take, from what was measured so far."""
    have = len(_accepted(known))
    share = max(have / len(known), 0.05) if len(known) >= 10 else _EXPECTED_SHARE
    left = (count - have) / share * seconds
    return f"{split}: {have} of {count} accepted, {len(known)} measured; about {left / 60:.0f} minutes left"


def _parser() -> argparse.ArgumentParser:
    processes = os.cpu_count() or 1
    minutes = sum(COUNTS.values()) / _EXPECTED_SHARE * _EXPECTED_S / processes / 60
    parser = argparse.ArgumentParser(
        prog="ml-trainer-calibrate",
        description=(
            "Measure the references of the family's tasks. All three splits take about "
            f"{minutes / 60:.1f} hours with {processes} processes. Stop it at any time: it goes on where it was."
        ),
    )
    parser.add_argument("--split", action="append", choices=FAMILY_SPLITS, help="a split (default: all)")
    parser.add_argument("--count", type=int, help="accepted tasks of each split (default: those that are shipped)")
    parser.add_argument("--processes", type=int, default=processes, help="default: %(default)s")
    parser.add_argument("--minutes", type=float, help="begin no candidate after this many minutes")
    parser.add_argument("--record", type=Path, default=_RECORD, help="folder of the record (default: %(default)s)")
    parser.add_argument("--named", action="append", choices=_CALIBRATED_NAMES, help="a named task instead of a split")
    parser.add_argument("--data-dir", type=Path, help="folder of the full data sets, for --named")
    parser.add_argument("--write", action="store_true", help="make the tables from the record, and measure nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
