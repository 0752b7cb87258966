"""The procedural stand-in for CIFAR-10: ten classes of 32 x 32 colour images drawn from a seed.

It is not CIFAR-10. It is a set on which the same network has the same choices to make: without regularisation it
learns the training images by heart, and flips, shifts and colour jitter teach it what does not matter. An image is a
figure of its class (`figures.py`) whose parts are jittered one by one; the figure is flipped, turned, stretched and
placed anywhere, put before a background with clutter, partly covered and lit in some way, none of which says anything
about the class. Colours and stripes say a little, as they do in photographs: without such hints a network that sees
every image augmented does not begin to learn.

Everything is made of PCG64's raw words and of additions, multiplications, divisions, comparisons and roundings of
float32 arrays element by element, which IEEE 754 fixes exactly: the same seed gives the same bytes on every machine.
"""

from dataclasses import dataclass

import numpy as np

from ml_trainer_env.server.datasets.figures import FIGURES, HABITS, Colour, Figure, Habit, Shape
from ml_trainer_env.server.datasets.values import CLASS_COUNT, Images, Labels
from ml_trainer_env.server.datasets.words import Floats, Words

__all__ = ["CALIBRATED", "Style", "draw_stand_in"]

_SIDE = 32
_BATCH = 128  # images painted at a time, so that the arrays stay in the processor's cache; another number, other images


@dataclass(frozen=True, slots=True)
class Style:
    """How far images stray from their class. More of anything but `smallest`, `habit` and `stripes` is harder.

    Attributes:
        part_jitter: How far parts move and how much they grow, as a fraction of the figure.
        smallest: Size of the smallest figures, as a fraction of half the picture; the largest are 1.
        shift: How far figures lie from the middle, as a fraction of half the picture.
        turn: Tangent of half the largest angle of turning.
        clutter: Number of stray shapes behind the figure.
        covers: Number of stray shapes before it.
        habit: How much colours keep to those of the class, 0 to 1.
        stripes: Greatest strength of the stripes of the class, in units of the full range.
        texture: Strength of the background's texture, in units of the full range.
        cast: Strength of brightness and colour cast.
        noise: Half width of the pixel noise, in units of the full range.
    """

    part_jitter: float = 0.12
    smallest: float = 0.6
    shift: float = 0.2
    turn: float = 0.2
    clutter: int = 3
    covers: int = 1
    habit: float = 0.3
    stripes: float = 0.25
    texture: float = 0.12
    cast: float = 0.4
    noise: float = 0.1


CALIBRATED = Style()
"""Measured on the images and with the network of `hard_cifar`, validation accuracy at the last epoch.

Plain (20 epochs of adam at 0.001): 0.612 and 0.605 (2 seeds), train accuracy 1.0. Tuned (45 epochs of adamw at 0.002,
cosine, weight decay 0.01, full augmentation): 0.827 (1 seed). CIFAR-10 itself (images that went through JPEG once)
gave 0.578 and 0.564 plain, and 0.727 tuned with weight decay 0.05 and dropout 0.2.
"""


def draw_stand_in(size: int, seed: int, style: Style = CALIBRATED) -> tuple[Images, Labels]:
    """Draws labelled images; any run of them is as good a sample as any other.

    Args:
        size: How many.
        seed: At least 0.
        style: How hard to recognise.

    Returns:
        uint8 (size, 32, 32, 3) and int64 (size,): each class equally often, to within one, in random order.
    """
    words = Words(seed)
    order = np.argsort(words.floats(size), kind="stable")
    kinds = (np.arange(size) % (2 * CLASS_COUNT))[np.argsort(order, kind="stable")]  # class and view
    images = np.empty((size, _SIDE, _SIDE, 3), dtype=np.uint8)
    for kind in range(2 * CLASS_COUNT):
        (places,) = np.nonzero(kinds == kind)
        figure = FIGURES[kind % CLASS_COUNT][kind // CLASS_COUNT]
        for start in range(0, len(places), _BATCH):
            batch = places[start : start + _BATCH]
            images[batch] = _paint(figure, HABITS[kind % CLASS_COUNT], len(batch), words, style)
    return images, (kinds % CLASS_COUNT).astype(np.int64)


def _paint(figure: Figure, habit: Habit, count: int, words: Words, style: Style) -> Images:
    """Returns `count` pictures of one figure, uint8 (count, 32, 32, 3)."""
    picture = _background(habit, count, words, style)
    for number in range(style.clutter):
        _add_stray(picture, number, words)
    x, y = _figure_coordinates(count, words, style)
    colours = [_stray_colours(habit.figure, count, words, style), words.floats(count, 3), words.floats(count, 3)]
    stripes = _stripes(habit, x, y, words, style)
    for part in figure.parts:
        jitter = words.between(-style.part_jitter, style.part_jitter, 4, count, 1, 1)
        across = (x - part.x - jitter[0]) / (np.float32(part.half_width) * (1 + 2 * jitter[2]))
        along = (y - part.y - jitter[1]) / (np.float32(part.half_height) * (1 + 2 * jitter[3]))
        _blend(picture, _coverage(part.shape, across, along), colours[part.colour], stripes)
    for number in range(style.covers):
        _add_stray(picture, number, words)
    return _develop(picture, words, style)


def _figure_coordinates(count: int, words: Words, style: Style) -> tuple[Floats, Floats]:
    """Returns the figure's x and y at every pixel, each float32 (count, 32, 32): flipped, turned, stretched, moved."""
    middle = words.between(-style.shift, style.shift, 2, count, 1, 1)
    half = words.between(-style.turn, style.turn, count, 1, 1)  # tangent of half the angle: cosine and sine follow
    scale = words.between(style.smallest, 1.0, count, 1, 1)
    stretch = words.between(0.8, 1.25, count, 1, 1)
    flip = words.signs(count, 1, 1)
    cosine = (1 - half * half) / (1 + half * half)
    sine = 2 * half / (1 + half * half)
    ramp = _ramp()
    right = ramp[None, None, :] - middle[0]
    down = ramp[None, :, None] - middle[1]
    return (right * cosine + down * sine) * flip / (scale * stretch), (down * cosine - right * sine) / scale * stretch


def _stray_colours(usual: Colour, count: int, words: Words, style: Style) -> Floats:
    """Returns colours around a usual one, float32 (count, 3)."""
    strayed = words.floats(count, 3) * np.float32(1 - style.habit)
    return strayed + np.array(usual, dtype=np.float32) * np.float32(style.habit)


def _stripes(habit: Habit, x: Floats, y: Floats, words: Words, style: Style) -> Floats:
    """Returns the light and shade of a class's surface, float32 (count, 32, 32) around 0: a triangle wave."""
    phase = words.floats(len(x), 1, 1)
    strength = words.between(0, style.stripes, len(x), 1, 1)
    wave = x * np.float32(habit.stripes_x / 2) + y * np.float32(habit.stripes_y / 2) + phase
    triangle: Floats = np.abs(wave - np.floor(wave) - np.float32(0.5)) - np.float32(0.25)
    return triangle * (strength * 4)


def _background(habit: Habit, count: int, words: Words, style: Style) -> Floats:
    """Returns a ground and a sky with a soft texture, float32 (count, 3, 32, 32) around 0 to 1."""
    horizon = words.between(-0.6, 0.6, count, 1)
    sky_share = np.clip((horizon - _ramp()[None, :]) * np.float32(4) + np.float32(0.5), 0, 1)[:, None, :, None]
    sky = _stray_colours(habit.above, count, words, style)[:, :, None, None]
    ground = _stray_colours(habit.below, count, words, style)[:, :, None, None]
    picture = np.broadcast_to(ground + (sky - ground) * sky_share, (count, 3, _SIDE, _SIDE)).copy()
    for cells in (4, 8):
        picture += _soft_noise(count, cells, words) * np.float32(style.texture)
    return picture


def _soft_noise(count: int, cells: int, words: Words) -> Floats:
    """Returns random grids interpolated to the picture, float32 (count, 3, 32, 32) in [-1, 1)."""
    grid = words.between(-1, 1, count, 3, cells + 1, cells + 1)
    place = np.arange(_SIDE, dtype=np.float32) * np.float32(cells / _SIDE)
    cell = place.astype(np.intp)
    share = place - cell.astype(np.float32)
    columns = grid[..., cell] + (grid[..., cell + 1] - grid[..., cell]) * share
    return columns[:, :, cell] + (columns[:, :, cell + 1] - columns[:, :, cell]) * share[:, None]


def _add_stray(picture: Floats, number: int, words: Words) -> None:
    """Paints a stray shape of any place, size and colour onto each picture."""
    count = len(picture)
    middle = words.between(-1, 1, 2, count, 1, 1)
    half = words.between(0.08, 0.45, 2, count, 1, 1)
    across = (_ramp()[None, None, :] - middle[0]) / half[0]
    along = (_ramp()[None, :, None] - middle[1]) / half[1]
    _blend(picture, _coverage(list(Shape)[number % len(Shape)], across, along), words.floats(count, 3))


def _coverage(shape: Shape, across: Floats, along: Floats) -> Floats:
    """Returns how much of each pixel a shape covers, 0 to 1, with soft edges; `across` and `along` are 1 at its rim."""
    match shape:
        case Shape.ELLIPSE:
            distance: Floats = across * across + along * along
        case Shape.BOX:
            distance = np.maximum(np.abs(across), np.abs(along))
        case Shape.TRIANGLE:
            distance = np.maximum(along, 2 * np.abs(across) - along)
    covered: Floats = np.clip((1 - distance) * np.float32(3) + np.float32(0.5), 0, 1)
    return covered


def _blend(picture: Floats, coverage: Floats, colour: Floats, shade: Floats | None = None) -> None:
    """Paints a colour (count, 3), shaded or plain, where the coverage (count, 32, 32) says so."""
    change = colour[:, :, None, None] - picture
    if shade is not None:
        change += shade[:, None]
    change *= coverage[:, None]
    picture += change


def _develop(picture: Floats, words: Words, style: Style) -> Images:
    """Applies light, colour cast and noise, and returns uint8."""
    count = len(picture)
    light = words.between(-style.cast / 2, style.cast / 2, count, 1, 1, 1)
    gain = words.between(1 - style.cast / 2, 1 + style.cast / 2, count, 3, 1, 1)
    picture = (picture - np.float32(0.5)) * gain + np.float32(0.5) + light
    first, second = words.bytes(2, *picture.shape).astype(np.float32)
    picture += (first - second) * np.float32(style.noise / 255)
    picture *= np.float32(255)
    np.clip(picture, 0, 255, out=picture)
    return picture.astype(np.uint8).transpose(0, 2, 3, 1)


def _ramp() -> Floats:
    """Returns the pixels' coordinates along one side, float32 (32,) from -1 to 1."""
    return (np.arange(_SIDE, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / _SIDE) - np.float32(1)
