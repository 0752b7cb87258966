"""Agents that do what they should not: their source, their layers, and what is left of them."""

import os
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from permuted_mnist.evaluation.results import EpisodeResult
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.layers import Layers, find_layers
from permuted_mnist.sandbox.limits import Limits

MARK = int.from_bytes(os.urandom(4))
"""The seed of all agents here, which their command lines tell: others may run beside these tests."""
LIMITS = Limits(wall_s=1.5, start_s=20.0)

try:
    FULL = find_layers()
except UnsupportedError as error:
    pytest.skip(f"no sandbox: {error}", allow_module_level=True)

BARE = Layers(bubblewrap=None, cgroup=None, user=None)
"""Nothing but a process that watches over them. As root only agents that these tests know are run so."""
ALL_LAYERS = [
    pytest.param(FULL, id="all-layers"),
    pytest.param(BARE, id="neither-namespaces-nor-cgroup", marks=pytest.mark.slow),
]

needs_namespaces = pytest.mark.skipif(FULL.bubblewrap is None, reason="bubblewrap does not work here")
everywhere = pytest.mark.parametrize("layers", ALL_LAYERS)

Run = Callable[..., EpisodeResult]


def agent(init: str = "pass", reset: str = "pass", train: str = "pass", predict: str = "pass", top: str = "") -> str:
    methods = {
        "__init__(self, output_dim=10, seed=None)": init,
        "reset(self)": reset,
        "train(self, X, y)": train,
        "predict(self, X)": predict,
    }
    lines = "".join(
        f"    def {head}:\n{textwrap.indent(textwrap.dedent(body).strip(), ' ' * 8)}\n"
        for head, body in methods.items()
    )
    return f"import os, sys, time\nimport numpy as np\n{top}\nclass Agent:\n{lines}"


def processes() -> list[int]:
    """What still runs of any agent, after a moment's grace for the kernel."""
    deadline = time.monotonic() + 5
    while (found := _processes()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def _processes() -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                words = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if words.endswith(f"\0{MARK}\0".encode()):
                found.append(int(folder.name))
    return found


def cgroups() -> set[Path]:
    """The control groups of this process's containers. Walking passes over those that go away meanwhile."""
    return {
        Path(parent, name)
        for parent, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if name.startswith(f"permuted-mnist-{os.getpid()}-")
    }
