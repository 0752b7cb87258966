"""Loss and accuracy by epoch, drawn as a PNG. From values to bytes; takes a fifth of a second: not for the event loop.

Training is a dashed line with hollow dots, validation a solid one with filled dots: they can be told apart without
colour. A figure that is not finite is a gap.
"""

import io
import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml_trainer_env.server.tuning.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["curves_png"]

_INCHES, _DPI = (9.0, 3.6), 110
_TRAIN, _VALIDATION, _MARK = "#b45309", "#1d4ed8", "#6b7280"

_DOTS_UP_TO = 40
"""Epochs; the dots of more of them run into each other."""

_STEEP_LOSS = 10.0
"""Untrained networks have a loss of 2.3; above this one a run has diverged, and hides the rest on a linear axis."""

_one_at_a_time = threading.Lock()
"""Matplotlib's fonts are not made for several threads."""


def curves_png(history: History, budget_epochs: int, title: str) -> bytes:
    """Draw the curves of a run.

    Args:
        history: The epochs so far; may be none.
        budget_epochs: How many there may be: the width of the axes.
        title: What stands above them.
    """
    # Importing Matplotlib takes half a second and 30 MB, and most servers never draw.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metrics = [record.metrics for record in history.records]
    with _one_at_a_time:
        figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
        figure.suptitle(title, fontsize=11)
        loss, accuracy = figure.subplots(1, 2)
        _draw(loss, "loss (nats)", [m.train_loss for m in metrics], [m.val_loss for m in metrics])
        _draw(accuracy, "accuracy", [m.train_accuracy for m in metrics], [m.val_accuracy for m in metrics])
        if any(math.isfinite(m.val_loss) and m.val_loss > _STEEP_LOSS for m in metrics):
            loss.set_yscale("log")
        accuracy.set_ylim(0.0, 1.0)
        if history.best is not None:
            _mark_best(accuracy, history.best.number, history.best.metrics.val_accuracy)
        for axes in (loss, accuracy):
            axes.set_xlim(0, budget_epochs)
            if history.run_start:
                axes.axvline(history.run_start, color=_MARK, linestyle=":", linewidth=1, label="present run begins")
            if metrics:
                axes.legend(frameon=False, fontsize=8)
            else:
                axes.set_ylim(bottom=0.0)
                axes.text(0.5, 0.5, "no epoch yet", transform=axes.transAxes, ha="center", color=_MARK)
        png = io.BytesIO()
        FigureCanvasAgg(figure).print_png(png)  # type: ignore[no-untyped-call]
        return png.getvalue()


def _draw(axes: "Axes", label: str, train: Sequence[float], validation: Sequence[float]) -> None:
    epochs = range(1, len(train) + 1)
    dot = "o" if len(train) <= _DOTS_UP_TO else ""
    for figures, name, colour, line, filling in (
        (train, "train", _TRAIN, "--", "white"),
        (validation, "validation", _VALIDATION, "-", _VALIDATION),
    ):
        finite = [figure if math.isfinite(figure) else math.nan for figure in figures]
        axes.plot(
            epochs,
            finite,
            linestyle=line,
            color=colour,
            marker=dot,
            markersize=3.5,
            markerfacecolor=filling,
            linewidth=1.4,
            label=name,
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.grid(visible=True, color="#e5e7eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _mark_best(axes: "Axes", epoch: int, accuracy: float) -> None:
    axes.plot([epoch], [accuracy], linestyle="", marker="*", markersize=10, color=_MARK, label=f"best, {accuracy:.4f}")
