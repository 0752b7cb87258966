"""Plays an episode of `medium_fashion` and draws it, for README: `python scripts/draw_readme_run.py`.

The episode is played through `MLTrainerEnv` on a server of its own, with the bundled images. The drawing shows loss and
accuracy by epoch and marks each call. It has a transparent background and grey text, so it can be read in light and in
dark mode.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.baselines.local_server import local_server

DRAWING = Path(__file__).resolve().parents[1] / "docs/images/run.svg"

TASK = "medium_fashion"
INK = "#7d8590"
TRAIN = "#d9822b"
VALIDATION = "#3b82f6"
BEST = "#2e9e5b"


@dataclass(frozen=True)
class Step:
    """A change of settings, and the epochs that are trained with it.

    Attributes:
        label: How the drawing names the change.
        tool: Name of the tool that makes the change.
        arguments: Arguments of the tool.
        epochs: Number of epochs after the change, 20 at most.
    """

    label: str
    tool: str
    arguments: dict[str, Any]
    epochs: int


EPISODE = (
    Step("adam, 0.003", "configure_training", {"optimizer": "adam", "learning_rate": 0.003}, 10),
    Step("augmentation on", "toggle_augmentation", {"enabled": True, "strength": 0.5}, 10),
    Step("rate 0.0005", "adjust_learning_rate", {"new_lr": 0.0005}, 10),
)


def main() -> None:
    """Play the episode and write the drawing."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.pop("ML_TRAINER_DATA_DIR", None)  # only the bundled images are left
        variables = {"ML_TRAINER_STATE_DIR": folder, "ML_TRAINER_DOWNLOAD": "false"}
        with local_server(Path(folder) / "server.log", variables) as url:
            env = MLTrainerEnv(base_url=url)
            with env:
                rows, end = play(env)
    DRAWING.parent.mkdir(exist_ok=True)
    draw(rows, end, DRAWING)
    print(f"{DRAWING}: {DRAWING.stat().st_size:,} bytes, score {end['score']:.4f}")


def play(env: MLTrainerEnv) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Play the episode. Returns a row for each epoch, and the reply that ends the episode."""
    rows: list[dict[str, Any]] = []
    env.reset(task_id=TASK)
    for step in EPISODE:
        env.call_tool(step.tool, **step.arguments)
        rows += env.call_tool("run_epochs", num_epochs=step.epochs)["epochs"]
    return rows, env.call_tool("submit_model")


def draw(rows: Sequence[dict[str, Any]], end: dict[str, Any], path: Path) -> None:
    """Draw an episode as SVG. The same rows give the same bytes."""
    mpl.rcParams["svg.hashsalt"] = TASK
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0.0)
    figure.suptitle(
        f"{TASK}: {len(rows)} of 80 epochs, epoch {end['graded_epoch']} submitted, score {end['score']:.3f}", color=INK
    )
    for axes, figure_name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        _draw_figure(axes, rows, figure_name)
        _mark_calls(axes, rows[end["graded_epoch"] - 1], figure_name)
        _style(axes, figure_name)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, labelcolor=INK, fontsize=9)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _draw_figure(axes: Axes, rows: Sequence[dict[str, Any]], name: str) -> None:
    epochs = [row["epoch"] for row in rows]
    for part, label, color in (("train", "train", TRAIN), ("val", "validation", VALIDATION)):
        axes.plot(epochs, [row[f"{part}_{name}"] for row in rows], color=color, linewidth=1.8, label=label)


def _mark_calls(axes: Axes, graded: dict[str, Any], name: str) -> None:
    """Mark where each change of settings was made, and the epoch whose model was graded."""
    begin = 0.5
    for step in EPISODE:
        label = "change of settings" if step is EPISODE[0] else None
        axes.axvline(begin, color=INK, linestyle=":", linewidth=1.2, label=label)
        axes.text(begin + 0.3, 0.98, step.label, color=INK, fontsize=8, va="top", transform=axes.get_xaxis_transform())
        begin += step.epochs
    axes.plot([graded["epoch"]], [graded[f"val_{name}"]], "o", color=BEST, markersize=8, label="submitted model")


def _style(axes: Axes, name: str) -> None:
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.12 * (high - low))  # room for the names of the calls
    axes.set_ylabel(name, color=INK)
    axes.set_xlabel("epoch", color=INK)
    axes.patch.set_alpha(0.0)
    axes.grid(visible=True, color=INK, alpha=0.2)
    axes.tick_params(colors=INK)
    for spine in axes.spines.values():
        spine.set_color(INK)


if __name__ == "__main__":
    main()
