"""The claim that logical ranks are ranks: processes that reduce in rank order come to the same bits."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml_trainer_env.server.datasets.bundled import read_bundled
from ml_trainer_env.server.trainer.fleet.engine import first_state, take_step
from ml_trainer_env.server.trainer.fleet.settings import Cluster, StepSettings
from ml_trainer_env.server.trainer.fleet.state import FleetState, FreshFleet, state_hash
from ml_trainer_env.server.trainer.fleet.text import Text

PROGRAM = Path(__file__).parent / "real_ranks.py"
STEPS = 40
SEED = 11

pytestmark = pytest.mark.slow


def processes(ranks: int, reduction: str, steps: int = STEPS, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(PROGRAM), str(ranks), reduction, str(steps), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def logical(ranks: int) -> tuple[FleetState, list[float]]:
    text, losses = Text.of(read_bundled("speeches.npz")), []
    state = first_state(FreshFleet(SEED))
    for _ in range(STEPS):
        step = take_step(state, StepSettings(cluster=Cluster(nodes=tuple(range(ranks)))), text)
        assert step.loss is not None
        state, losses = step.state, [*losses, step.loss]
    return replace(state, clock_us=0), losses


@pytest.mark.parametrize("ranks", [4, 8])
def test_processes_that_reduce_in_order_come_to_the_same_bits(ranks: int) -> None:
    state, _ = logical(ranks)

    assert processes(ranks, "ordered")["hashes"] == [state_hash(state)] * ranks


@pytest.mark.parametrize("ranks", [4, 8])
def test_gloo_comes_to_the_same_losses_within_a_ten_thousandth(ranks: int) -> None:
    _, losses = logical(ranks)

    found = processes(ranks, "gloo")

    assert found["losses"] == pytest.approx(losses, abs=1e-4)
    assert len(set(found["hashes"])) == 1


def test_a_step_takes_as_long_as_its_slowest_rank() -> None:
    assert processes(4, "ordered", 5, "2")["step_s"] >= 0.3
