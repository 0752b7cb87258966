"""The shapes of letters and digits in about 100 bundled fonts: `bundled/glyphs.npz`.

The file has a distance field for each character: the distance of each grid cell's centre from the outline, inside
(above `MIDDLE`) or outside (below). The outline is centred, and its longer side is `BOX` cells long.
`scripts/build_fonts.py` builds the file from fonts under the SIL Open Font License. Their notices are in the same
folder.
"""

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml_trainer_env.server.datasets.bundled import read_bundled

__all__ = ["BOX", "CELLS", "LEVELS_PER_CELL", "MIDDLE", "Fonts", "is_for_test", "load_fonts", "read_fonts"]

CELLS = 32
"""Cells along each side of a distance field."""

BOX = 24
"""Cells along the longer side of an outline."""

MIDDLE = 127.5
"""The level of a distance field on the outline itself."""

LEVELS_PER_CELL = 32
"""Change of level per cell of distance. Fields are clipped 4 cells from an outline."""

_TEST_SHARE = 64
"""Fonts whose first hash byte is below this are test fonts: about a quarter of 256."""


@dataclass(frozen=True, slots=True, eq=False)
class Fonts:
    """Distance fields by font and character.

    Attributes:
        names: Names of the fonts, in order.
        characters: Characters, in order.
        distances: uint8 (fonts, characters, CELLS, CELLS), read-only; zero for a character that a font lacks. All fonts
            have the letters and digits.
    """

    names: tuple[str, ...]
    characters: str
    distances: npt.NDArray[np.uint8]

    @property
    def for_training(self) -> tuple[str, ...]:
        """Names of the fonts for training images."""
        return tuple(name for name in self.names if not is_for_test(name))

    @property
    def for_test(self) -> tuple[str, ...]:
        """Names of the fonts for test images. They are disjoint from the training fonts."""
        return tuple(name for name in self.names if is_for_test(name))

    def has(self, name: str, characters: str) -> bool:
        """Whether a font has all of these characters, which must be in `characters`."""
        columns = [self.characters.index(character) for character in characters]
        return bool(self.distances[self.names.index(name), columns].any((1, 2)).all())


@functools.cache
def load_fonts() -> Fonts:
    """Return the bundled fonts. They are cached in memory.

    Raises:
        DatasetError: The bundled file is missing or damaged.
    """
    return read_fonts("glyphs.npz")


def read_fonts(file: str, prefix: str = "") -> Fonts:
    """Return the fonts of a bundled file whose arrays have this prefix. They are not cached.

    Raises:
        DatasetError: The bundled file is missing or damaged.
    """
    arrays = read_bundled(file)
    changes = arrays[f"{prefix}changes"]
    distances = np.cumsum(changes, axis=-1, dtype=np.uint8)  # wraps around, like the differences
    distances.setflags(write=False)
    return Fonts(tuple(arrays[f"{prefix}fonts"].tolist()), "".join(arrays[f"{prefix}characters"].tolist()), distances)


def is_for_test(name: str) -> bool:
    """Whether a font is a test font. Depends on its name alone, so that new fonts do not move others."""
    return hashlib.sha256(name.encode()).digest()[0] < _TEST_SHARE
