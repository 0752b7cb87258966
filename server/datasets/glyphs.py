"""Renders glyphs of the bundled fonts at any size, each image with a random warp.

An image is made in three steps. An affine and an elastic map take its pixels to points of the glyph's distance field
(`fonts.py`). The field is sampled at these points. Pixels inside the outline become white; the outline is first moved
in or out for a thinner or thicker stroke. All images of a class may also share a warp (`Shapes`), which makes new
classes.

The same seed gives the same bytes on every machine: only `random_stream.py` and element-wise additions,
multiplications, divisions, comparisons and roundings are used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml_trainer_env.server.datasets.errors import DatasetError
from ml_trainer_env.server.datasets.fonts import BOX, CELLS, LEVELS_PER_CELL, MIDDLE, Fonts
from ml_trainer_env.server.datasets.random_stream import Floats, RandomStream
from ml_trainer_env.server.datasets.values import Images, Labels

__all__ = ["Shapes", "Style", "Warp", "draw_glyphs", "draw_shapes"]

_BATCH = 256  # images at a time, so that the arrays fit the cache; the images depend on this number
_KNOTS = 5  # knots of the elastic map along each side


@dataclass(frozen=True, slots=True)
class Warp:
    """Limits of a random map. The default is the identity. Lengths are in units of half the picture's side.

    Attributes:
        turn: Tangent of half the largest angle, at most 1, which is a quarter turn either way.
        any_way_up: Whether half of the images are upside down, and half of them mirrored, independently.
        shear: Largest shear.
        stretch: Largest change of width and of height, drawn independently.
        shift: Largest shift in x and in y.
        bend: Largest displacement of a knot of the elastic map, in x and in y.
        stroke: Least and largest distance that the outline moves out, in pixels; negative moves in.
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
        side: Side of the picture, in pixels.
        size: Longer side of an unwarped glyph, as a share of the picture's; MNIST's digits have 20 of 28 pixels.
        warp: Limits of each image's own warp.
        noise: Largest noise of a pixel, as a share of white. Its distribution is triangular around 0.
    """

    side: int = 28
    size: float = 20 / 28
    warp: Warp = Warp()
    noise: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """A warp for each class, shared by its images: the position of each pixel before the image's own warp.

    Attributes:
        x: float32 (classes, side, side), in units of half the picture's side.
        y: Like `x`.
        stroke: float32 (classes,): how far the outline moves out, in pixels.
    """

    x: Floats
    y: Floats
    stroke: Floats


def draw_shapes(classes: int, side: int, warp: Warp, stream: RandomStream) -> Shapes:
    """Draw a warp for each class."""
    plain = _identity_shapes(1, side)
    x, y = _apply_warp(np.repeat(plain.x, classes, 0), np.repeat(plain.y, classes, 0), warp, stream)
    return Shapes(x, y, stream.between(*warp.stroke, classes))


def draw_glyphs(
    fonts: Fonts,
    names: Sequence[str],
    characters: str,
    size: int,
    stream: RandomStream,
    style: Style,
    shapes: Shapes | None = None,
) -> tuple[Images, Labels]:
    """Draw labelled images, white on black. Character and font are independent and uniformly distributed.

    Args:
        fonts: From `load_fonts`.
        names: Names of the fonts to draw from.
        characters: One for each class.
        size: Number of images.
        stream: Source of randomness.
        style: How they are drawn.
        shapes: Warps of the classes; None for no warp shared by a class.

    Returns:
        uint8 (size, side, side) and int64 (size,), the index of each image's character in `characters`.

    Raises:
        DatasetError: A font is missing, or lacks a character.
    """
    fields = _select_fields(fonts, names, characters)
    shapes = shapes or _identity_shapes(len(characters), style.side)
    images = np.empty((size, style.side, style.side), np.uint8)
    labels = stream.below(len(characters), size)
    chosen = stream.below(len(names), size)
    for start in range(0, size, _BATCH):
        batch = slice(start, start + _BATCH)
        kinds = labels[batch]
        x, y = _apply_warp(shapes.x[kinds], shapes.y[kinds], style.warp, stream)
        levels = _sample_fields(fields, chosen[batch] * len(characters) + kinds, x, y, style)
        stroke = shapes.stroke[kinds] + stream.between(*style.warp.stroke, len(kinds))
        images[batch] = _render(levels, stroke, stream, style)
    return images, labels


def _select_fields(fonts: Fonts, names: Sequence[str], characters: str) -> Floats:
    """Return the distance fields of each font's characters, float32 (fonts * characters * CELLS * CELLS,)."""
    missing = [name for name in names if name not in fonts.names] + [c for c in characters if c not in fonts.characters]
    if missing:
        raise DatasetError(f"there should be fonts and characters of these names, and are not: {', '.join(missing)}")
    rows = [fonts.names.index(name) for name in names]
    columns = [fonts.characters.index(character) for character in characters]
    chosen = fonts.distances[np.ix_(rows, columns)]
    for row, column in np.argwhere(~chosen.any((2, 3))):
        raise DatasetError(f"the font {names[row]} has no {characters[column]}: leave out one of them")
    return chosen.astype(np.float32).reshape(-1)


def _identity_shapes(classes: int, side: int) -> Shapes:
    """Return the centres of the pixels, the same for each class."""
    ramp = (np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / side) - np.float32(1)
    return Shapes(
        np.broadcast_to(ramp[None, None, :], (classes, side, side)),
        np.broadcast_to(ramp[None, :, None], (classes, side, side)),
        np.zeros(classes, np.float32),
    )


def _apply_warp(x: Floats, y: Floats, warp: Warp, stream: RandomStream) -> tuple[Floats, Floats]:
    """Apply a random warp for each image to points (images, side, side)."""
    count, side, _ = x.shape
    half = stream.between(-warp.turn, warp.turn, count, 1, 1)  # tangent of half the angle: cosine and sine follow
    cosine, sine = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    if warp.any_way_up:
        up = stream.signs(count, 1, 1)
        flip = stream.signs(count, 1, 1)
    else:
        up = flip = np.ones((count, 1, 1), np.float32)
    wide, high = 1 + stream.between(-warp.stretch, warp.stretch, 2, count, 1, 1)
    shear = stream.between(-warp.shear, warp.shear, count, 1, 1)
    shift = stream.between(-warp.shift, warp.shift, 2, count, 1, 1)
    x, y = x + shift[0], y + shift[1]
    along, across = (cosine * x + sine * y) * up, (cosine * y - sine * x) * up
    along = (along + shear * across) * (wide * flip)
    across = across * high
    if warp.bend:
        along += _draw_displacements(count, side, warp.bend, stream)
        across += _draw_displacements(count, side, warp.bend, stream)
    return along, across


def _draw_displacements(count: int, side: int, bend: float, stream: RandomStream) -> Floats:
    """Return smooth random displacements, float32 (count, side, side): uniform cubic B-splines of random knots."""
    knots = stream.between(-bend, bend, count, _KNOTS, _KNOTS)
    weights = _spline_weights(side)
    rows = knots[:, 0, None, :] * weights[:, 0, None]
    for knot in range(1, _KNOTS):
        rows += knots[:, knot, None, :] * weights[:, knot, None]
    field = rows[:, :, 0, None] * weights[:, 0]
    for knot in range(1, _KNOTS):
        field += rows[:, :, knot, None] * weights[:, knot]
    return field


def _spline_weights(side: int) -> Floats:
    """Return the weight of each knot at each pixel, float32 (side, _KNOTS)."""
    place = (np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32((_KNOTS - 3) / side)
    distance = np.abs(place[:, None] - (np.arange(_KNOTS, dtype=np.float32) - np.float32(1)))
    near = np.maximum(np.float32(2) - distance, 0)
    nearest = np.maximum(np.float32(1) - distance, 0)
    weights: Floats = (near * near * near - 4 * nearest * nearest * nearest) / np.float32(6)
    return weights


def _sample_fields(fields: Floats, chosen: npt.NDArray[np.int64], x: Floats, y: Floats, style: Style) -> Floats:
    """Return the levels of distance fields at points (images, side, side), by bilinear interpolation."""
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


def _render(levels: Floats, stroke: Floats, stream: RandomStream, style: Style) -> Images:
    """Return pictures, uint8: white inside the outlines, grey at their edges, with noise."""
    pixel = np.float32(LEVELS_PER_CELL * BOX / (style.side * style.size))  # levels
    cover = (levels - np.float32(MIDDLE)) / pixel + (stroke + np.float32(0.5))[:, None, None]
    ink = np.clip(cover, 0, 1) * np.float32(255)
    if style.noise:
        first, second = stream.bytes(2, *levels.shape)
        ink += (first.astype(np.float32) - second) * np.float32(style.noise)
    np.clip(ink, 0, 255, out=ink)
    return (ink + np.float32(0.5)).astype(np.uint8)
