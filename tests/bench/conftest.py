"""Rows that are made by hand, and the plan that they are of."""

from collections.abc import Callable

import pytest

from ml_trainer_env.bench.plan import Cell, Plan
from ml_trainer_env.bench.rows import Row

MakeRow = Callable[..., Row]


@pytest.fixture
def plan() -> Plan:
    """Two agents, three tasks and two seeds."""
    tasks = tuple(f"tuning/validation/{index}" for index in range(3))
    return Plan("run", "tuning", "validation", tasks, ("nothing", "prober"), ("own", "7"), baseline="nothing")


@pytest.fixture
def make_row() -> MakeRow:
    """Makes the row of a cell; what is not given has a default."""

    def make(cell: Cell, score: float | None, **changes: object) -> Row:
        fields = {
            "agent": cell.agent,
            "task": cell.task,
            "seed": cell.seed,
            "episode_id": f"bench:run:{cell.agent}:{cell.task}:{cell.seed}:1",
            "episode_seed": 7,
            "rubric": "v3",
            "split": "validation",
            "tier": "1",
            "kinds": ("perceptron",),
            "score": score,
            "reward": 0.0,
            "seen": 0.5,
            "hidden": 0.25,
            "spent": 8.0,
            "budget": 10.0,
            "calls": 3,
            "refused": 1,
            "episodes": 1,
            "seconds": 2.0,
            "tokens": 0,
        }
        return Row(**{**fields, **changes})

    return make
