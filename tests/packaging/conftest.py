"""The repository as a user gets it: its root, its project file, and a copy without what is not kept in it."""

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

NOT_KEPT = (".git", ".venv", ".uv", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build", "dist", "outputs")


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def documents() -> dict[str, str]:
    """README and the pages of docs/: their text, by their path in the repository."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


@pytest.fixture(scope="session")
def source_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository to build in, so that no build touches the repository itself."""

    def ignored(folder: str, names: list[str]) -> set[str]:
        not_kept = shutil.ignore_patterns(*NOT_KEPT)(folder, names)
        return not_kept | ({"data"} if Path(folder) == ROOT else set())

    copy = tmp_path_factory.mktemp("source") / "ml_trainer_env"
    shutil.copytree(ROOT, copy, ignore=ignored)
    return copy
