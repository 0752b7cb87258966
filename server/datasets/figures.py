"""The figures of the stand-in: ten classes like those of CIFAR-10, each in two views made of a few simple parts.

Figure coordinates: x to the right, y down, about -1 to 1, before the figure is placed, rotated, stretched and jittered.
Classes that CIFAR-10 networks confuse share most of their layout here too.
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["APPEARANCES", "FIGURES", "Appearance", "Colour", "Figure", "Part", "Shape"]

Colour = tuple[float, float, float]
"""Red, green and blue, 0 to 1."""


class Shape(StrEnum):
    """The outline of a part."""

    ELLIPSE = "ellipse"
    """The ellipse with these half axes."""

    BOX = "box"
    """The rectangle with these half axes."""

    TRIANGLE = "triangle"
    """The triangle with its tip at the top of that rectangle."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a figure.

    Attributes:
        shape: Its outline.
        x: x of the centre.
        y: y of the centre.
        half_width: Half axis along x, above 0.
        half_height: Half axis along y, above 0.
        colour: Index of the colour: 0 main, 1 second, 2 detail.
    """

    shape: Shape
    x: float
    y: float
    half_width: float
    half_height: float
    colour: int = 0


@dataclass(frozen=True, slots=True)
class Figure:
    """One view of a class: its parts, from back to front."""

    parts: tuple[Part, ...]


E, B, T = Shape.ELLIPSE, Shape.BOX, Shape.TRIANGLE


def _view(*parts: tuple[Shape, float, float, float, float, int]) -> Figure:
    return Figure(tuple(Part(*part) for part in parts))


FIGURES: tuple[tuple[Figure, Figure], ...] = (
    (  # airplane: from above, from the side
        _view((B, -0.05, 0.0, 0.17, 0.85, 1), (E, 0.0, 0.0, 0.95, 0.17, 0), (B, -0.75, 0.0, 0.1, 0.32, 1)),
        _view((T, -0.75, -0.3, 0.2, 0.3, 1), (E, 0.0, 0.0, 0.95, 0.2, 0), (E, 0.0, 0.12, 0.4, 0.09, 2)),
    ),
    (  # automobile: from the side, from the front
        _view(
            (B, 0.0, 0.2, 0.95, 0.24, 0),
            (E, -0.05, -0.1, 0.52, 0.32, 1),
            (E, -0.55, 0.48, 0.2, 0.2, 2),
            (E, 0.55, 0.48, 0.2, 0.2, 2),
        ),
        _view(
            (B, 0.0, 0.2, 0.62, 0.4, 0),
            (B, 0.0, -0.25, 0.46, 0.22, 1),
            (B, -0.45, 0.6, 0.14, 0.16, 2),
            (B, 0.45, 0.6, 0.14, 0.16, 2),
        ),
    ),
    (  # bird: flying, sitting
        _view(
            (T, -0.05, -0.3, 0.3, 0.55, 1),
            (E, 0.0, 0.1, 0.6, 0.22, 0),
            (E, 0.6, -0.05, 0.2, 0.18, 0),
            (T, -0.7, 0.1, 0.2, 0.15, 1),
        ),
        _view(
            (E, 0.0, 0.1, 0.42, 0.5, 0),
            (E, 0.25, -0.5, 0.24, 0.22, 0),
            (B, 0.55, -0.48, 0.16, 0.06, 2),
            (B, -0.02, 0.75, 0.05, 0.2, 2),
        ),
    ),
    (  # cat: face, sitting
        _view(
            (T, -0.42, -0.55, 0.24, 0.32, 0),
            (T, 0.42, -0.55, 0.24, 0.32, 0),
            (E, 0.0, 0.05, 0.68, 0.6, 0),
            (E, -0.27, -0.05, 0.11, 0.13, 2),
            (E, 0.27, -0.05, 0.11, 0.13, 2),
            (E, 0.0, 0.32, 0.22, 0.15, 1),
        ),
        _view(
            (E, -0.1, 0.4, 0.5, 0.5, 0),
            (E, 0.2, -0.3, 0.36, 0.34, 0),
            (T, 0.0, -0.65, 0.14, 0.22, 0),
            (T, 0.4, -0.65, 0.14, 0.22, 0),
            (B, -0.65, 0.1, 0.07, 0.45, 0),
        ),
    ),
    (  # deer: standing, head
        _view(
            (E, -0.1, 0.05, 0.58, 0.27, 0),
            (B, -0.45, 0.55, 0.07, 0.38, 1),
            (B, 0.28, 0.55, 0.07, 0.38, 1),
            (B, 0.48, -0.25, 0.11, 0.35, 0),
            (E, 0.6, -0.5, 0.24, 0.14, 0),
            (B, 0.5, -0.8, 0.3, 0.05, 2),
        ),
        _view(
            (B, -0.5, -0.65, 0.06, 0.34, 2),
            (B, 0.5, -0.65, 0.06, 0.34, 2),
            (B, 0.0, -0.4, 0.55, 0.05, 2),
            (E, 0.0, 0.15, 0.36, 0.55, 0),
            (E, 0.0, 0.55, 0.17, 0.13, 1),
        ),
    ),
    (  # dog: face, standing
        _view(
            (E, 0.0, 0.0, 0.6, 0.62, 0),
            (E, -0.6, -0.05, 0.19, 0.48, 1),
            (E, 0.6, -0.05, 0.19, 0.48, 1),
            (E, -0.25, -0.12, 0.1, 0.11, 2),
            (E, 0.25, -0.12, 0.1, 0.11, 2),
            (E, 0.0, 0.35, 0.28, 0.2, 1),
        ),
        _view(
            (E, -0.1, 0.15, 0.6, 0.26, 0),
            (B, -0.5, 0.6, 0.09, 0.3, 0),
            (B, 0.3, 0.6, 0.09, 0.3, 0),
            (E, 0.55, -0.2, 0.28, 0.25, 0),
            (E, 0.42, -0.15, 0.1, 0.26, 1),
            (B, -0.75, -0.1, 0.06, 0.25, 0),
        ),
    ),
    (  # frog: from above, from the side
        _view(
            (E, -0.62, 0.4, 0.3, 0.17, 1),
            (E, 0.62, 0.4, 0.3, 0.17, 1),
            (E, 0.0, 0.15, 0.55, 0.58, 0),
            (E, -0.33, -0.45, 0.18, 0.18, 2),
            (E, 0.33, -0.45, 0.18, 0.18, 2),
        ),
        _view(
            (E, 0.0, 0.2, 0.72, 0.36, 0),
            (E, -0.5, 0.42, 0.34, 0.22, 1),
            (E, 0.4, -0.12, 0.2, 0.2, 2),
            (B, 0.4, 0.55, 0.24, 0.07, 1),
        ),
    ),
    (  # horse: standing, head
        _view(
            (E, -0.1, 0.0, 0.66, 0.3, 0),
            (B, -0.5, 0.52, 0.09, 0.42, 0),
            (B, 0.32, 0.52, 0.09, 0.42, 0),
            (B, 0.5, -0.3, 0.15, 0.4, 1),
            (E, 0.68, -0.58, 0.3, 0.17, 0),
            (B, -0.8, 0.15, 0.06, 0.35, 2),
        ),
        _view(
            (B, -0.3, 0.4, 0.3, 0.55, 0),
            (B, -0.52, 0.2, 0.1, 0.6, 2),
            (E, 0.15, -0.15, 0.58, 0.26, 0),
            (T, -0.25, -0.5, 0.13, 0.22, 0),
        ),
    ),
    (  # ship: with funnels, under sail
        _view(
            (B, 0.0, 0.35, 0.95, 0.2, 0),
            (B, -0.1, 0.0, 0.5, 0.17, 1),
            (B, -0.25, -0.35, 0.1, 0.22, 2),
            (B, 0.15, -0.35, 0.1, 0.22, 2),
        ),
        _view(
            (E, 0.0, 0.5, 0.75, 0.2, 0),
            (B, 0.0, -0.15, 0.05, 0.7, 2),
            (T, -0.3, -0.15, 0.3, 0.55, 1),
            (T, 0.28, -0.05, 0.22, 0.42, 1),
        ),
    ),
    (  # truck: from the side, from the front
        _view(
            (B, -0.25, -0.05, 0.68, 0.45, 0),
            (B, 0.68, 0.13, 0.27, 0.28, 1),
            (E, -0.55, 0.5, 0.19, 0.19, 2),
            (E, 0.6, 0.5, 0.19, 0.19, 2),
        ),
        _view(
            (B, 0.0, -0.05, 0.58, 0.7, 0),
            (B, 0.0, -0.3, 0.44, 0.24, 1),
            (B, 0.0, 0.3, 0.36, 0.11, 2),
            (B, -0.42, 0.75, 0.13, 0.14, 2),
            (B, 0.42, 0.75, 0.13, 0.14, 2),
        ),
    ),
)
"""By class, in the order of CIFAR-10's labels."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """Typical colours and stripes of a class. Only a hint: every picture deviates from them.

    Attributes:
        figure: Colour of the main parts.
        above: Colour of the background's upper part.
        below: Colour of the background's lower part.
        stripes_x: Number of stripes along the figure's x, from -1 to 1.
        stripes_y: Number of stripes along y.
    """

    figure: Colour
    above: Colour
    below: Colour
    stripes_x: float
    stripes_y: float


APPEARANCES: tuple[Appearance, ...] = (
    Appearance((0.8, 0.8, 0.85), (0.4, 0.6, 0.9), (0.6, 0.7, 0.85), 5.0, 0.0),  # airplane
    Appearance((0.75, 0.2, 0.2), (0.6, 0.65, 0.6), (0.4, 0.4, 0.4), 0.0, 4.0),  # automobile
    Appearance((0.45, 0.35, 0.25), (0.6, 0.75, 0.7), (0.4, 0.55, 0.3), 4.0, 4.0),  # bird
    Appearance((0.5, 0.45, 0.4), (0.6, 0.5, 0.45), (0.65, 0.5, 0.4), 0.0, 7.0),  # cat
    Appearance((0.6, 0.4, 0.25), (0.3, 0.45, 0.25), (0.45, 0.5, 0.25), 6.0, 3.0),  # deer
    Appearance((0.75, 0.6, 0.4), (0.5, 0.5, 0.5), (0.5, 0.55, 0.4), 3.0, 6.0),  # dog
    Appearance((0.4, 0.55, 0.2), (0.4, 0.4, 0.25), (0.5, 0.4, 0.3), 7.0, 7.0),  # frog
    Appearance((0.4, 0.25, 0.15), (0.5, 0.6, 0.6), (0.4, 0.6, 0.25), 8.0, 0.0),  # horse
    Appearance((0.65, 0.65, 0.7), (0.65, 0.75, 0.9), (0.2, 0.4, 0.6), 0.0, 2.0),  # ship
    Appearance((0.6, 0.5, 0.25), (0.7, 0.75, 0.8), (0.5, 0.45, 0.4), 2.5, 0.0),  # truck
)
"""By class, in the order of CIFAR-10's labels."""
