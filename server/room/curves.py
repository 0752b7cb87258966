"""The picture of a tuning episode: loss and accuracy by epoch as a PNG. It takes about 0.2 s, so call it in a thread.

Training is a dashed line with hollow dots. Validation is a solid line with filled dots. A figure that is not finite is
a gap.
"""

import io
import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml_trainer_env.server.room.picture import Picture
from ml_trainer_env.server.tuning.episode import TuningEpisode
from ml_trainer_env.server.tuning.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CURVES", "curves_png"]

_INCHES, _DPI = (9.0, 3.6), 110
_TRAIN, _VALIDATION, _MARK = "#b45309", "#1d4ed8", "#6b7280"

_DOTS_UP_TO = 40
"""Largest number of epochs that are drawn with dots."""

_LOG_AXIS_LOSS = 10.0
"""With a validation loss above this, the axis is logarithmic. Untrained networks have a loss of 2.3."""

_lock = threading.Lock()
"""Matplotlib's fonts are not thread-safe."""


def curves_png(history: History, budget_epochs: int, title: str) -> bytes:
    """Draw the curves of a run.

    Args:
        history: The epochs so far. It may be empty.
        budget_epochs: The budget, in epochs. It is the width of the axes.
        title: The title of the picture.

    Returns:
        The PNG, 990 x 396 pixels.
    """
    # A late import: Matplotlib needs half a second and 30 MB, and most servers never draw.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metrics = [record.metrics for record in history.records]
    with _lock:
        figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
        figure.suptitle(title, fontsize=11)
        loss, accuracy = figure.subplots(1, 2)
        _draw(loss, "loss (nats)", [m.train_loss for m in metrics], [m.val_loss for m in metrics])
        _draw(accuracy, "accuracy", [m.train_accuracy for m in metrics], [m.val_accuracy for m in metrics])
        if any(math.isfinite(m.val_loss) and m.val_loss > _LOG_AXIS_LOSS for m in metrics):
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


def _draw_episode(episode: TuningEpisode) -> bytes:
    budget = episode.task.budget_epochs
    return curves_png(episode.history, budget, f"{episode.task.name}: epoch {episode.history.epochs} of {budget}")


CURVES = Picture(
    name="plot_training_curves",
    title="Training curves",
    description=(
        "Draw loss and accuracy by epoch, training and validation, as a PNG. Costs no epochs, like get_training_status."
    ),
    beside="get_training_status",
    draw=_draw_episode,
)
"""The picture of tuning episodes."""
