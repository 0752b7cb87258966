"""Shapes of characters of many fonts: distance fields of three alphabets, and outlines of Latin letters as points.

The fonts come from the npm packages `@fontsource/*`. Those of the alphabets are pinned in `scripts/alphabets.json`,
those of the outlines in `scripts/fonts.json`, as for `glyphs.npz`.
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from build_fonts import PINS, Font, fetch, field, licences  # type: ignore[import-not-found]  # mypy does not look beside a script
from fontTools.pens.basePen import BasePen  # type: ignore[import-untyped]  # it has no stubs
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]

from ml_trainer_env.server.datasets.collections.pictures import ALPHABETS
from ml_trainer_env.server.datasets.collections.series import OUTLINED
from ml_trainer_env.server.datasets.fonts import is_for_test

from .pack import Arrays
from .packages import Packages

ALPHABET_PINS = PINS.with_name("alphabets.json")

OUTLINE_POINTS = 32
_CURVE_STEPS = 16  # straight pieces of a curve
_REACH = 56  # half of an outline's longer side; the coordinates are int8

Points = np.ndarray


def alphabets(packages: Packages) -> Arrays:
    """Distance fields as in `glyphs.npz`: fonts, characters and changes, each with an alphabet's name before it."""
    arrays: Arrays = {}
    for name, characters in ALPHABETS.items():
        fonts = [font for font in fetch_alphabet(packages, name) if has_all(font.woff, characters)]
        fields = np.stack([np.stack([field(font.woff, character) for character in characters]) for font in fonts])
        arrays[f"{name}_fonts"] = np.array([font.name for font in fonts])
        arrays[f"{name}_characters"] = np.array(list(characters))
        arrays[f"{name}_changes"] = np.diff(fields, axis=-1, prepend=np.uint8(0))
        print(f"{name}: {len(fonts)} fonts, {sum(is_for_test(font.name) for font in fonts)} of them for the test")
    return arrays


def outlines(packages: Packages) -> Arrays:
    """Outlines of letters as points at equal distances along the way, from the top left on, clockwise."""
    pins: dict[str, Any] = json.loads(PINS.read_text())
    points, labels, in_test = [], [], []
    for name in sorted(pins):
        font = TTFont(io.BytesIO(fetch(name, pins[name], font_folder(packages)).woff))
        for label, character in enumerate(OUTLINED):
            points.append(trace(font, character))
            labels.append(label)
            in_test.append(is_for_test(name))
    return {"points": np.stack(points), "labels": np.array(labels, np.uint8), "in_test": np.array(in_test)}


def fetch_alphabet(packages: Packages, alphabet: str) -> list[Font]:
    """Returns the fonts that have an alphabet."""
    pins: dict[str, Any] = json.loads(ALPHABET_PINS.read_text())
    return [
        fetch(name, pins[name], font_folder(packages), alphabet)
        for name in sorted(pins)
        if alphabet in pins[name]["alphabets"]
    ]


def describe_fonts(packages: Packages) -> str:
    """Returns the licence of the fonts of all alphabets."""
    fonts = {font.name: font for alphabet in ALPHABETS for font in fetch_alphabet(packages, alphabet)}
    text: str = licences([fonts[name] for name in sorted(fonts)], "alphabets.npz: distance fields of the glyphs")
    return text


def font_folder(packages: Packages) -> Path:
    """Returns the folder that fonts are fetched into."""
    folder = packages.folder / "fonts"
    folder.mkdir(exist_ok=True)
    return folder


def has_all(woff: bytes, characters: str) -> bool:
    """Whether a font has all of these characters."""
    known = TTFont(io.BytesIO(woff)).getBestCmap()
    return all(ord(character) in known for character in characters)


def trace(font: TTFont, character: str) -> Points:
    """Returns the outline of a character's largest part, int8 (OUTLINE_POINTS, 2): x to the right, y down."""
    glyphs = font.getGlyphSet()
    pen = _Polygons(glyphs)
    glyphs[font.getBestCmap()[ord(character)]].draw(pen)
    polygon = max((np.array(points, np.float64) for points in pen.polygons if len(points) > 2), key=_size)
    polygon = polygon * [1, -1]
    if _area(polygon) < 0:
        polygon = polygon[::-1]
    low, high = polygon.min(0), polygon.max(0)
    polygon = (polygon - (low + high) / 2) * (2 * _REACH / (high - low).max())
    polygon = np.roll(polygon, -int(np.argmin(polygon.sum(1))), axis=0)
    closed = np.concatenate([polygon, polygon[:1]])
    way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    places = np.arange(OUTLINE_POINTS) * (way[-1] / OUTLINE_POINTS)
    points: Points = np.rint(np.stack([np.interp(places, way, closed[:, axis]) for axis in (0, 1)], axis=1)).astype(
        np.int8
    )
    return points


def _area(polygon: Points) -> float:
    x, y = polygon.T
    return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) / 2)


def _size(polygon: Points) -> float:
    return abs(_area(polygon))


class _Polygons(BasePen):  # type: ignore[misc]  # the base class has no types
    """Takes down a glyph's outlines as polygons."""

    def __init__(self, glyphs: Any) -> None:
        super().__init__(glyphs)
        self.polygons: list[list[tuple[float, float]]] = []

    def _moveTo(self, pt: tuple[float, float]) -> None:  # noqa: N802
        self.polygons.append([pt])

    def _lineTo(self, pt: tuple[float, float]) -> None:  # noqa: N802
        self.polygons[-1].append(pt)

    def _curveToOne(self, *points: tuple[float, float]) -> None:  # noqa: N802
        first, (second, third, fourth) = self._getCurrentPoint(), points
        for step in range(1, _CURVE_STEPS + 1):
            t = step / _CURVE_STEPS
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            pairs = list(zip(weights, (first, second, third, fourth), strict=True))
            self.polygons[-1].append((sum(w * p[0] for w, p in pairs), sum(w * p[1] for w, p in pairs)))


SHAPES = {"alphabets": alphabets, "outlines": outlines}
