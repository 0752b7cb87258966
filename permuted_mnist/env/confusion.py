"""The confusion matrix of predictions."""

import io

import numpy as np
import numpy.typing as npt

from permuted_mnist.tasks import CLASSES, Labels

__all__ = ["confusion_image", "confusion_matrix"]


def confusion_matrix(labels: Labels, predictions: Labels) -> npt.NDArray[np.int64]:
    """Count how often each label (row) was predicted as each label (column). Returns int64 (10, 10)."""
    counts = np.bincount(labels * CLASSES + predictions, minlength=CLASSES * CLASSES)
    return counts.reshape(CLASSES, CLASSES).astype(np.int64)


def confusion_image(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Draw the matrix. Returns an RGB image, uint8 (480, 480, 3)."""
    from matplotlib.figure import Figure  # late: it takes half a second to import

    figure = Figure(figsize=(4.8, 4.8), dpi=100, layout="constrained")
    axes = figure.add_subplot(xlabel="predicted", ylabel="label", xticks=range(CLASSES), yticks=range(CLASSES))
    total = int(counts.sum())
    right = f"{np.trace(counts) / total:.2%} right" if total else "no action yet"
    axes.set_title(right)
    axes.imshow(np.log1p(counts), cmap="Blues")
    middle = np.log1p(counts.max()) / 2
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if np.log1p(count) > middle else "black"
        axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=colour)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="raw")
    return np.frombuffer(drawn.getvalue(), np.uint8).reshape(480, 480, 4)[..., :3].copy()
