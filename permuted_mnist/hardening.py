"""The digits of the hardened variant: drawn from fonts, new ones for each task, so that nobody can bring them along.

MNIST is public, and what is known of it undoes the permutation as well: its images, whatever is done to them, can be
looked up. Here each task has images of its own. Test images come from other fonts than training images. Within a task
all images of a digit share a warp (`SHAPES`): the digit is turned by any angle, perhaps mirrored, bent, and drawn with
a thin or thick stroke. So what a network learned about digits elsewhere tells little; what it learns in the task from
the labels tells all. Besides that each image is warped by its own draw (`STYLE`), and noise is added.
"""

import hashlib
from dataclasses import dataclass

from ml_trainer_env.server.datasets import Source
from ml_trainer_env.server.datasets.fonts import load_fonts
from ml_trainer_env.server.datasets.glyphs import Style, Warp, draw_glyphs, draw_shapes
from ml_trainer_env.server.datasets.values import Images, Labels
from ml_trainer_env.server.datasets.words import Words

__all__ = ["DIGITS", "SHAPES", "STYLE", "DrawnDigits", "draw_digits"]

DIGITS = "0123456789"

SHAPES = Warp(turn=1.0, any_way_up=True, shear=0.3, stretch=0.2, bend=1.0, stroke=(-0.6, 1.2))
"""What all images of a digit have in common within a task."""

STYLE = Style(
    side=28,
    size=20 / 28,
    warp=Warp(turn=0.3, shear=0.3, stretch=0.25, shift=0.2, bend=0.4, stroke=(-0.4, 0.4)),
    noise=0.4,
)
"""How each image strays from the shape of its digit."""


@dataclass(frozen=True, slots=True)
class DrawnDigits:
    """How many digits are drawn for a task; as many as MNIST has unless told otherwise.

    Attributes:
        train_size: Images to train on.
        test_size: Images to test with.
    """

    train_size: int = 60_000
    test_size: int = 10_000

    @property
    def source(self) -> Source:
        """Where the images come from."""
        return Source.SYNTHETIC


def draw_digits(seed: int, number: int, sizes: DrawnDigits) -> tuple[Images, Labels, Images, Labels]:
    """Draw the digits of a task, before its pixels and labels are permuted.

    Args:
        seed: Of a series of tasks.
        number: The task's place in it.
        sizes: How many.

    Returns:
        Training images uint8 (N, 28, 28), the digits int64 (N,) on them, and test images and digits likewise.
    """
    fonts = load_fonts()
    shapes = draw_shapes(len(DIGITS), STYLE.side, SHAPES, _words(seed, number, "shapes"))
    train, test = (
        draw_glyphs(fonts, names, DIGITS, size, _words(seed, number, part), STYLE, shapes)
        for part, names, size in (
            ("train", fonts.for_training, sizes.train_size),
            ("test", fonts.for_test, sizes.test_size),
        )
    )
    return *train, *test


def _words(seed: int, number: int, part: str) -> Words:
    """A stream of its own for each part: what can be told about one from its images tells nothing about another."""
    digest = hashlib.sha256(f"digits {seed} {number} {part}".encode()).digest()
    return Words(int.from_bytes(digest))
