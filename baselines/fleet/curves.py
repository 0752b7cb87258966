"""Draws the training loss of an episode of the fleet over virtual time, with what happened and what was done."""

import io
import re

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ml_trainer_env.baselines.fleet.episode import FleetResult
from ml_trainer_env.baselines.fleet.moments import ACTIONS, begin_times

__all__ = ["loss_png"]

_INK = "#7d8590"
"""Colour of text and axes. The background is transparent, and this grey is readable on white and on black."""
_LOSS = "#3b82f6"
_SAVE = "#2e9e5b"
_RESTART = "#d9822b"
_FAULT = "#d1242f"
_ACTION = "#8b5cf6"


def loss_png(result: FleetResult) -> bytes:
    """Draw the training loss over virtual time.

    Ticks below the curve are checkpoints, dashed lines restarts and changed nodes, marks above it the agent's actions.
    Red lines are the truth, which the end of the episode told: when each fault began.
    """
    figure = Figure(figsize=(9.0, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0.0)
    axes = figure.subplots()
    times = [point.clock_s for point in result.curve]
    losses = [float("nan") if point.loss is None else point.loss for point in result.curve]
    axes.plot(times, losses, color=_LOSS, linewidth=1.4, label="training loss")
    axes.set_xlim(0, result.reservation_s)
    _mark_events(axes, result)
    _mark_actions(axes, result)
    _mark_faults(axes, result)
    _style(axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _mark_events(axes: Axes, result: FleetResult) -> None:
    bottom = axes.get_xaxis_transform()
    saves = [event.clock_s for event in result.events if event.text.startswith("saved checkpoint")]
    if saves:
        axes.plot(saves, [0.02] * len(saves), "|", color=_SAVE, markersize=9, transform=bottom, label="checkpoint")
    changed = [
        event.clock_s
        for event in result.events
        if re.search(r"restarted|replaced|drained|restored|exited|watchdog", event.text)
    ]
    for number, moment in enumerate(sorted(set(changed))):
        label = "restart" if number == 0 else None
        axes.axvline(moment, color=_RESTART, linestyle="--", linewidth=1, label=label)


def _mark_actions(axes: Axes, result: FleetResult) -> None:
    top = axes.get_xaxis_transform()
    acts = [call for call in result.calls if call.name in ACTIONS and not call.refused and call.clock_s is not None]
    if acts:
        axes.plot(
            [call.clock_s or 0.0 for call in acts],
            [0.95] * len(acts),
            "v",
            color=_ACTION,
            transform=top,
            label="action",
        )
    for place, call in enumerate(acts[:12]):
        detail = call.arguments.get("action") or call.arguments.get("kind") or ""
        axes.annotate(
            f"{call.name} {detail}".strip(),
            (call.clock_s or 0.0, 0.9 - 0.05 * (place % 6)),
            xycoords=top,
            color=_ACTION,
            fontsize=7,
        )


def _mark_faults(axes: Axes, result: FleetResult) -> None:
    bottom = axes.get_xaxis_transform()
    for place, (moment, kind) in enumerate(begin_times(result.faults)):
        axes.axvline(moment, color=_FAULT, linestyle=":", linewidth=1.4)
        axes.annotate(
            kind, (moment, 0.08 + 0.05 * (place % 6)), xycoords=bottom, color=_FAULT, fontsize=8, fontweight="bold"
        )


def _style(axes: Axes) -> None:
    axes.set_title("Training loss", color=_INK, fontsize=11)
    axes.set_xlabel("virtual time, s", color=_INK)
    axes.patch.set_alpha(0.0)
    axes.grid(visible=True, color=_INK, alpha=0.2)
    axes.tick_params(colors=_INK)
    for spine in axes.spines.values():
        spine.set_color(_INK)
    axes.legend(frameon=False, labelcolor=_INK, fontsize=8, loc="upper right")
