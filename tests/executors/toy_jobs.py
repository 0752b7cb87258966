"""A counter as an engine: job functions without tensors."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ml_trainer_env.server.trainer.arrays import Outcome, State


@dataclass(frozen=True)
class Steps:
    """How far a unit counts."""

    key: str
    nbytes: int = 8
    parts: tuple[()] = ()


def prepare(data: Steps, options: Mapping[str, int | str]) -> int:
    return int(data.key) * int(options.get("factor", 1))


def probe(_options: Mapping[str, int | str]) -> Mapping[str, str]:
    return {"probe": "counts"}


def failing_probe(_options: Mapping[str, int | str]) -> Mapping[str, str]:
    raise ValueError("these kernels cannot be used")


def count(state: State, settings: Any, step: int, _interrupted: Callable[[], bool]) -> Outcome:
    value = int(state.arrays["value"]) if state.arrays else int(state.facts["start"])
    after = value + step
    return Outcome(State({"value": np.array(after)}, {}), {"value": after}, lambda: f"{after:x}", after >= settings)


@dataclass(frozen=True)
class Gate:
    """Holds units back, where they run in a thread of this process.

    Attributes:
        begun: Set once a unit waits.
        opens: Set to let units go on.
    """

    begun: threading.Event = field(default_factory=threading.Event)
    opens: threading.Event = field(default_factory=threading.Event)


def count_behind_a_gate(state: State, gate: Gate, step: int, interrupted: Callable[[], bool]) -> Outcome:
    gate.begun.set()
    gate.opens.wait()
    return count(state, 99, step, interrupted)


@dataclass(frozen=True)
class FileGate:
    """Holds units back in any process, from the second value on.

    Attributes:
        path: A file. Units go on once it exists.
    """

    path: Path


def count_behind_a_file(state: State, gate: FileGate, step: int, interrupted: Callable[[], bool]) -> Outcome:
    while state.arrays and not gate.path.exists():
        time.sleep(0.005)
    return count(state, 99, step, interrupted)


def allocate(state: State, megabytes: int, step: int, _interrupted: Callable[[], bool]) -> Outcome:
    """Allocate memory, and count one step."""
    return count(state, len(bytearray(megabytes << 20)), step, _interrupted)
