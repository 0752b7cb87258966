"""The programs that learn in the Gymnasium environments, for the tests of both."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

LEARNING = Path(__file__).resolve().parents[2] / "benchmarks/learning"


@pytest.fixture(scope="module")
def learning() -> Any:
    """The modules of `benchmarks/learning`."""
    sys.path.insert(0, str(LEARNING))
    try:
        import fleet_episodes
        import fleet_teacher
        import policy
    finally:
        del sys.path[0]
    return SimpleNamespace(episodes=fleet_episodes, teacher=fleet_teacher, policy=policy)
