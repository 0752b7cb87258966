"""What the wheel holds: the package whole, and nothing that is only for its developers."""

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGES = {"ml_trainer_env", "permuted_mnist"}
BROUGHT_BY_USERS = {"inspect_ai"}
"""What adapters import, and whoever uses them installs."""
FOR_DEVELOPERS = {"tests", "benchmarks", "docs", "examples", "scripts", "data"}
MIGRATION_TEMPLATES = {f"{folder}/migrations/script.py.mako" for folder in ("arena", "server/store")}
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


pytestmark = pytest.mark.slow  # they build a wheel


@pytest.fixture(scope="module")
def wheel(source_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)], cwd=source_copy, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def packaged(wheel: zipfile.ZipFile) -> set[str]:
    """Its files, as they lie in the repository: the root is ml_trainer_env, and permuted_mnist a folder in it."""
    return {name.removeprefix("ml_trainer_env/") for name in wheel.namelist() if name.split("/")[0] in PACKAGES}


def shipped_modules(repository: Path) -> set[Path]:
    found = {path.relative_to(repository) for path in repository.rglob("*.py")}
    return {path for path in found if path.parts[0] not in FOR_DEVELOPERS and not path.parts[0].startswith(".")}


def test_every_module_of_the_package_is_in_the_wheel(wheel: zipfile.ZipFile, source_copy: Path) -> None:
    modules = {path.as_posix() for path in shipped_modules(source_copy) if path.parts[0] != "build"}

    assert {name for name in packaged(wheel) if name.endswith(".py")} == modules


def test_the_manifest_the_type_marker_and_the_bundled_data_are_in_the_wheel(
    wheel: zipfile.ZipFile, repository: Path
) -> None:
    bundled = {f"server/datasets/bundled/{path.name}" for path in (repository / "server/datasets/bundled").iterdir()}

    assert {f"server/datasets/bundled/{name}.npz" for name in ("mnist", "fashion_mnist", "glyphs")} < bundled
    folders = [
        repository / pages / name for pages in ("arena/pages", "server/room") for name in ("static", "templates")
    ]
    folders += [repository / "bench/templates", repository / "server/tuning/families/tables"]
    listed = {path.relative_to(repository).as_posix() for folder in folders for path in folder.iterdir()}
    others = {name for name in packaged(wheel) if not name.endswith(".py")}
    kernels = {name for name in others if name.startswith("native/")}
    assert {Path(name).name.partition(".")[0] for name in kernels} <= {"_avx2", "_avx512"}  # none without a compiler
    single = {"openenv.yaml", "py.typed", "permuted_mnist/py.typed", *MIGRATION_TEMPLATES}
    assert others - kernels == bundled | single | listed


def test_the_wheel_holds_no_solution_of_a_task(wheel: zipfile.ZipFile) -> None:
    declared = [name for name in wheel.namelist() if "/validation/" in name and not name.endswith(".py")]

    assert declared == []


def test_the_wheel_holds_nothing_but_the_package_and_its_metadata(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES


def test_the_licences_of_the_code_and_of_the_data_come_along(wheel: zipfile.ZipFile) -> None:
    names = {Path(name).name for name in wheel.namelist() if ".dist-info/licenses/" in name}

    sources = ("mnist", "fashion-mnist", "fonts", "alphabets", "aeon", "modeldata", "python", "river", "scikit-learn")
    assert names == {"LICENSE", *(f"LICENSE-{source}.txt" for source in (*sources, "stdlib-js", "uplot"))}


def test_the_command_server_starts_the_server(wheel: zipfile.ZipFile) -> None:
    entry_points = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))

    assert "server = ml_trainer_env.server.app:main" in wheel.read(entry_points).decode()


def test_the_wheel_asks_for_what_the_code_imports_and_for_nothing_else(
    wheel: zipfile.ZipFile, repository: Path
) -> None:
    metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    required = message_from_bytes(wheel.read(metadata)).get_all("Requires-Dist") or []

    asked_for = {canonicalize_name(Requirement(text).name) for text in required}

    named_in_urls = {"psycopg"}  # of databases
    for_agents = {"scikit-learn"}  # that the evaluator runs
    for_optuna = {"cmaes"}  # which imports it for its CMA-ES sampler
    imported = _imported_distributions(shipped_modules(repository), repository)
    assert asked_for == imported | named_in_urls | for_agents | for_optuna


def _imported_distributions(modules: set[Path], repository: Path) -> set[str]:
    """The names, on a package index, of what the modules import, wherever in them."""
    tops = {top for module in modules for top in _imported_packages((repository / module).read_text(encoding="utf-8"))}
    owners = packages_distributions()
    foreign = tops - set(sys.stdlib_module_names) - PACKAGES - BROUGHT_BY_USERS
    # fastmcp's modules come in fastmcp-slim, which fastmcp brings along with what its servers need.
    # ray is not installed for development: its name is that of its package.
    return {canonicalize_name(owners.get(top, [top])[0]).removesuffix("-slim") for top in foreign}


def _imported_packages(source: str) -> set[str]:
    tops = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            tops |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            tops.add(node.module.split(".")[0])
    return tops
