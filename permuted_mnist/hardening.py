"""The digits of the hardened variant. Each task has new digits, drawn from fonts, so that an agent cannot know them.

MNIST is public. An agent can look its images up and so undo the permutation. Here each task has its own images. Test
images use other fonts than training images. Within a task, all images of a digit share a warp (`SHAPES`): a rotation by
any angle, perhaps a reflection, a bend and a stroke width. So knowledge about digits from elsewhere helps little. In
addition, each image has its own warp (`STYLE`) and noise.
"""

import hashlib
from dataclasses import dataclass

from ml_trainer_env.server.datasets import Source
from ml_trainer_env.server.datasets.fonts import load_fonts
from ml_trainer_env.server.datasets.glyphs import Style, Warp, draw_glyphs, draw_shapes
from ml_trainer_env.server.datasets.random_stream import RandomStream
from ml_trainer_env.server.datasets.values import Images, Labels

__all__ = ["DIGITS", "SHAPES", "STYLE", "DrawnDigits", "draw_digits"]

DIGITS = "0123456789"

SHAPES = Warp(turn=1.0, any_way_up=True, shear=0.3, stretch=0.2, bend=1.0, stroke=(-0.6, 1.2))
"""The warp that all images of a digit share within a task."""

STYLE = Style(
    side=28,
    size=20 / 28,
    warp=Warp(turn=0.3, shear=0.3, stretch=0.25, shift=0.2, bend=0.4, stroke=(-0.4, 0.4)),
    noise=0.4,
)
"""The variation of each image around the shape of its digit."""


@dataclass(frozen=True, slots=True)
class DrawnDigits:
    """Numbers of digits to draw for a task. The defaults are MNIST's sizes.

    Attributes:
        train_size: Number of training images.
        test_size: Number of test images.
    """

    train_size: int = 60_000
    test_size: int = 10_000

    @property
    def source(self) -> Source:
        """Source of the images."""
        return Source.SYNTHETIC


def draw_digits(seed: int, number: int, sizes: DrawnDigits) -> tuple[Images, Labels, Images, Labels]:
    """Draw the digits of a task, before its pixels and labels are permuted.

    Args:
        seed: Seed of a series of tasks.
        number: Number of the task in the series.
        sizes: Numbers of images.

    Returns:
        Training images uint8 (N, 28, 28), training digits int64 (N,), test images and test digits.
    """
    fonts = load_fonts()
    shapes = draw_shapes(len(DIGITS), STYLE.side, SHAPES, _random_stream(seed, number, "shapes"))
    train, test = (
        draw_glyphs(fonts, names, DIGITS, size, _random_stream(seed, number, part), STYLE, shapes)
        for part, names, size in (
            ("train", fonts.for_training, sizes.train_size),
            ("test", fonts.for_test, sizes.test_size),
        )
    )
    return *train, *test


def _random_stream(seed: int, number: int, part: str) -> RandomStream:
    """Create an independent random stream for each part."""
    digest = hashlib.sha256(f"digits {seed} {number} {part}".encode()).digest()
    return RandomStream(int.from_bytes(digest))
