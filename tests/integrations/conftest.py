"""What the tests of adapters share: environments of their own for libraries whose pins collide.

The libraries are the newest on PyPI. A test that uses one runs a program in an environment with that library, against a
real server of this environment.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer

PROGRAMS = Path(__file__).parent / "programs"
CLIENT = ("openenv>=0.10,<0.11",)
"""What the client of this package needs."""

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "agents.md"
OFFLINE = ("dns error", "Failed to fetch", "error sending request", "timed out", "Connection refused")


class LibraryEnvironment:
    """A virtual environment with libraries at the newest versions, and maybe this package with what its client needs.

    Args:
        folder: Where to make it.
        libraries: What to install: arguments of `pip install`.
        python: Version of Python.
        package: Whether this package is installed, too.
    """

    def __init__(self, folder: Path, *libraries: str, python: str = "3.11", package: bool = True) -> None:
        self._python = folder / "bin" / "python"
        self._uv("venv", "--no-python-downloads", "--python", _interpreter(python), str(folder))
        install = ("pip", "install", "--python", str(self._python))
        self._uv(*install, *libraries, *(CLIENT if package else ()))
        if package:
            self._uv(*install, "--no-deps", "--editable", str(ROOT))

    def run(self, program: str, *arguments: str, **variables: str) -> Any:
        """Run one of the `programs`. Returns the JSON value on the last line that it printed."""
        return json.loads(self.call(str(PROGRAMS / program), *arguments, **variables).splitlines()[-1])

    def call(self, *arguments: str, **variables: str) -> str:
        """Run Python with these arguments. Returns what it printed."""
        done = subprocess.run(
            [str(self._python), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._python.parents[1],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "NO_PROXY": "*", **variables},
        )
        assert done.returncode == 0, done.stderr[-6000:]
        return done.stdout

    def _uv(self, *arguments: str) -> None:
        uv = shutil.which("uv")
        if uv is None:
            pytest.skip("uv, which makes the environment of this test, is not on the PATH")
        done = subprocess.run([uv, *arguments], capture_output=True, text=True, check=False, cwd=ROOT.anchor)
        if done.returncode == 0:
            return
        if any(sign in done.stderr for sign in OFFLINE):
            pytest.skip(f"PyPI cannot be reached: {done.stderr[-300:]}")
        pytest.fail(done.stderr[-3000:])


def _interpreter(version: str) -> str:
    """Return the path of a Python of this version that starts. One that a version manager offers may not start."""
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin")
    for folder in (*os.get_exec_path(), *sorted(managed)):
        found = shutil.which(f"python{version}", path=folder)
        if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            return found
    pytest.skip(f"there is no Python {version} on this machine")


@pytest.fixture(scope="module")
def library_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., LibraryEnvironment]:
    """Makes an environment of the libraries given."""

    def make(*libraries: str, **options: Any) -> LibraryEnvironment:
        return LibraryEnvironment(tmp_path_factory.mktemp("library") / "venv", *libraries, **options)

    return make


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    """A model behind an OpenAI-compatible API, which says what a test tells it to say."""
    server = ChatServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def program() -> Callable[..., str]:
    """Reads a program of docs/agents.md. It runs as written, but for addresses, models and the length of a run."""

    def read(name: str, replaced: Mapping[str, str] | None = None) -> str:
        text = PAGE.read_text(encoding="utf-8")
        block = re.search(rf"<!-- snippet: {name} -->\n```python\n(.*?)```", text, re.DOTALL)
        assert block, f"there is no snippet {name!r}"
        code = block[1]
        for old, new in (replaced or {}).items():
            assert old in code, old
            code = code.replace(old, new)
        return code

    return read
