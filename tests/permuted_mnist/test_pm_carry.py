"""Nothing passes from one run to another: the first leaves a mark in every kernel object, the second finds none."""

import os
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from permuted_mnist.evaluation.series import evaluate
from permuted_mnist.mnist import Mnist, load_mnist
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.layers import Layers, find_layers

try:
    FULL = find_layers()
except UnsupportedError as error:
    pytest.skip(f"no sandbox: {error}", allow_module_level=True)
if FULL.bubblewrap is None:
    pytest.skip("bubblewrap does not work here", allow_module_level=True)
if platform.machine() != "x86_64":
    pytest.skip("the marks are made by system call numbers of x86-64", allow_module_level=True)

MARKS = Path(__file__).with_name("carry_marks.py").read_text()

AGENT = """
import numpy as np
from .marks import leave, look

class Agent:
    def train(self, X, y):
        {deeds}
        print("first pixels:", X.reshape(-1)[:4].tobytes() == b"mark" * 4)

    def predict(self, X):
        return np.zeros(len(X), dtype=np.int64)
"""


def run(folder: Path, deeds: str, layers: Layers) -> list[str]:
    """What an agent of its own folder prints."""
    folder.mkdir()
    (folder / "agent.py").write_text(AGENT.format(deeds=deeds))
    (folder / "marks.py").write_text(MARKS)
    full = load_mnist()
    few = Mnist(
        full.train_images[:50], full.train_labels[:50], full.test_images[:10], full.test_labels[:10], full.source
    )
    (episode,) = evaluate(folder, few, layers, episodes=1).episodes
    assert episode.failure is None, episode.detail
    return episode.log.splitlines()


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param(FULL, id="all-layers"),
        pytest.param(replace(FULL, system_calls=None), id="without-the-allowlist"),
        pytest.param(replace(FULL, cgroup=None), id="without-a-control-group"),
    ],
)
def test_a_run_finds_nothing_of_the_one_before(tmp_path: Path, layers: Layers) -> None:
    first = run(tmp_path / "first", "leave(); look()", layers)
    second = run(tmp_path / "second", "look()", layers)

    found_at_once = {line for line in first if line.startswith("found: ")}
    assert {"found: file in /tmp", "found: file in /dev/shm", "found: process", "found: lock"} <= found_at_once
    assert [line for line in second if line.startswith("found: ")] == []
    if os.geteuid() == 0:  # else they can be left: see docs/permuted-mnist.md
        assert not any(line.startswith("left: time of") for line in first)
    assert second[-1] == "first pixels: False"
    if layers.system_calls is None:  # then the marks are made, and it is the namespaces that part the runs
        made = {"key in the session keyring", "key in the user keyring", "key in the user-session keyring"}
        assert {f"found: {name}" for name in {*made, "System V shared memory", "abstract socket"}} <= found_at_once
    else:
        assert not any("key in" in line for line in found_at_once)
