"""The renderer of glyphs: the same on every machine, for any characters and sizes, from fonts that may be shipped."""

import hashlib
import json
from importlib.resources import files

import numpy as np
import pytest

from ml_trainer_env.server.datasets import DatasetError
from ml_trainer_env.server.datasets.fonts import Fonts, load_fonts
from ml_trainer_env.server.datasets.glyphs import Shapes, Style, Warp, draw_glyphs, draw_shapes
from ml_trainer_env.server.datasets.random_stream import RandomStream
from ml_trainer_env.server.datasets.values import checksum_arrays

BUNDLED = files("ml_trainer_env.server.datasets") / "bundled"
WARP = Warp(turn=0.3, any_way_up=True, shear=0.3, stretch=0.25, shift=0.2, bend=0.4, stroke=(-0.5, 1.0))
WARPED = Style(warp=WARP, noise=0.4)


@pytest.fixture(scope="module")
def fonts() -> Fonts:
    return load_fonts()


def test_a_seed_gives_the_same_bytes_on_every_machine(fonts: Fonts) -> None:
    stream = RandomStream([1, 2])
    shapes = draw_shapes(3, 28, WARP, stream)
    images, labels = draw_glyphs(fonts, fonts.for_training[:9], "3aZ", 600, stream, WARPED, shapes)

    assert checksum_arrays(images, labels) == "d78d4883c7a6f5d8efdcfd971c32a7a086fb06294833bffc7cd8c53e34147cd1"


def test_another_seed_gives_other_images(fonts: Fonts) -> None:
    one, other = (draw_glyphs(fonts, fonts.names, "01", 50, RandomStream(seed), WARPED)[0] for seed in (1, 2))

    assert not np.array_equal(one, other)


def test_no_two_images_are_the_same(fonts: Fonts) -> None:
    images, _ = draw_glyphs(fonts, fonts.names[:1], "0", 300, RandomStream(1), Style(warp=WARP))

    assert len(np.unique(images, axis=0)) == 300


@pytest.mark.parametrize(("characters", "side"), [("0123456789", 28), ("ABCabc", 32), ("#$%&?@+=", 20), ("x", 64)])
def test_any_characters_are_drawn_at_any_size(fonts: Fonts, characters: str, side: int) -> None:
    usable = [name for name in fonts.names if fonts.has(name, characters)]
    images, labels = draw_glyphs(fonts, usable, characters, 300, RandomStream(1), Style(side=side, warp=WARP))

    assert (images.dtype, images.shape) == (np.uint8, (300, side, side))
    assert (labels.dtype, set(labels.tolist())) == (np.int64, set(range(len(characters))))
    assert images.reshape(300, -1).max(1).min() > 0


def test_a_plain_glyph_lies_in_the_middle_as_mnists_digits_do(fonts: Fonts) -> None:
    thicker = Style(warp=Warp(stroke=(0.5, 0.5)))  # a hairline would leave no pixel half covered
    images, _ = draw_glyphs(fonts, fonts.names, "0123456789", 500, RandomStream(1), thicker)
    lit = images > 127
    for rows in (lit.any(1), lit.any(2)):
        first, last = rows.argmax(1), 27 - rows[:, ::-1].argmax(1)
        assert np.abs(first + last - 27).max() <= 1
    longer = np.maximum(lit.any(1).sum(1), lit.any(2).sum(1))
    assert longer.min() >= 20
    assert longer.max() <= 22


def test_a_plain_glyph_is_as_large_at_any_size(fonts: Fonts) -> None:
    small, large = (
        draw_glyphs(fonts, fonts.names[:5], "38", 40, RandomStream(1), Style(side=side))[0] / 255 for side in (28, 56)
    )
    halved = large.reshape(-1, 28, 2, 28, 2).mean((2, 4))

    assert np.abs(halved - small).mean() < 0.02


def test_a_wider_stroke_has_more_ink(fonts: Fonts) -> None:
    thin, plain, thick = (
        draw_glyphs(fonts, fonts.names, "5", 200, RandomStream(1), Style(warp=Warp(stroke=(w, w))))[0].mean((1, 2))
        for w in (-0.5, 0.0, 0.5)
    )

    assert (thin < plain).all()
    assert (plain < thick).all()


def test_all_images_of_a_class_share_its_shape(fonts: Fonts) -> None:
    """Without warps of their own, the images of one font are all the same; another class has another shape."""
    shapes = draw_shapes(2, 28, WARP, RandomStream(1))
    images, labels = draw_glyphs(fonts, fonts.names[:1], "55", 20, RandomStream(2), Style(), shapes)

    assert len(np.unique(images[labels == 0], axis=0)) == 1
    assert len(np.unique(images, axis=0)) == 2


def test_the_shape_that_changes_nothing_changes_nothing(fonts: Fonts) -> None:
    plain = draw_shapes(1, 28, Warp(), RandomStream(1))
    one, other = (draw_glyphs(fonts, fonts.names, "7", 30, RandomStream(2), Style(), s)[0] for s in (plain, None))

    assert isinstance(plain, Shapes)
    assert np.array_equal(one, other)


def test_noise_falls_on_the_black_and_on_the_white(fonts: Fonts) -> None:
    clean, noisy = (draw_glyphs(fonts, fonts.names, "8", 50, RandomStream(1), Style(noise=n))[0] for n in (0.0, 0.3))

    assert noisy[:, 0, 0].any()
    assert not clean[:, 0, 0].any()


def test_an_unknown_font_or_character_is_named(fonts: Fonts) -> None:
    with pytest.raises(DatasetError, match="comic"):
        draw_glyphs(fonts, ["comic"], "0", 1, RandomStream(1), Style())
    with pytest.raises(DatasetError, match="é"):
        draw_glyphs(fonts, fonts.names[:1], "é", 1, RandomStream(1), Style())


def test_a_character_that_a_font_lacks_is_named(fonts: Fonts) -> None:
    distances = fonts.distances.copy()
    distances[0, fonts.characters.index("@")] = 0
    lacking = Fonts(fonts.names, fonts.characters, distances)

    assert not lacking.has(fonts.names[0], "0@")
    assert lacking.has(fonts.names[0], "0")
    with pytest.raises(DatasetError, match=f"{fonts.names[0]} has no @"):
        draw_glyphs(lacking, fonts.names[:1], "0@", 1, RandomStream(1), Style())


# --- The fonts


def test_fonts_for_training_and_for_tests_are_apart_and_all(fonts: Fonts) -> None:
    assert not set(fonts.for_training) & set(fonts.for_test)
    assert set(fonts.for_training) | set(fonts.for_test) == set(fonts.names)
    assert len(fonts.for_training) >= 60
    assert len(fonts.for_test) >= 15


def test_no_two_fonts_have_the_same_digits(fonts: Fonts) -> None:
    digits = fonts.distances[:, [fonts.characters.index(digit) for digit in "0123456789"]]

    assert len(np.unique(digits.reshape(len(fonts.names), -1), axis=0)) == len(fonts.names)


def test_every_font_has_all_letters_and_digits(fonts: Fonts) -> None:
    latin = "".join(character for character in fonts.characters if character.isalnum())

    assert len(latin) == 62
    assert all(fonts.has(name, latin) for name in fonts.names)


def test_the_licence_names_every_font_and_whose_it_is(fonts: Fonts) -> None:
    text = (BUNDLED / "LICENSE-fonts.txt").read_text()
    notices = dict(line.split(" (", 1) for line in text.split("PREAMBLE")[0].splitlines() if " (" in line)

    assert set(fonts.names) <= set(notices)
    assert all("opyright" in notices[name] or "(c)" in notices[name] for name in fonts.names)
    assert "SIL OPEN FONT LICENSE Version 1.1" in text
    assert "PERMISSION & CONDITIONS" in text


def test_the_file_has_the_checksum_that_stands_beside_it() -> None:
    checksums = json.loads((BUNDLED / "checksums.json").read_text())

    assert hashlib.sha256((BUNDLED / "glyphs.npz").read_bytes()).hexdigest() == checksums["glyphs.npz"]
