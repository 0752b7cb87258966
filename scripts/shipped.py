"""Ships the environment: what is tracked by git and belongs to the package or its image, and nothing else.

    uv run scripts/shipped.py write             # writes .dockerignore and server/Dockerfile
    uv run scripts/shipped.py push --private    # `openenv push` of the shipped files, with its options
    uv run scripts/shipped.py push --game fleet --repo-id NAME/SPACE    # a Space that has the fleet alone

`.dockerignore` is the list: it excludes everything, then names each file of the build context. A new file of the
package is shipped once it is tracked and the list is written again; a test compares the two. Secrets, notebooks, data
and outputs that lie in the same folders are never on the list, whatever they are called.

`openenv push` takes a whole folder and knows no list, so that it is given a copy of the shipped files.
"""

import argparse
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

BUILD_FILES = ("constraints.txt", "openenv.yaml", "pyproject.toml", "scripts/fetch_data.py")
"""What the image is built with, beside the package."""
DOCKERFILES = ("Dockerfile", "server/Dockerfile")
"""What a Space needs beside the build context and the declarations of its game."""

TUNING, FLEET = "tuning", "fleet"
DECLARED = {TUNING: PurePosixPath(), FLEET: PurePosixPath("fleet")}
"""Folder of the `openenv.yaml` and `validation` of a game. Who validates a Space reads them; its image has none."""
DECLARATIONS = (
    "openenv.yaml",
    "validation/canaries.json",
    "validation/runtime.json",
    "validation/oracles/*.json",
    "validation/oracles/*/*.jsonl",
)
FOR_FLEET = {
    "README.md": ("title: ML Training Optimizer\n", "title: ML Training Optimizer, the fleet\n"),
    "Dockerfile": ('CMD ["server",', 'CMD ["python", "-m", "ml_trainer_env.server.fleet_app",'),
}
"""What is another text in a Space of the fleet, and which, by file."""

LIST_HEADER = """\
# Written by scripts/shipped.py: run `make shipped` when a file of the package is new or gone.
# The image is built from the files below and from nothing else, so that secrets beside them stay out.
*
"""
COPY_HEADER = (
    "# Written by scripts/shipped.py from ../Dockerfile: docker build -f server/Dockerfile -t ml-trainer-env .\n"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Write the list of shipped files, or push them to a Space.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("write", help="write .dockerignore and server/Dockerfile")
    pushing = commands.add_parser("push", help="run `openenv push` on a copy of the shipped files", add_help=False)
    pushing.add_argument("--game", choices=list(DECLARED), default=TUNING, help="what the Space has at its root")
    options, for_openenv = parser.parse_known_args(arguments)
    if options.command == "push":
        return push(ROOT, options.game, for_openenv)
    if for_openenv:
        parser.error(f"unrecognized arguments: {' '.join(for_openenv)}")
    for path, content in generated(ROOT).items():
        (ROOT / path).write_text(content, encoding="utf-8")
    return 0


def generated(root: Path) -> dict[str, str]:
    """The content of each generated file, by its path in the repository.

    Args:
        root: A git repository of this project.
    """
    dockerfile = (root / "Dockerfile").read_text(encoding="utf-8")
    syntax, rest = dockerfile.split("\n", 1)
    return {
        ".dockerignore": LIST_HEADER + "".join(f"!{path}\n" for path in build_context(root)),
        "server/Dockerfile": f"{syntax}\n{COPY_HEADER}{rest}",
    }


def build_context(root: Path) -> list[str]:
    """The tracked files that the image is built from, sorted."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = [PurePosixPath(pattern) for pattern in (*BUILD_FILES, *_packaged(project))]
    return sorted(path for path in _tracked(root) if _is_among(PurePosixPath(path), patterns))


def listed(root: Path) -> list[str]:
    """The files that `.dockerignore` lets into the build context."""
    lines = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def push(root: Path, game: str, options: Sequence[str]) -> int:
    """Run `openenv push` on a copy of the shipped files. Returns its exit status."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "ml_trainer_env"
        for path, content in space(root, game).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return subprocess.run(
            [sys.executable, "-m", "openenv.cli", "push", str(folder), *options], check=False
        ).returncode


def space(root: Path, game: str) -> dict[str, bytes]:
    """The content of each file of a Space, by its path there.

    Args:
        root: A git repository of this project.
        game: The game at the Space's root. A Space of tuning has the fleet at `/fleet`.
    """
    patterns = [DECLARED[game] / pattern for pattern in DECLARATIONS]
    declared = [PurePosixPath(path) for path in _tracked(root) if _is_among(PurePosixPath(path), patterns)]
    sources = {path: path for path in (*listed(root), *DOCKERFILES)}
    sources |= {str(path.relative_to(DECLARED[game])): str(path) for path in declared}
    contents = {path: (root / source).read_bytes() for path, source in sources.items()}
    if game == FLEET:
        for path, (before, after) in FOR_FLEET.items():
            contents[path] = _replaced(contents[path], before, after)
        contents["server/Dockerfile"] = contents["Dockerfile"]
    return contents


def _replaced(content: bytes, before: str, after: str) -> bytes:
    if content.count(before.encode()) != 1:
        raise SystemExit(f"a Space of the fleet needs one line with {before.strip()!r}")
    return content.replace(before.encode(), after.encode())


def _packaged(project: dict[str, Any]) -> Iterator[str]:
    """Patterns of the files that the wheel is built from."""
    setuptools = project["tool"]["setuptools"]
    yield project["project"]["readme"]
    yield from project["project"]["license-files"]
    for package in setuptools["packages"]:
        folder = _folder(package, setuptools["package-dir"])
        for pattern in ("*.py", *setuptools["package-data"].get(package, ())):
            yield str(folder / pattern)
    for module in setuptools["ext-modules"]:
        yield from (*module["sources"], *module["depends"])


def _folder(package: str, roots: dict[str, str]) -> PurePosixPath:
    top, *below = package.split(".")
    return PurePosixPath(roots[top], *below)


def _tracked(root: Path) -> list[str]:
    output = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout
    return output.split("\0")[:-1]


def _is_among(path: PurePosixPath, patterns: Iterable[PurePosixPath]) -> bool:
    """Whether a pattern matches a path part by part."""
    return any(
        len(path.parts) == len(pattern.parts) and all(map(fnmatchcase, path.parts, pattern.parts))
        for pattern in patterns
    )


if __name__ == "__main__":
    sys.exit(main())
