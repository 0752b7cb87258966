"""Images and labels come in the competition's form, or in that of its guide."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import permuted_mnist
from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.workers.play import play
from permuted_mnist.cli import main
from permuted_mnist.delivery import Delivery
from permuted_mnist.env.permuted_mnist import PermutedMNISTEnv
from permuted_mnist.evaluation.series import evaluate
from permuted_mnist.mnist import Mnist, load_mnist
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.layers import find_layers
from permuted_mnist.tasks import draw_task

TELLS = """
class Agent:
    def train(self, X, y): print(X.dtype, X.shape, X.max(), y.dtype, y.shape)
    def predict(self, X):
        print(X.dtype, X.shape)
        return [0] * len(X)
"""
DIVIDES = """
import numpy as np

class Agent:
    def train(self, X, y):
        X = X.reshape(len(X), -1) / 255 > 0.5
        self.means = np.stack([X[y.ravel() == k].mean(0) for k in range(10)])

    def predict(self, X):
        X = X.reshape(len(X), -1) / 255 > 0.5
        return ((X[:, None] - self.means) ** 2).sum(2).argmin(1)
"""
"""The nearest mean, as agents of the competition have it: images in [0, 1] are all black to it."""


@pytest.fixture(scope="module")
def mnist() -> Mnist:
    full = load_mnist()
    return Mnist(
        full.train_images[:2000], full.train_labels[:2000], full.test_images[:500], full.test_labels[:500], full.source
    )


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    """A folder for a submission, where submissions can be run."""
    try:
        find_layers()
    except UnsupportedError as error:
        pytest.skip(f"no sandbox: {error}")
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


def test_the_competitions_bytes_are_those_of_mnist(mnist: Mnist) -> None:
    task = draw_task(mnist, 1, 0)
    images = Delivery.COMPETITION.images(task.train_images)

    assert images.dtype == np.uint8
    order = np.argsort(task.pixel_permutation)
    known = {image.tobytes() for image in mnist.train_images}
    assert {image.ravel()[order].tobytes() for image in images} == known
    assert Delivery.COMPETITION.labels(task.train_labels).shape == (2000, 1)
    assert Delivery.GUIDE.images(task.train_images) is task.train_images


@pytest.mark.parametrize(
    ("delivery", "train", "test"),
    [
        ("competition", "uint8 (2000, 28, 28) 255 int64 (2000, 1)", "uint8 (500, 28, 28)"),
        ("guide", "float32 (2000, 28, 28) 1.0 int64 (2000,)", "float32 (500, 28, 28)"),
    ],
)
def test_an_evaluation_hands_over_what_was_asked_for(
    agent: Path, mnist: Mnist, delivery: str, train: str, test: str
) -> None:
    (agent / "agent.py").write_text(TELLS)
    result = evaluate(agent, mnist, find_layers(), 1, delivery=Delivery(delivery))

    assert result.episodes[0].log == f"{train}\n{test}\n"
    assert result.as_json()["delivery"] == delivery


def test_an_evaluation_hands_over_what_the_competition_does_unless_told_otherwise(
    agent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (agent / "agent.py").write_text(TELLS)
    main(["evaluate", str(agent), "--episodes", "1", "--out", str(tmp_path)])
    written = json.loads((tmp_path / "permuted-mnist-mine.json").read_text())

    assert written["delivery"] == "competition"
    assert written["episodes"][0]["log"].startswith("uint8")
    assert "Delivery:    competition (uint8 images from 0 to 255, labels (N, 1))" in capsys.readouterr().out


def test_the_arena_hands_over_what_the_competition_does(agent: Path, tmp_path: Path) -> None:
    (agent / "agent.py").write_text(TELLS)
    for folder in (agent, *agent.parents[:3]):
        folder.chmod(0o755)
    outcome = play(Kernel.PERMUTED_MNIST, agent, tmp_path, 5, 60.0, find_layers(), 6_000)

    assert outcome.error_type is None
    assert outcome.log.startswith("uint8 (")
    assert ", 1)\n" in outcome.log


@pytest.mark.slow
def test_an_agent_that_divides_by_255_learns_from_bytes_and_gets_a_hint_without(
    agent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (agent / "agent.py").write_text(DIVIDES)
    given = ["evaluate", str(agent), "--episodes", "1", "--out", str(tmp_path)]

    assert main(given) == 0
    assert "Hint" not in capsys.readouterr().out
    assert json.loads((tmp_path / "permuted-mnist-mine.json").read_text())["score"] > 0.7
    assert main([*given, "--delivery", "guide"]) == 0
    assert (
        "Hint:        accuracy is near chance: this agent may expect images from 0 to 255; try --delivery competition"
        in capsys.readouterr().out
    )


def test_the_guides_environment_offers_both() -> None:
    tasks: dict[str, Any] = {}
    for delivery in Delivery:
        env = PermutedMNISTEnv(1, delivery=delivery)
        env.set_seed(3)
        tasks[delivery] = env.get_next_task()
    guide, competition = tasks["guide"], tasks["competition"]

    assert (guide["X_train"].dtype, guide["y_train"].ndim) == (np.float32, 1)
    assert (competition["X_train"].dtype, competition["y_train"].shape[1:]) == (np.uint8, (1,))
    assert competition["X_test"].dtype == np.uint8
    assert competition["y_test"].ndim == 1
    np.testing.assert_allclose(competition["X_test"] / 255, guide["X_test"], atol=0.5001 / 255)
    assert np.array_equal(competition["y_train"].ravel(), guide["y_train"])
    default = PermutedMNISTEnv(1).get_next_task()
    assert default is not None
    assert default["X_train"].dtype == np.float32


@pytest.mark.slow
def test_the_gymnasium_environment_offers_the_competitions_form() -> None:
    env: Any = gymnasium.make(permuted_mnist.ENVIRONMENT_ID, delivery="competition")
    check_env(env.unwrapped, skip_render_check=True)
    observation, _ = env.reset(seed=1)

    assert env.observation_space.contains(observation)
    assert observation["train_images"].dtype == observation["test_images"].dtype == np.uint8
    assert observation["train_labels"].shape == (len(observation["train_images"]), 1)


@pytest.mark.slow
def test_output_that_is_no_terminal_has_no_bars(agent: Path, tmp_path: Path) -> None:
    (agent / "agent.py").write_text(TELLS)
    done = subprocess.run(
        [sys.executable, "-m", "permuted_mnist", "evaluate", str(agent), "--episodes", "1", "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert done.returncode == 0
    assert "\r" not in done.stdout
    assert "episode/s" not in done.stdout
    assert "it/s" not in done.stdout


@pytest.mark.slow
def test_an_agent_may_import_the_packages_that_the_docs_list(agent: Path, mnist: Mnist) -> None:
    docs = (Path(permuted_mnist.__file__).parents[1] / "docs" / "permuted-mnist.md").read_text(encoding="utf-8")
    table = docs.partition("| import | package |\n|---|---|\n")[2].partition("\n\n")[0]
    names = [name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    lines = [
        *[f"import {name}" for name in names],
        "from sklearn.linear_model import LogisticRegression",
        "class Agent:",
        "    model = LogisticRegression(max_iter=5)",
        "    def train(self, X, y): self.model.fit(X.reshape(len(X), -1) / 255, y.ravel())",
        "    def predict(self, X): return self.model.predict(X.reshape(len(X), -1) / 255)",
    ]
    (agent / "agent.py").write_text("\n".join(lines))
    episode = evaluate(agent, mnist, find_layers(), 1).episodes[0]

    assert {"numpy", "scipy", "torch", "sklearn"} <= set(names)
    assert episode.failure is None, episode.detail
    assert (episode.accuracy or 0) > 0.6
