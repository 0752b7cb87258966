"""The committed record of calibration, checked against training: what it says is what this machine finds."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import pytest

from ml_trainer_env.calibration.candidates import Candidate, accepted, read
from ml_trainer_env.calibration.instances import RecordedCalls, play_trial
from ml_trainer_env.in_process.training import Trainer
from ml_trainer_env.server.datasets import draw_examples
from ml_trainer_env.server.tuning.families.draw import FAMILY_SPLITS, draw_instance, split_of
from ml_trainer_env.server.tuning.families.tasks import task_of

RECORD = Path(__file__).resolve().parents[2] / "calibration" / "record"

CHECKED = 12
"""Number of instances that are trained again."""

DRAWN = 40
"""Number of instances of each split that are drawn again."""

TOLERANCE = 2.0
"""On a machine whose kernels round otherwise, half of the figures differ by at most so many standard deviations of a
repeat."""

LEAST_DEVIATION = 0.01
"""Standard deviations of three repeats can be smaller by chance."""


@pytest.fixture(scope="module")
def recorded() -> list[Candidate]:
    """The accepted candidates of all splits."""
    return [one for split in FAMILY_SPLITS for one in accepted(read(RECORD / f"{split}.jsonl"))]


def test_recorded_instances_are_of_their_splits_and_unlike() -> None:
    seen: set[str] = set()
    for split in FAMILY_SPLITS:
        candidates = accepted(read(RECORD / f"{split}.jsonl"))
        assert {split_of(one.instance) for one in candidates} <= {split}
        checksums = {one.checksum for one in candidates}
        assert len(checksums) == len(candidates)
        assert not seen & checksums
        seen |= checksums


def test_recorded_instances_are_those_that_are_drawn() -> None:
    for split in FAMILY_SPLITS:
        for one in read(RECORD / f"{split}.jsonl")[:DRAWN]:
            assert draw_instance(split, one.number) == one.instance


def test_recorded_references_have_headroom(recorded: Sequence[Candidate]) -> None:
    assert recorded
    for one in recorded:
        assert one.reference is not None
        assert one.reference.oracle - one.reference.default >= max(0.03, 4 * one.reference.deviation) - 1e-5


@pytest.mark.slow
def test_recorded_oracles_can_be_repeated(recorded: Sequence[Candidate], trainer_here: Trainer) -> None:
    chosen = recorded[:: max(1, len(recorded) // CHECKED)][:CHECKED]
    assert len(chosen) == CHECKED
    differences = []
    for one in chosen:
        assert one.reference is not None
        examples = draw_examples(one.instance.examples)
        assert examples.checksum == one.checksum

        task, calls = task_of(one.instance, "train", 0), RecordedCalls("oracle", one.oracle_calls)
        found = play_trial(calls, trainer_here, task, examples, one.instance.metric)

        if trainer_here.identity.key == one.identity:
            assert found.value == pytest.approx(one.reference.oracle, abs=1e-6)
        deviation = max(LEAST_DEVIATION, one.reference.deviation)
        differences.append(abs(found.value - one.reference.oracle) / deviation)
    assert statistics.median(differences) <= TOLERANCE
