"""The shapes of letters and digits in about 100 fonts that this package carries: `bundled/glyphs.npz`.

Of each character the file has a distance field: how far the middle of each cell of a square grid lies inside the
outline (above `MIDDLE`) or outside of it (below). The outline is centred, and its longer side is `BOX` cells long.
`scripts/build_fonts.py` builds it from fonts under the SIL Open Font License, whose notices lie beside it.
"""

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml_trainer_env.server.datasets.bundled import read_bundled

__all__ = ["BOX", "CELLS", "LEVELS_PER_CELL", "MIDDLE", "Fonts", "load_fonts"]

CELLS = 32
"""Cells along each side of a distance field."""

BOX = 24
"""Cells along the longer side of an outline."""

MIDDLE = 127.5
"""The level of a distance field on the outline itself."""

LEVELS_PER_CELL = 32
"""So many levels lie between two points one of which is one cell further inside; fields end 4 cells from an outline."""

_TEST_SHARE = 64
"""Fonts whose hash begins with a byte below this are for tests: about a quarter of 256."""


@dataclass(frozen=True, slots=True, eq=False)
class Fonts:
    """Distance fields by font and character.

    Attributes:
        names: Of the fonts, in order.
        characters: In order.
        distances: uint8 (fonts, characters, CELLS, CELLS), read-only; zero where a font has no such character. All have
            the letters and digits.
    """

    names: tuple[str, ...]
    characters: str
    distances: npt.NDArray[np.uint8]

    @property
    def for_training(self) -> tuple[str, ...]:
        """Names of the fonts that training images are drawn from."""
        return tuple(name for name in self.names if not _is_for_test(name))

    @property
    def for_test(self) -> tuple[str, ...]:
        """Names of the fonts that test images are drawn from: none that training images are drawn from."""
        return tuple(name for name in self.names if _is_for_test(name))

    def has(self, name: str, characters: str) -> bool:
        """Whether a font has all of these characters; they must be among `characters`."""
        columns = [self.characters.index(character) for character in characters]
        return bool(self.distances[self.names.index(name), columns].any((1, 2)).all())


@functools.cache
def load_fonts() -> Fonts:
    """Returns the bundled fonts, kept in memory from the first call on.

    Raises:
        DatasetError: The bundled file is missing or is not the one that was built.
    """
    arrays = read_bundled("glyphs.npz")
    distances = np.cumsum(arrays["changes"], axis=-1, dtype=np.uint8)  # wraps around, as the differences did
    distances.setflags(write=False)
    return Fonts(tuple(arrays["fonts"].tolist()), "".join(arrays["characters"].tolist()), distances)


def _is_for_test(name: str) -> bool:
    """Decided by the name alone, so that another font that is added moves none to the other side."""
    return hashlib.sha256(name.encode()).digest()[0] < _TEST_SHARE
