"""A tuning episode on the page at /web: its curves as inline SVG, and one-click calls."""

import html
import math
from collections.abc import Sequence
from typing import Any

from ml_trainer_env.server.tuning.episode import TuningEpisode

__all__ = ["episode_page", "one_click_actions"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 420, 200, 44, 12, 26, 28
_TRAIN, _VALIDATION = "#d97706", "#2563eb"

Curve = Sequence[float]


def episode_page(episode: TuningEpisode) -> str:
    """Return HTML with the loss and accuracy curves of an episode."""
    metrics = [record.metrics for record in episode.history.records]
    budget = episode.task.budget_epochs
    loss = _chart("loss", [m.train_loss for m in metrics], [m.val_loss for m in metrics], budget, None)
    accuracy = _chart("accuracy", [m.train_accuracy for m in metrics], [m.val_accuracy for m in metrics], budget, 1.0)
    title = f"{episode.task.name}: epoch {episode.history.epochs} of {budget}"
    source = f"{episode.task.group} ({episode.examples.source})"
    left = episode.history.left_of(episode.task.budget).seconds
    clock = "" if left is None else f" · {left:.1f} s of training left"
    score = f" · score {episode.grade.score}" if episode.grade else ""
    return (
        f'<div style="font-family:sans-serif"><strong>{html.escape(title)}</strong>'
        f"<div>{html.escape(source + clock + score)}</div>"
        f'<div style="display:flex;flex-wrap:wrap;gap:8px">{loss}{accuracy}</div></div>'
    )


def one_click_actions(episode: TuningEpisode) -> list[tuple[str, dict[str, Any]]]:
    """Return suggested calls, each with a label."""
    if episode.done:
        return []
    actions: list[tuple[str, dict[str, Any]]] = []
    if episode.history.is_diverged:
        rate = episode.config.learning_rate / 10 or episode.config.learning_rate
        calm = {"reinitialize": True, "learning_rate": rate}
        return [(f"Start again at rate {rate:g}", _tool_call("configure_training", **calm))]
    if not episode.history.epochs:
        recipe = {"optimizer": "adamw", "learning_rate": 0.002, "lr_schedule": "cosine", "augmentation": True}
        actions.append(("Configure a good start", _tool_call("configure_training", **recipe)))
    if episode.remaining_epochs:
        actions += [(f"Run {n} epochs", _tool_call("run_epochs", num_epochs=n)) for n in (1, 5, 20)]
        if half := episode.learning_rate / 2:
            actions.append(("Halve the learning rate", _tool_call("adjust_learning_rate", new_lr=half)))
    if episode.history.epochs:
        actions.append(("Submit the model", _tool_call("submit_model")))
    return actions


def _tool_call(name: str, **arguments: object) -> dict[str, Any]:
    return {"type": "call_tool", "tool_name": name, "arguments": arguments}


def _chart(label: str, train: Curve, validation: Curve, budget: int, top: float | None) -> str:
    """Return an SVG of two curves over the budget. Values that are not finite are gaps."""
    finite = [value for value in (*train, *validation) if math.isfinite(value)]
    high = top or max([*finite, 1e-6]) * 1.05
    low = min([*finite, 0.0]) if top is None else max(0.0, min([*finite, 1.0]) - 0.05)
    lines = _polyline(train, budget, low, high, _TRAIN) + _polyline(validation, budget, low, high, _VALIDATION)
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" aria-label="{label} by epoch" '
        'font-size="11" fill="currentColor">'
        f'<text x="{_LEFT}" y="15">{label}</text>'
        f'<text x="{right}" y="15" text-anchor="end"><tspan fill="{_TRAIN}">train</tspan> '
        f'<tspan fill="{_VALIDATION}">validation</tspan></text>'
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="currentColor" stroke-opacity=".4"/>'
        f'<text x="{_LEFT - 4}" y="{_TOP + 8}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{_LEFT - 4}" y="{bottom}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 10}">1</text>'
        f'<text x="{right}" y="{_HEIGHT - 10}" text-anchor="end">epoch {budget}</text>{lines}</svg>'
    )


def _polyline(values: Curve, budget: int, low: float, high: float, colour: str) -> str:
    """Return a curve as an SVG path, with a dot at its last point."""
    wide, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    path, pen_is_down, last = "", False, ""
    for index, value in enumerate(values):
        if not math.isfinite(value):
            pen_is_down = False
            continue
        x = _LEFT + wide * index / max(1, budget - 1)
        y = _TOP + tall * (1 - (min(value, high) - low) / (high - low or 1))
        path += f"{'L' if pen_is_down else 'M'}{x:.1f} {y:.1f}"
        pen_is_down = True
        last = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>'
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>{last}' if path else ""
