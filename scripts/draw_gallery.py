"""Draws twelve tasks of the family, for docs/tasks.md: `python scripts/draw_gallery.py`.

Beside the examples of each task are the validation curves of three players, which are trained here: about two minutes
on one core. Tasks are those of the calibrated tables where there are any, and draws of the same kinds elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from ml_trainer_env.baselines.agent import Agent
from ml_trainer_env.baselines.play import play
from ml_trainer_env.baselines.prober import ProbingAgent
from ml_trainer_env.calibration.portfolio import DEFAULT, RECIPES
from ml_trainer_env.in_process.training import Trainer, trainer
from ml_trainer_env.in_process.tuning import LocalSession
from ml_trainer_env.server.datasets import ExampleKind, TargetKind, TaskExamples, draw_examples
from ml_trainer_env.server.trainer.kinds import NetworkKind
from ml_trainer_env.server.tuning.families.draw import draw_instance
from ml_trainer_env.server.tuning.families.instance import Instance
from ml_trainer_env.server.tuning.families.table import load_table
from ml_trainer_env.server.tuning.families.tasks import describe_network, task_of
from ml_trainer_env.server.tuning.reference import HiddenFigures
from ml_trainer_env.server.tuning.tasks import Task

DRAWING = Path(__file__).resolve().parents[1] / "docs/tasks-gallery.png"

WANTED = (
    ("train", "objects", NetworkKind.CNN),
    ("train", "letters", NetworkKind.MLP),
    ("train", "segment", NetworkKind.MLP),
    ("train", "control_charts", NetworkKind.CNN_1D),
    ("train", "spelling", NetworkKind.CNN_1D),
    ("validation", "digits", NetworkKind.CNN),
    ("validation", "banana", NetworkKind.MLP),
    ("validation", "outlines", NetworkKind.CNN_1D),
    ("validation", "mail", NetworkKind.CNN_1D),
    ("test", "greek", NetworkKind.CNN),
    ("test", "leaf_outlines", NetworkKind.TRANSFORMER),
    ("test", "speech_characters", NetworkKind.TRANSFORMER),
)
"""Split, collection and kind of network of each task."""

COLUMNS = 2
LEGEND_HEIGHT = 0.2
"""Share of the height of a row."""
SIZE, DPI = (13.0, 13.4), 110
INK, PALE = "#1f2328", "#6e7781"
CLASS_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000")
"""Colours that people of every kind of colour vision can tell apart (Okabe and Ito)."""

PLAYERS: Mapping[str, tuple[Agent, str, str]] = {
    "settings of the run, left alone": (DEFAULT, "#6e7781", ":"),
    "recipe: adamw 0.003, fresh": (next(one for one in RECIPES if one.name == "adamw fresh"), "#d55e00", "--"),
    "prober (probes and adapts)": (ProbingAgent(), "#0072b2", "-"),
}
"""Agent, colour and style of line by label."""

SHOWN_CLASSES = 6
SHOWN_EXAMPLES = 3
MOST_DRAWS = 2_000
CORRUPTION = 0.1
"""Strongest noise of the inputs, so that they can be made out."""
HEADROOM = 0.05
COLOURS = 256
"""Number of colours of the file."""


@dataclass(frozen=True)
class Curve:
    """What a player did.

    Attributes:
        values: Validation accuracy of each epoch, or the loss where the next token is predicted.
        hidden: The same figure of the submitted model on hidden examples; minus the loss.
    """

    values: tuple[float, ...]
    hidden: float


@dataclass(frozen=True)
class Shown:
    """A task to draw.

    Attributes:
        instance: The instance.
        examples: Its examples.
        title: Its name for the drawing.
        curves: A curve for each of `PLAYERS`.
    """

    instance: Instance
    examples: TaskExamples
    title: str
    curves: tuple[Curve, ...]


def main() -> None:
    """Play the tasks and write the drawing."""
    mpl.rcParams.update({"text.color": INK, "axes.labelcolor": INK, "xtick.color": PALE, "ytick.color": PALE})
    figure = Figure(figsize=SIZE, dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    rows = len(WANTED) // COLUMNS
    cells = np.asarray(figure.subfigures(rows + 1, COLUMNS, height_ratios=(*[1.0] * rows, LEGEND_HEIGHT))).flat
    with trainer(threads=1) as opened:
        for wanted, cell in zip(WANTED, cells, strict=False):
            draw_task(cell, find(*wanted, opened))
    handles, labels = figure.axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(PLAYERS), frameon=False, fontsize=10)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    picture = Image.fromarray(pixels).convert("RGB")
    picture.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(DRAWING, optimize=True)
    print(f"{DRAWING}: {DRAWING.stat().st_size:,} bytes")


def find(split: str, collection: str, network: NetworkKind, opened: Trainer) -> Shown:
    """Return the first task of a split with a collection, a kind of network, and inputs that can be made out.

    A task of the table was accepted by calibration. Of other draws the first is taken on which a player is well above
    the settings of the run, as calibration demands.
    """

    def fits(instance: Instance) -> bool:
        drawn = instance.examples
        return (drawn.collection, instance.network.kind) == (collection, network) and drawn.corruption <= CORRUPTION

    for index, row in enumerate(load_table(split)):
        if fits(row.instance):
            task = task_of(row.instance, split, index, row)
            return played(task, row.instance, f"{task.id}, tier {row.tier}: {task.name}", opened)
    for number in range(MOST_DRAWS):
        instance = draw_instance(split, number)
        if fits(instance):
            task = task_of(instance, split, 0)
            shown = played(task, instance, f"{split}: {task.name}", opened)
            default, *others = (curve.hidden for curve in shown.curves)
            if max(others) - default >= HEADROOM:
                return shown
    raise LookupError(f"{MOST_DRAWS} draws of {split} have no task of {collection} with a network of kind {network}")


def played(task: Task, instance: Instance, title: str, opened: Trainer) -> Shown:
    """Return a task with the curves of the players."""
    examples = draw_examples(instance.examples)
    by_loss = examples.target is TargetKind.NEXT_TOKEN
    curves = []
    for agent, _, _ in PLAYERS.values():
        session = LocalSession(opened, task, examples)
        play(agent, session)
        metrics = [record.metrics for record in session.episode.history.records]
        hidden = HiddenFigures(session.reply["submitted_accuracy"], session.reply["submitted_loss"])
        values = tuple(one.val_loss if by_loss else one.val_accuracy for one in metrics)
        curves.append(Curve(values, -hidden.loss if by_loss else hidden.accuracy))
    return Shown(instance, examples, title, tuple(curves))


def draw_task(cell: SubFigure, shown: Shown) -> None:
    """Draw a task: its examples on the left, the curves of the players on the right."""
    instance, drawn = shown.instance, shown.instance.examples
    sizes = f"{drawn.train_size:,} train, {drawn.validation_size:,} validation, {drawn.test_size:,} hidden"
    lines = (
        f"{describe_network(instance.network)}; {instance.budget} epochs, batches up to {instance.largest_batch}",
        f"{collection_title(instance)} {sizes}",
    )
    cell.text(0.02, 0.93, shown.title, fontsize=9.5, weight="bold", va="top")
    cell.text(0.02, 0.84, "\n".join(lines), fontsize=8, va="top", linespacing=1.35)
    draw_examples_of(cell.add_axes((0.02, 0.12, 0.45, 0.46)), shown.examples, instance)
    draw_curves(cell.add_axes((0.55, 0.17, 0.43, 0.41)), shown)


def collection_title(instance: Instance) -> str:
    """Return the first part of the title of a task's collection."""
    return instance.collection.title.split(";")[0] + "."


def draw_curves(axes: Axes, shown: Shown) -> None:
    """Draw the validation curves of the players, and write what each submitted model reached on hidden examples."""
    by_loss = shown.examples.target is TargetKind.NEXT_TOKEN
    for place, (curve, (label, (_, colour, line))) in enumerate(zip(shown.curves, PLAYERS.items(), strict=True)):
        epochs = range(1, len(curve.values) + 1)
        axes.plot(epochs, curve.values, line, color=colour, label=label, linewidth=1.7)
        x = 0.78 + 0.11 * place
        axes.text(x, 1.03, f"{abs(curve.hidden):.2f}", color=colour, fontsize=8, ha="right", transform=axes.transAxes)
    axes.text(0.67, 1.03, "hidden:", color=PALE, fontsize=8, ha="right", transform=axes.transAxes)
    axes.set_title("validation loss (nats)" if by_loss else "validation accuracy", fontsize=8, loc="left")
    axes.set_xlabel("epochs spent", fontsize=8)
    axes.set_xlim(0, shown.instance.budget + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(labelsize=7)
    axes.grid(visible=True, color="#d0d7de", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def draw_examples_of(axes: Axes, examples: TaskExamples, instance: Instance) -> None:
    """Draw some validation examples, whose labels are right."""
    match examples.kind:
        case ExampleKind.IMAGES:
            draw_images(axes, examples)
        case ExampleKind.TABLES:
            draw_rows(axes, examples)
        case ExampleKind.SEQUENCES:
            draw_sequences(axes, examples)
        case ExampleKind.TOKENS:
            draw_texts(axes, examples, instance.examples.collection)


def first_of_class(labels: np.ndarray, label: int, count: int) -> np.ndarray:
    """Return the places of the first examples of a class."""
    return np.flatnonzero(labels == label)[:count]


def draw_images(axes: Axes, examples: TaskExamples) -> None:
    """Draw a strip of images: a column for each class."""
    inputs, labels = examples.validation_inputs, examples.validation_labels
    side, classes = inputs.shape[1], min(SHOWN_CLASSES, examples.outputs)
    strip = np.full((SHOWN_EXAMPLES * (side + 1) - 1, classes * (side + 1) - 1, *inputs.shape[3:]), 255, np.uint8)
    for label in range(classes):
        for row, place in enumerate(first_of_class(labels, label, SHOWN_EXAMPLES)):
            strip[row * (side + 1) :, label * (side + 1) :][:side, :side] = inputs[place]
    axes.imshow(strip, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(f"{classes} of {examples.outputs} classes, a column each", fontsize=8, loc="left")


def draw_rows(axes: Axes, examples: TaskExamples) -> None:
    """Draw rows as points: two columns, or the first two principal components of more."""
    inputs, labels = examples.validation_inputs, examples.validation_labels
    if inputs.shape[1] > 2:
        centred = inputs - inputs.mean(0)
        inputs = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
        title = f"first 2 principal components of {examples.validation_inputs.shape[1]} columns"
    else:
        title = "2 columns"
    for label in range(min(examples.outputs, len(CLASS_COLOURS))):
        x, y = inputs[first_of_class(labels, label, 120)].T
        axes.scatter(x, y, s=7, color=CLASS_COLOURS[label], marker="o^sDvPX"[label], alpha=0.7, linewidths=0)
    axes.set_title(f"{title}; {examples.outputs} classes", fontsize=8, loc="left")
    axes.set_axis_off()


def draw_sequences(axes: Axes, examples: TaskExamples) -> None:
    """Draw sequences: closed outlines where there are two channels, lines above each other elsewhere."""
    inputs, labels = examples.validation_inputs, examples.validation_labels
    classes = min(SHOWN_CLASSES, examples.outputs)
    axes.set_axis_off()
    for label in range(classes):
        colour = CLASS_COLOURS[label % len(CLASS_COLOURS)]
        for row, place in enumerate(first_of_class(labels, label, SHOWN_EXAMPLES)):
            values = inputs[place]
            if values.shape[1] == 2:
                closed = np.concatenate([values, values[:1]])
                axes.plot(closed[:, 0] + 4.5 * label, -closed[:, 1] - 4.5 * row, color=colour, linewidth=1.2)
            elif row == 0:
                axes.plot(values[:, 0] - 5.0 * label, color=colour, linewidth=1.2)
    if inputs.shape[2] == 2:
        axes.set_aspect("equal")
    what = "a column each" if inputs.shape[2] == 2 else "one sequence each"
    axes.set_title(f"{classes} of {examples.outputs} classes, {what}", fontsize=8, loc="left")


def draw_texts(axes: Axes, examples: TaskExamples, collection: str) -> None:
    """Write texts, with the label of each where it is a class."""
    axes.set_axis_off()
    inputs, labels = examples.validation_inputs, examples.validation_labels
    is_class = examples.target is TargetKind.CLASSES
    lines = []
    for row in range(6):
        place = int(first_of_class(labels, row % examples.outputs, 3)[row // examples.outputs]) if is_class else row
        text = decode(inputs[place], collection)
        lines.append(f"class {labels[place]}: {text}" if is_class else text)
    for row, line in enumerate(lines):
        axes.text(0.0, 0.92 - 0.16 * row, line, fontsize=7.5, family="monospace", transform=axes.transAxes)
    what = "texts; the label is the next character" if not is_class else f"texts of {examples.outputs} classes"
    numbers = ", words as numbers" if collection not in {"spelling"} and "characters" not in collection else ""
    axes.set_title(what + numbers, fontsize=8, loc="left")


def decode(tokens: Sequence[int] | np.ndarray, collection: str) -> str:
    """Return tokens as text. The words of texts are not bundled, so their numbers are shown."""
    if collection.endswith("characters"):
        return "".join(chr(31 + int(token)) if token else "\u21b5" for token in tokens)
    if collection == "spelling":
        return "".join(chr(ord("a") + int(token) - 1) if token else "" for token in tokens)
    return " ".join(str(int(token)) for token in tokens[:11]) + " ..."


if __name__ == "__main__":
    main()
