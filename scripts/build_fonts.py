"""Builds `server/datasets/bundled/glyphs.npz`: the shapes of letters and digits in about 100 fonts, and their licences.

The fonts come from the npm packages `@fontsource/*`; `scripts/fonts.json` pins each one's version and SHA-256. All are
under the SIL Open Font License 1.1, and the script ends where one is not. Of each character the file has a distance
field: how far each cell of a square grid lies inside or outside the outline. That is all a renderer needs, so the
package needs no font library. Needs npm, and Pillow, fontTools and scipy, which come with the package. The same
versions of FreeType and zlib write the same bytes.

    python scripts/build_fonts.py             # build from the pinned packages
    python scripts/build_fonts.py --pin       # pin the versions of today, then build
"""

import argparse
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from build_bundled_data import (  # type: ignore[import-not-found]  # mypy does not look beside a script
    BUNDLED,
    read_member,
    verify,
    write_archive,
    write_checksums,
)
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]  # it has no stubs
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt

from ml_trainer_env.server.datasets.fonts import BOX, CELLS, LEVELS_PER_CELL, MIDDLE

PINS = Path(__file__).with_name("fonts.json")

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%&?@+="
PER_CELL = 8
"""Pixels a cell when an outline is drawn, before its distances are taken."""

OFL_BODY = "PREAMBLE"
OFL_SHA256 = "65a67a379d9157a5d3e26b95313206afe983db9743688fc98d9545c9f24bbe7d"
"""Of the licence from its preamble on, white space as single spaces: the same for all fonts."""


@dataclass(frozen=True)
class Font:
    """A font as its package has it: the WOFF file of the regular style, the copyright notice and the licence."""

    name: str
    version: str
    woff: bytes
    notice: str
    licence: str


def main() -> None:
    """Builds everything, and leaves the old files alone if any step fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pin", action="store_true", help="take the versions of today and write fonts.json")
    pins: dict[str, Any] = json.loads(PINS.read_text())
    with tempfile.TemporaryDirectory() as folder:
        if parser.parse_args().pin:
            pins = pin(sorted(pins), Path(folder))
            PINS.write_text(json.dumps(pins, indent=1) + "\n")
        fonts = [fetch(name, pins[name], Path(folder)) for name in sorted(pins)]
    distances = np.stack([fields(font) for font in fonts])
    content = write_archive(
        {
            "fonts": np.array([font.name for font in fonts]),
            "characters": np.array(list(CHARACTERS)),
            # The change from each cell to the next one to the right compresses better than the distances do.
            "changes": np.diff(distances, axis=-1, prepend=np.uint8(0)),
        }
    )
    (BUNDLED / "glyphs.npz").write_bytes(content)
    (BUNDLED / "LICENSE-fonts.txt").write_text(licences(fonts))
    write_checksums({"glyphs.npz": content})
    print(f"glyphs.npz: {len(fonts)} fonts, {len(CHARACTERS)} characters, {len(content):,} bytes")


def pin(names: list[str], folder: Path) -> dict[str, Any]:
    """Returns version and SHA-256 of each font's package as it is today."""
    packed = npm_pack([f"@fontsource/{name}" for name in names], folder)
    return {
        name: {
            "version": file.name.removesuffix(".tgz").rpartition("-")[2],
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        for name, file in zip(names, packed, strict=True)
    }


def fetch(name: str, pinned: dict[str, Any], folder: Path, subset: str = "latin") -> Font:
    """Returns a font out of its package, with the characters of a subset."""
    archive = folder / f"fontsource-{name}-{pinned['version']}.tgz"
    if not archive.exists():
        npm_pack([f"@fontsource/{name}@{pinned['version']}"], folder)
    verify(archive.name, archive.read_bytes(), pinned["sha256"])
    with tarfile.open(archive) as package:
        about = json.loads(read_member(package, "package/package.json"))
        notice, found, licence = read_member(package, "package/LICENSE").decode().partition(OFL_BODY)
        woff = read_member(package, f"package/files/{name}-{subset}-400-normal.woff")
    if about["license"] != "OFL-1.1" or not found:
        raise SystemExit(f"{name} should be under OFL-1.1 and is under {about['license']}")
    verify(f"the licence of {name}", " ".join((found + licence).split()).encode(), OFL_SHA256)
    return Font(name, pinned["version"], woff, notice.partition("This Font Software is licensed")[0], found + licence)


def npm_pack(packages: list[str], folder: Path) -> list[Path]:
    """Fetches packages and returns their archives, in the order given."""
    done = subprocess.run(
        ["npm", "pack", "--silent", *packages], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    )
    return [folder / name for name in done.stdout.split()]


def fields(font: Font) -> np.ndarray:
    """Returns the distance fields of all characters, uint8 (characters, CELLS, CELLS); zero where the font has none."""
    known = TTFont(io.BytesIO(font.woff)).getBestCmap()
    result = np.zeros((len(CHARACTERS), CELLS, CELLS), np.uint8)
    for number, character in enumerate(CHARACTERS):
        if ord(character) in known:
            result[number] = field(font.woff, character)
        elif character.isalnum():
            raise SystemExit(f"{font.name} should have all letters and digits and has no {character}")
    return result


def field(woff: bytes, character: str) -> np.ndarray:
    """Returns a character's distance field, uint8 (CELLS, CELLS): the longer side of its outline is BOX cells."""
    measured = drawn(woff, 400, character)
    glyph = drawn(woff, 400 * BOX * PER_CELL / max(measured.size), character)
    side = CELLS * PER_CELL
    canvas = Image.new("L", (side, side))
    canvas.paste(glyph, ((side - glyph.width) // 2, (side - glyph.height) // 2))
    inside = np.asarray(canvas) >= 128
    signed = distance_transform_edt(inside) - distance_transform_edt(~inside)
    middles = signed.reshape(CELLS, PER_CELL, CELLS, PER_CELL)[:, PER_CELL // 2 - 1 : PER_CELL // 2 + 1]
    in_cells = middles[..., PER_CELL // 2 - 1 : PER_CELL // 2 + 1].mean((1, 3)) / PER_CELL
    levels: np.ndarray = np.clip(np.rint(MIDDLE + in_cells * LEVELS_PER_CELL), 0, 255).astype(np.uint8)
    return levels


def drawn(woff: bytes, size: float, character: str) -> Image.Image:
    """Returns a character at a size in pixels to the em, white on black, without a margin."""
    font = ImageFont.truetype(io.BytesIO(woff), size, layout_engine=ImageFont.Layout.BASIC)
    canvas = Image.new("L", (int(5 * size), int(5 * size)))
    ImageDraw.Draw(canvas).text((2 * size, 2 * size), character, fill=255, font=font)
    return canvas.crop(canvas.getbbox())


def licences(fonts: list[Font], file: str = "glyphs.npz and outlines.npz: shapes of the glyphs") -> str:
    """Returns the text that lies beside a file: each font's notice, then the licence that all have in common."""
    notices = "\n".join(f"{font.name} ({font.version}): {' '.join(font.notice.split())}" for font in fonts)
    return (
        f"{file} of the fonts below, from the npm packages @fontsource/NAME of\n"
        "the versions given. It is a modified version of them in another form, under the same licence, and none of\n"
        "its authors endorses it. The names say where a shape came from; nothing is offered under a reserved name.\n\n"
        f"{notices}\n\n"
        "This Font Software is licensed under the SIL Open Font License, Version 1.1, which follows.\n\n"
        "SIL OPEN FONT LICENSE Version 1.1 - 26 February 2007\n\n"
        f"{fonts[0].licence.strip()}\n"
    )


if __name__ == "__main__":
    main()
