"""Draws an episode's learning curves as a PNG. Uses its own canvas: no display, no global state."""

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ml_trainer_env.baselines.episode import EpisodeResult, EpochPoint
from ml_trainer_env.baselines.report import CHANGES

__all__ = ["curves_png"]

_INK = "#7d8590"
"""Colour of text and axes. The background is transparent, and this grey is readable on white and on black."""
_TRAIN = "#d9822b"
_VAL = "#3b82f6"
_MARK = "#2e9e5b"


def curves_png(result: EpisodeResult) -> bytes:
    """Draw loss and accuracy by epoch.

    Dotted lines mark epochs after which a setting was changed. A dashed line marks the target.
    """
    figure = Figure(figsize=(9.0, 3.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0.0)
    loss, accuracy = figure.subplots(1, 2)
    _draw(loss, result.curve, "loss")
    _draw(accuracy, result.curve, "accuracy")
    if result.best_val_accuracy is not None and result.best_val_epoch:
        accuracy.plot([result.best_val_epoch], [result.best_val_accuracy], "o", color=_MARK, label="best")
    if "accuracy" in result.target_metric:
        accuracy.axhline(result.target_value, color=_MARK, linestyle="--", linewidth=1, label="target")
    for axes, title in ((loss, "Loss"), (accuracy, "Accuracy")):
        _mark_changes(axes, result)
        _style_axes(axes, title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw(axes: Axes, curve: Sequence[EpochPoint], what: str) -> None:
    epochs = [point.epoch for point in curve]
    for part, colour in (("train", _TRAIN), ("val", _VAL)):
        values = [_number(getattr(point, f"{part}_{what}")) for point in curve]
        axes.plot(epochs, values, color=colour, linewidth=1.6, label=part)


def _number(value: float | None) -> float:
    """Convert a missing value to NaN, which leaves a gap in the line."""
    return float("nan") if value is None else value


def _mark_changes(axes: Axes, result: EpisodeResult) -> None:
    changes = {call.epoch for call in result.calls if call.name in CHANGES and not call.refused and call.epoch}
    for epoch in changes:
        axes.axvline(epoch + 0.5, color=_INK, linestyle=":", linewidth=1)


def _style_axes(axes: Axes, title: str) -> None:
    axes.set_title(title, color=_INK, fontsize=11)
    axes.set_xlabel("epoch", color=_INK)
    axes.patch.set_alpha(0.0)
    axes.grid(visible=True, color=_INK, alpha=0.2)
    axes.tick_params(colors=_INK)
    for spine in axes.spines.values():
        spine.set_color(_INK)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, labelcolor=_INK, fontsize=9)
