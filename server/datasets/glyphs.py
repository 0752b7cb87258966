"""A renderer of glyphs: any characters of the bundled fonts, at any size, each image warped by its own draw.

An image is made in three steps. Its pixels are mapped to places in the glyph's distance field (`fonts.py`) by an affine
map and an elastic one; the field is read there; and what lies inside the outline, moved in or out to make the stroke
thinner or thicker, is white. Besides its own warp an image may have one that all images of its class share: see
`Shape`. A set with such shapes has classes that nobody has seen before.

The same seed gives the same bytes on every machine: everything is made as `words.py` says, of additions,
multiplications, divisions, comparisons and roundings element by element.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml_trainer_env.server.datasets.errors import DatasetError
from ml_trainer_env.server.datasets.fonts import BOX, CELLS, LEVELS_PER_CELL, MIDDLE, Fonts
from ml_trainer_env.server.datasets.values import Images, Labels
from ml_trainer_env.server.datasets.words import Floats, Words

__all__ = ["Shapes", "Style", "Warp", "draw_glyphs", "draw_shapes"]

_BATCH = 256  # images at a time, so that the arrays stay in the processor's cache; another number, other images
_KNOTS = 5  # of the elastic map along each side


@dataclass(frozen=True, slots=True)
class Warp:
    """How far a map strays from leaving everything in its place. Lengths are in units of half the picture's side.

    Attributes:
        turn: Tangent of half the largest angle, at most 1, which is a quarter turn either way.
        any_way_up: Also upside down and mirrored, each in half of all cases.
        shear: Largest.
        stretch: Largest change of width and height, each by its own draw.
        shift: Largest, in x and in y.
        bend: Largest displacement of a knot of the elastic map, in x and in y.
        stroke: How far the outline moves out, in pixels: the least (negative: in) and the most.
    """

    turn: float = 0.0
    any_way_up: bool = False
    shear: float = 0.0
    stretch: float = 0.0
    shift: float = 0.0
    bend: float = 0.0
    stroke: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Style:
    """How glyphs are drawn.

    Attributes:
        side: Of the picture, in pixels.
        size: Longer side of an unwarped glyph, as a share of the picture's; MNIST's digits have 20 of 28 pixels.
        warp: Of each image, by its own draw.
        noise: Largest change of a pixel by noise, as a share of white. Its distribution is a triangle around 0.
    """

    side: int = 28
    size: float = 20 / 28
    warp: Warp = Warp()
    noise: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """A warp for each class, the same for all its images: where each pixel lies before the image's own warp.

    Attributes:
        x: float32 (classes, side, side), in units of half the picture's side.
        y: Likewise.
        stroke: float32 (classes,): how far the outline moves out, in pixels.
    """

    x: Floats
    y: Floats
    stroke: Floats


def draw_shapes(classes: int, side: int, warp: Warp, words: Words) -> Shapes:
    """Draws a warp for each of so many classes."""
    plain = _no_shapes(1, side)
    x, y = _warped(np.repeat(plain.x, classes, 0), np.repeat(plain.y, classes, 0), warp, words)
    return Shapes(x, y, words.between(*warp.stroke, classes))


def draw_glyphs(
    fonts: Fonts,
    names: Sequence[str],
    characters: str,
    size: int,
    words: Words,
    style: Style,
    shapes: Shapes | None = None,
) -> tuple[Images, Labels]:
    """Draws labelled images, white on black. Character and font of each are independent draws, all equally likely.

    Args:
        fonts: As `load_fonts` returns them.
        names: Of the fonts to draw from.
        characters: One for each class.
        size: How many images.
        words: Decides everything.
        style: How they are drawn.
        shapes: One for each class; none: only the image's own warp.

    Returns:
        uint8 (size, side, side) and int64 (size,), the place of each image's character among `characters`.

    Raises:
        DatasetError: One of the fonts is not there, or lacks one of the characters.
    """
    fields = _fields(fonts, names, characters)
    shapes = shapes or _no_shapes(len(characters), style.side)
    images = np.empty((size, style.side, style.side), np.uint8)
    labels = words.below(len(characters), size)
    chosen = words.below(len(names), size)
    for start in range(0, size, _BATCH):
        batch = slice(start, start + _BATCH)
        kinds = labels[batch]
        x, y = _warped(shapes.x[kinds], shapes.y[kinds], style.warp, words)
        levels = _read(fields, chosen[batch] * len(characters) + kinds, x, y, style)
        stroke = shapes.stroke[kinds] + words.between(*style.warp.stroke, len(kinds))
        images[batch] = _inked(levels, stroke, words, style)
    return images, labels


def _fields(fonts: Fonts, names: Sequence[str], characters: str) -> Floats:
    """Returns the distance fields of each font's characters, float32 (fonts * characters * CELLS * CELLS,)."""
    missing = [name for name in names if name not in fonts.names] + [c for c in characters if c not in fonts.characters]
    if missing:
        raise DatasetError(f"there should be fonts and characters of these names, and are not: {', '.join(missing)}")
    rows = [fonts.names.index(name) for name in names]
    columns = [fonts.characters.index(character) for character in characters]
    chosen = fonts.distances[np.ix_(rows, columns)]
    for row, column in np.argwhere(~chosen.any((2, 3))):
        raise DatasetError(f"the font {names[row]} has no {characters[column]}: leave out one of them")
    return chosen.astype(np.float32).reshape(-1)


def _no_shapes(classes: int, side: int) -> Shapes:
    """Returns the middles of the pixels, for each class alike."""
    ramp = (np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / side) - np.float32(1)
    return Shapes(
        np.broadcast_to(ramp[None, None, :], (classes, side, side)),
        np.broadcast_to(ramp[None, :, None], (classes, side, side)),
        np.zeros(classes, np.float32),
    )


def _warped(x: Floats, y: Floats, warp: Warp, words: Words) -> tuple[Floats, Floats]:
    """Returns the places that a warp, drawn for each image, gives to places (images, side, side)."""
    count, side, _ = x.shape
    half = words.between(-warp.turn, warp.turn, count, 1, 1)  # tangent of half the angle: cosine and sine follow
    cosine, sine = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    if warp.any_way_up:
        up = words.signs(count, 1, 1)
        flip = words.signs(count, 1, 1)
    else:
        up = flip = np.ones((count, 1, 1), np.float32)
    wide, high = 1 + words.between(-warp.stretch, warp.stretch, 2, count, 1, 1)
    shear = words.between(-warp.shear, warp.shear, count, 1, 1)
    shift = words.between(-warp.shift, warp.shift, 2, count, 1, 1)
    x, y = x + shift[0], y + shift[1]
    along, across = (cosine * x + sine * y) * up, (cosine * y - sine * x) * up
    along = (along + shear * across) * (wide * flip)
    across = across * high
    if warp.bend:
        along += _elastic(count, side, warp.bend, words)
        across += _elastic(count, side, warp.bend, words)
    return along, across


def _elastic(count: int, side: int, bend: float, words: Words) -> Floats:
    """Returns smooth random displacements, float32 (count, side, side): uniform cubic B-splines of random knots."""
    knots = words.between(-bend, bend, count, _KNOTS, _KNOTS)
    weights = _spline(side)
    rows = knots[:, 0, None, :] * weights[:, 0, None]
    for knot in range(1, _KNOTS):
        rows += knots[:, knot, None, :] * weights[:, knot, None]
    field = rows[:, :, 0, None] * weights[:, 0]
    for knot in range(1, _KNOTS):
        field += rows[:, :, knot, None] * weights[:, knot]
    return field


def _spline(side: int) -> Floats:
    """Returns the weight of each knot at each pixel, float32 (side, _KNOTS)."""
    place = (np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32((_KNOTS - 3) / side)
    distance = np.abs(place[:, None] - (np.arange(_KNOTS, dtype=np.float32) - np.float32(1)))
    near = np.maximum(np.float32(2) - distance, 0)
    nearest = np.maximum(np.float32(1) - distance, 0)
    weights: Floats = (near * near * near - 4 * nearest * nearest * nearest) / np.float32(6)
    return weights


def _read(fields: Floats, chosen: npt.NDArray[np.int64], x: Floats, y: Floats, style: Style) -> Floats:
    """Returns the levels of distance fields at places (images, side, side), interpolated between the four cells."""
    scale, middle = np.float32(BOX / 2 / style.size), np.float32((CELLS - 1) / 2)
    last = np.float32(CELLS - 1.001)
    column, row = (np.clip(place * scale + middle, 0, last) for place in (x, y))
    left, top = column.astype(np.int32), row.astype(np.int32)
    column -= left
    row -= top
    corner = top * np.int32(CELLS) + left + (chosen * (CELLS * CELLS)).astype(np.int32)[:, None, None]
    upper: Floats = fields.take(corner)
    upper += (fields.take(corner + 1) - upper) * column
    corner += CELLS
    lower: Floats = fields.take(corner)
    lower += (fields.take(corner + 1) - lower) * column
    upper += (lower - upper) * row
    return upper


def _inked(levels: Floats, stroke: Floats, words: Words, style: Style) -> Images:
    """Returns pictures, uint8: white inside the outlines, grey at their edge, with noise."""
    pixel = np.float32(LEVELS_PER_CELL * BOX / (style.side * style.size))  # levels
    cover = (levels - np.float32(MIDDLE)) / pixel + (stroke + np.float32(0.5))[:, None, None]
    ink = np.clip(cover, 0, 1) * np.float32(255)
    if style.noise:
        first, second = words.bytes(2, *levels.shape)
        ink += (first.astype(np.float32) - second) * np.float32(style.noise)
    np.clip(ink, 0, 255, out=ink)
    return (ink + np.float32(0.5)).astype(np.uint8)
