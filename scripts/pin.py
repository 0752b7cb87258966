"""Writes the exact version of every dependency to `constraints.txt`, for pip, and to `pyproject.toml`, for uv.

    uv run scripts/pin.py               # pins what is new, keeps what is pinned
    uv run scripts/pin.py --upgrade     # pins the newest versions that go together

Asks `uv pip compile` for versions that hold for every supported Python and platform. Only names and versions are
written, so that any index can serve them; a condition stands behind a version only where one name has several.

The libraries of CUDA and Triton are left out. Each build of torch requires its own versions of them: a pin that fits
one build keeps every other out. The pin on torch decides them.
"""

import argparse
import os
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = ROOT / "pyproject.toml"
CONSTRAINTS = ROOT / "constraints.txt"

HEADER = "# Exact versions of all dependencies: pip install -c constraints.txt -e .\n# Written by scripts/pin.py.\n"
OPTIONS = ("--universal", "--fork-strategy=fewest", "--quiet", "--no-annotate", "--no-header")
"""For all platforms, and where it can be one version for all Pythons."""

LEFT_TO_TORCH = re.compile(r"(nvidia|cuda)-|(.*-)?triton\b")
"""Names of packages whose versions a build of torch decides."""

BLOCK = re.compile(r"^constraint-dependencies = \[.*?\]$", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description="Pin the version of every dependency.")
    parser.add_argument("--upgrade", action="store_true", help="forget the pins there are")
    upgrade = parser.parse_args().upgrade
    text = PYPROJECT.read_text(encoding="utf-8")
    pins = without_needless_conditions(resolve(with_pins(text, []) if upgrade else text))
    PYPROJECT.write_text(with_pins(text, pins), encoding="utf-8")
    CONSTRAINTS.write_text(HEADER + "".join(f"{pin}\n" for pin in pins), encoding="utf-8")
    print(f"{len(pins)} pins written to {CONSTRAINTS.name} and {PYPROJECT.name}")


def resolve(pyproject: str) -> list[str]:
    """The versions that a project needs, with the condition each is needed under.

    Args:
        pyproject: The content of a `pyproject.toml`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pyproject.toml"
        path.write_text(pyproject, encoding="utf-8")
        groups = [f"--group={path}:{group}" for group in ("dev", "bench", "ray")]
        command = [os.environ.get("UV", "uv"), "pip", "compile", *OPTIONS, *groups, str(path)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=folder)
    return [line for line in output.stdout.splitlines() if "==" in line and not LEFT_TO_TORCH.match(line)]


def without_needless_conditions(lines: list[str]) -> list[str]:
    """A constraint on a package that nothing needs does nothing: only several versions of one name need conditions."""
    versions = Counter(line.split("==")[0] for line in lines)
    return [line if versions[line.split("==")[0]] > 1 else line.split(";")[0].strip() for line in lines]


def with_pins(pyproject: str, pins: list[str]) -> str:
    """The content of a `pyproject.toml` with these pins in the place of the old ones."""
    block = "constraint-dependencies = [" + "".join(f'\n    "{pin}",' for pin in pins) + ("\n]" if pins else "]")
    replaced, count = BLOCK.subn(lambda _: block, pyproject)
    if count != 1:
        raise SystemExit(f"expected one list of constraint-dependencies in {PYPROJECT.name}, found {count}")
    return replaced


if __name__ == "__main__":
    main()
