"""Runs a hostile agent, and checks that nothing of it is left."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_agents import LIMITS, MARK, Run, agent, cgroups, processes

from permuted_mnist.evaluation.episode import run_episode
from permuted_mnist.evaluation.results import EpisodeResult
from permuted_mnist.mnist import Mnist, load_mnist
from permuted_mnist.sandbox.layers import Layers, find_layers
from permuted_mnist.sandbox.limits import Limits
from permuted_mnist.tasks import PermutedTask, draw_task


@pytest.fixture(scope="module")
def task() -> PermutedTask:
    full = load_mnist()
    small = Mnist(
        full.train_images[:600], full.train_labels[:600], full.test_images[:200], full.test_labels[:200], full.source
    )
    return draw_task(small, seed=0, number=0)


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder for temporary files that every user may enter; nothing may be left in it but the agent."""
    assert tmp_path.is_dir()  # made before temporary files go elsewhere
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        os.chmod(name, 0o711)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


@pytest.fixture
def run(ground: Path, task: PermutedTask) -> Run:
    """Run an agent given by the body of its methods, or by its whole source; nothing may be left of it."""

    def run(
        train: str = "pass",
        predict: str = "return np.zeros(len(X), int)",
        source: str | None = None,
        layers: Layers | None = None,
        limits: Limits = LIMITS,
        **files: str,
    ) -> EpisodeResult:
        folder = ground / "agent"
        folder.mkdir()
        body = source if source is not None else agent(train=train, predict=predict)
        for name, text in {"agent": body, **files}.items():
            (folder / f"{name}.py").write_text(text)
        folder.chmod(0o755)
        before = cgroups()
        result = run_episode(1, folder, task, limits, layers or find_layers(), agent_seed=MARK)
        assert processes() == []
        assert cgroups() == before
        assert [path.name for path in ground.iterdir()] == ["agent"]
        return result

    return run
