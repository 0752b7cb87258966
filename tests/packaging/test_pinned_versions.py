"""The pins: one version of everything, the same for pip and for uv, from wherever a package comes."""

import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def named_backends() -> list[str]:
    """The builds of torch that the documents name, as uv's --torch-backend takes them."""
    texts = [(ROOT / path).read_text(encoding="utf-8") for path in ("README.md", "docs/server.md")]
    return sorted(set(re.findall(r"(?:TORCH_BACKEND=|--torch-backend )(\w[\w.]*)", "\n".join(texts))))


@pytest.fixture
def uv(repository: Path) -> str:
    found = shutil.which("uv") or shutil.which("uv", path=repository / ".uv/bin")
    if found is None:
        pytest.skip("uv is not installed")
    return found


@pytest.fixture
def pins(repository: Path) -> list[str]:
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_pip_and_uv_are_given_the_same_pins(pins: list[str], project: dict[str, Any]) -> None:
    assert pins == project["tool"]["uv"]["constraint-dependencies"]


def test_a_pin_is_a_name_and_a_version(pins: list[str]) -> None:
    # torch==2.15.0 also admits 2.15.0+cpu; a pin on a build ("+cu130") would tie everybody to it.
    odd = [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; .*)?", pin)]

    assert odd == []


def test_every_dependency_is_pinned_within_its_bounds(pins: list[str], project: dict[str, Any]) -> None:
    pinned = {pin.split("==")[0]: pin.split(";")[0].split("==")[1].strip() for pin in pins}
    groups = project["dependency-groups"].values()

    for text in [*project["project"]["dependencies"], *(text for group in groups for text in group)]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), text


def test_no_pin_is_on_a_library_that_each_build_of_torch_pins_for_itself(pins: list[str]) -> None:
    assert [pin for pin in pins if re.match(r"(nvidia|cuda)-|(.*-)?triton\b", pin)] == []


@pytest.mark.parametrize(
    ("build", "libraries"),
    [
        ("cpu", []),
        ("cu126", ["nvidia-cudnn-cu12==9.10.2.21", "nvidia-cublas-cu12==12.6.4.1", "triton==3.9.0"]),
        ("cu130", ["cuda-toolkit==13.0.2", "nvidia-cublas==13.1.0.3", "nvidia-nccl-cu13==2.28.9", "triton==3.9.0"]),
        ("cu132", ["cuda-toolkit==13.2.2", "nvidia-cublas==13.4.1.3", "nvidia-nccl-cu13==2.30.7", "triton==3.9.0"]),
        ("rocm7.2", ["triton-rocm==3.9.0"]),
    ],
)
def test_the_pins_admit_each_build_of_torch(
    build: str, libraries: list[str], uv: str, pins: list[str], repository: Path, tmp_path: Path
) -> None:
    # Wheels that hold nothing but metadata, which requires other versions of the same libraries in each build, as
    # PyTorch's builds do. uv takes the pins of both files, and resolves without a network.
    (torch,) = [pin.removeprefix("torch==") for pin in pins if pin.startswith("torch==")]
    write_wheel(tmp_path, f"torch=={torch}+{build}", libraries)
    for library in libraries:
        write_wheel(tmp_path, library)

    resolved = compiled(uv, repository, "--no-index", "--find-links", str(tmp_path), asked_for="torch")

    assert resolved.returncode == 0, resolved.stderr
    assert set(resolved.stdout.split()) == {f"torch=={torch}+{build}", *libraries}


@pytest.mark.slow
@pytest.mark.parametrize("backend", named_backends())
def test_the_pins_admit_each_backend_that_readme_names(
    backend: str, uv: str, repository: Path, project: dict[str, Any]
) -> None:
    asked_for = "\n".join(project["project"]["dependencies"])

    resolved = compiled(uv, repository, "--torch-backend", backend, asked_for=asked_for)

    if "Failed to fetch" in resolved.stderr:
        pytest.skip(f"PyTorch's index of {backend} cannot be reached from here")
    assert resolved.returncode == 0, resolved.stderr
    assert re.search(rf"^torch==.*\+{backend}$", resolved.stdout, re.MULTILINE)


def compiled(uv: str, repository: Path, *options: str, asked_for: str) -> subprocess.CompletedProcess[str]:
    """What uv resolves under the pins of constraints.txt and of pyproject.toml."""
    where = ["--python-platform", "x86_64-manylinux_2_28", "--python-version", "3.11"]
    written = ["--quiet", "--no-header", "--no-annotate", "--constraints", "constraints.txt"]
    patience = {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "30", "UV_NO_CACHE": "1"}
    return subprocess.run(
        [uv, "pip", "compile", *where, *written, *options, "-"],
        input=asked_for, cwd=repository, env={**os.environ, **patience}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def write_wheel(folder: Path, pin: str, requires: Sequence[str] = ()) -> None:
    """Write a wheel of that name and version with nothing but metadata in it."""
    name, version = pin.split("==")
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = "".join(
        f"{line}\n" for line in ("Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}",
                                 *(f"Requires-Dist: {one}" for one in requires))
    )  # fmt: skip
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{stem}.dist-info/METADATA", metadata)
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")
