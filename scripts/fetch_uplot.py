"""Fetches uPlot (MIT), which draws the charts of the training room, into `server/room/static`. Needs npm.

    python scripts/fetch_uplot.py

The version and the checksum of its package are fixed here. The files are committed as they come.
"""

import hashlib
import io
import subprocess
import tarfile
import tempfile
from pathlib import Path

VERSION = "1.6.32"
SHA256 = "4b8a8191e425658e3ea8c8c1314b0fc679c861ee3a1af2b20c7b16ba50b5133d"
FILES = {
    "package/dist/uPlot.iife.min.js": "uPlot.iife.min.js",
    "package/dist/uPlot.min.css": "uPlot.min.css",
    "package/LICENSE": "LICENSE-uplot.txt",
}
STATIC = Path(__file__).resolve().parents[1] / "server/room/static"


def main() -> None:
    """Fetch the package, check it, and write its files."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", f"uplot@{VERSION}", "--pack-destination", folder], check=True)
        package = next(Path(folder).glob("*.tgz")).read_bytes()
    found = hashlib.sha256(package).hexdigest()
    if found != SHA256:
        raise SystemExit(f"uplot {VERSION} should have the SHA-256 {SHA256}, and has {found}")
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        for member, name in FILES.items():
            file = archive.extractfile(member)
            assert file is not None
            (STATIC / name).write_bytes(file.read())
            print(f"wrote {STATIC / name}")


if __name__ == "__main__":
    main()
