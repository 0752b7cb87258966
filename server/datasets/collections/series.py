"""The collections of sequences that are drawn: control charts, and the outlines of letters.

Nothing here is random from one call to the next: the seeds are constants, so a collection never changes.
"""

from collections.abc import Callable, Mapping

import numpy as np

from ml_trainer_env.server.datasets.bundled import read_bundled
from ml_trainer_env.server.datasets.collections.corruption import draw_gaussian
from ml_trainer_env.server.datasets.collections.values import Pool
from ml_trainer_env.server.datasets.random_stream import Floats, RandomStream

__all__ = ["CHARTS", "CHART_LENGTH", "OUTLINED", "SERIES"]

CHARTS = ("steady", "rising", "falling", "step up", "step down", "wave", "sawtooth", "bump")
"""Patterns of `control_charts`, in the order of its labels."""

CHART_LENGTH = 48

OUTLINED = "23456789ABCDEFGHJKLMNOPQRSTUVWXYZ"
"""Characters of `outlines`, in the order of its labels."""

_OUTLINES_FILE = "outlines.npz"

_CHARTS_PER_CLASS = 500
_CHART_SEED = 40_000
_OUTLINE_VIEWS = 6  # warped copies of each glyph's outline
_OUTLINE_SEED = 50_000


def _make_charts() -> Pool:
    """Return noisy patterns, after the control charts of Alcock and Manolopoulos (1999), with two patterns more."""
    stream = RandomStream(_CHART_SEED)
    inputs = np.concatenate([_draw_charts(pattern, _CHARTS_PER_CLASS, stream) for pattern in CHARTS])
    return Pool(inputs[..., None], np.repeat(np.arange(len(CHARTS)), _CHARTS_PER_CLASS))


def _draw_charts(pattern: str, count: int, stream: RandomStream) -> Floats:
    """Return float32 (count, CHART_LENGTH) of one pattern under Gaussian noise of deviation 1."""
    time = np.arange(CHART_LENGTH, dtype=np.float32)[None]
    share = time / np.float32(CHART_LENGTH)
    size = stream.between(1.0, 3.5, count, 1)
    start = stream.between(0.25, 0.75, count, 1)
    phase = time / stream.between(6, 16, count, 1) + stream.floats(count, 1)
    turn = phase - np.floor(phase)
    match pattern:
        case "rising" | "falling":
            shape = (share - np.float32(0.5)) * size
        case "step up" | "step down":
            shape = ((share > start) - np.float32(0.5)) * size
        case "wave":
            shape = (np.abs(turn - np.float32(0.5)) * 4 - 1) * size / 2
        case "sawtooth":
            shape = (turn * 2 - 1) * size / 2
        case "bump":
            shape = np.maximum(1 - np.abs(share - start) * 8, 0) * size
        case _:
            shape = np.zeros((count, CHART_LENGTH), np.float32)
    sign = np.float32(-1 if pattern in ("falling", "step down") else 1)
    charts: Floats = (shape * sign + draw_gaussian(stream, (count, CHART_LENGTH))).astype(np.float32)
    return charts


def _make_outlines() -> Pool:
    """Return the outlines of letters, each in several views: turned, sheared and stretched."""
    arrays = read_bundled(_OUTLINES_FILE)
    points = np.repeat(arrays["points"].astype(np.float32) / np.float32(64), _OUTLINE_VIEWS, axis=0)
    stream = RandomStream(_OUTLINE_SEED)
    count = len(points)
    across, along = 1 + stream.between(-0.25, 0.25, 2, count, 1)
    shear, turn = stream.between(-0.25, 0.25, 2, count, 1)
    x, y = points[..., 0] * across, points[..., 1] * along
    inputs = np.stack([x + shear * y, y + turn * x], axis=-1) + draw_gaussian(stream, points.shape) * np.float32(0.02)
    labels = np.repeat(arrays["labels"].astype(np.int64), _OUTLINE_VIEWS)
    return Pool(inputs.astype(np.float32), labels, np.repeat(arrays["in_test"], _OUTLINE_VIEWS))


SERIES: Mapping[str, Callable[[], Pool]] = {"control_charts": _make_charts, "outlines": _make_outlines}
"""How each of these collections is made."""
