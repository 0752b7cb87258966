"""The pictures of docs/room.md are made from the pages as they are."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]  # it plays episodes, and starts a browser

ROOT = Path(__file__).resolve().parents[2]


def test_every_picture_of_the_page_is_made_anew(tmp_path: Path) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("Chromium is not installed")
    page = (ROOT / "docs/room.md").read_text()

    subprocess.run([sys.executable, ROOT / "scripts/room_pictures.py", "--into", tmp_path], cwd=tmp_path, check=True)

    made = {path.name for path in tmp_path.iterdir()}
    assert made == set(re.findall(r"\(images/(room-[a-z]+\.png)\)", page))
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in made)
