"""The collections of images that are made of other bundled files, or drawn: digits, clothes, objects and letters.

Nothing here is random from one call to the next: the seeds are constants, so a collection never changes.
"""

import functools
from collections.abc import Callable, Mapping

import numpy as np

from ml_trainer_env.server.datasets.bundled import bundled_mnist, read_bundled
from ml_trainer_env.server.datasets.collections.repeats import drop_repeats
from ml_trainer_env.server.datasets.collections.values import Pool
from ml_trainer_env.server.datasets.errors import DatasetError
from ml_trainer_env.server.datasets.fonts import Fonts, load_fonts, read_fonts
from ml_trainer_env.server.datasets.glyphs import Style, Warp, draw_glyphs
from ml_trainer_env.server.datasets.random_stream import RandomStream
from ml_trainer_env.server.datasets.synthetic import Style as ObjectStyle
from ml_trainer_env.server.datasets.synthetic import draw_stand_in
from ml_trainer_env.server.datasets.values import Images

__all__ = ["ALPHABETS", "GLYPH_SIDE", "LETTERS", "PICTURES", "halve"]

LETTERS = "23456789ABCDEFGHJKLMNOPQRSTUVWXYZabdefghnqrtimyp&?"
"""Characters of `letters`. Of those that many fonts draw alike only one is there: O is there and 0 is not."""

ALPHABETS: Mapping[str, str] = {
    "cyrillic": "БГДЖЗИЙЛПФЦЧШЩЪЫЬЭЮЯабвгджзйлфэюя",
    "greek": "ΓΔΘΛΞΠΣΦΨΩαβγδεζηθκλμξπρστφχψω",
    "hebrew": "אבגדהוזחטיכלמנסעפצקרשתםןץ",
}
"""Characters of the collections that are drawn from `alphabets.npz`."""

_ALPHABET_FILE = "alphabets.npz"

GLYPH_SIDE = 20

_PER_CLASS = 300  # glyphs of a class in the fonts for training
_TEST_PER_CLASS = 200  # and in the fonts for the test
_GLYPH_STYLE = Style(
    side=GLYPH_SIDE,
    size=16 / 20,
    warp=Warp(turn=0.1, shear=0.2, stretch=0.15, shift=0.1, bend=0.08, stroke=(-0.5, 0.5)),
    noise=0.1,
)
_GLYPH_SEED = 20_000

_FIRST_OF_TEST = 6_500  # of the 10,000 images of digits and of clothes
_OBJECTS, _TEST_OBJECTS = 3_000, 2_000
_OBJECT_SEED = 30_000
_OBJECT_STYLE = ObjectStyle(  # easier than the stand-in's own, because the images have half of its size
    part_jitter=0.1,
    min_scale=0.8,
    shift=0.1,
    turn=0.1,
    clutter=1,
    occluders=0,
    class_colour_weight=0.4,
    cast=0.2,
    noise=0.05,
)


def halve(images: Images) -> Images:
    """Return images (N, H, W) or (N, H, W, C) of half the height and width: the rounded mean of 2 x 2 pixels."""
    wide = images.astype(np.uint16)
    rows = wide[:, 0::2] + wide[:, 1::2]
    total = rows[:, :, 0::2] + rows[:, :, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)


def _make_digits() -> Pool:
    images, labels = bundled_mnist()  # in an order that is the same for every source of the images
    return _split_images(images, labels)


def _make_clothes() -> Pool:
    arrays = read_bundled("fashion_mnist.npz")
    return _split_images(arrays["images"], arrays["labels"].astype(np.int64))


def _split_images(images: Images, labels: np.ndarray) -> Pool:
    return drop_repeats(Pool(halve(images), labels, np.arange(len(labels)) >= _FIRST_OF_TEST))


def _make_objects() -> Pool:
    images, labels = draw_stand_in(_OBJECTS, _OBJECT_SEED, _OBJECT_STYLE)
    hidden, hidden_labels = draw_stand_in(_TEST_OBJECTS, _OBJECT_SEED + 1, _OBJECT_STYLE)
    in_test = np.arange(len(labels) + len(hidden_labels)) >= len(labels)
    return Pool(halve(np.concatenate([images, hidden])), np.concatenate([labels, hidden_labels]), in_test)


def _make_letters() -> Pool:
    return _draw_alphabet(load_fonts(), LETTERS, _GLYPH_SEED)


def _make_alphabet(name: str) -> Pool:
    fonts = read_fonts(_ALPHABET_FILE, f"{name}_")
    return _draw_alphabet(fonts, ALPHABETS[name], _GLYPH_SEED + 2 * (1 + list(ALPHABETS).index(name)))


def _draw_alphabet(fonts: Fonts, characters: str, seed: int) -> Pool:
    """Return images of characters, the hidden test's from fonts of their own."""
    sets = []
    for number, (names, count) in enumerate([(fonts.for_training, _PER_CLASS), (fonts.for_test, _TEST_PER_CLASS)]):
        able = [name for name in names if fonts.has(name, characters)]
        if not able:
            raise DatasetError(f"no font has all of {characters}")
        sets.append(
            draw_glyphs(fonts, able, characters, count * len(characters), RandomStream(seed + number), _GLYPH_STYLE)
        )
    (images, labels), (hidden, hidden_labels) = sets
    in_test = np.arange(len(labels) + len(hidden_labels)) >= len(labels)
    return drop_repeats(Pool(np.concatenate([images, hidden]), np.concatenate([labels, hidden_labels]), in_test))


PICTURES: Mapping[str, Callable[[], Pool]] = {
    "digits": _make_digits,
    "clothes": _make_clothes,
    "objects": _make_objects,
    "letters": _make_letters,
    **{name: functools.partial(_make_alphabet, name) for name in ALPHABETS},
}
"""How each of these collections is made."""
