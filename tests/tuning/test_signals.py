"""The convergence signal: which word for which losses."""

import pytest

from ml_trainer_env.server.tuning.signals import ConvergenceSignal, convergence_signal

FALLING = [1.0, 0.8, 0.7, 0.6, 0.5]
RISING = FALLING[::-1]
FLAT = [0.5, 0.504, 0.5, 0.502, 0.501]


@pytest.mark.parametrize(
    ("train", "val", "signal"),
    [
        ([], [], "warming_up"),
        (FALLING[:2], FALLING[:2], "warming_up"),
        (FALLING, RISING, "overfitting"),
        (RISING, FLAT, "plateaued"),
        (FALLING, FALLING, "improving"),
        (RISING, FALLING, "improving"),
        (RISING, RISING, "stalling"),
        (FALLING, [*FLAT[:4], 0.4999], "plateaued"),
        ([2.0, *FALLING], [0.1, *FALLING], "improving"),
        (FALLING[:3], RISING[:3], "overfitting"),
    ],
)
def test_the_signal_follows_the_last_five_epochs(train: list[float], val: list[float], signal: str) -> None:
    assert convergence_signal(train, val) is ConvergenceSignal(signal)
