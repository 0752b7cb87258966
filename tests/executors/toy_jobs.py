"""A counter as an engine: job functions without tensors."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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


def probe(_options: Mapping[str, int | str]) -> str:
    return "counts"


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
