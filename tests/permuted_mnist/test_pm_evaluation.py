"""An evaluation: tasks that nobody can guess, results that say how they came about, and a command for people."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from permuted_mnist.agent.linear.agent import Agent as LinearAgent
from permuted_mnist.cli import OWN_AGENTS, main
from permuted_mnist.evaluation import series
from permuted_mnist.evaluation.episode import run_episode
from permuted_mnist.evaluation.results import EpisodeResult, Evaluation, Failure
from permuted_mnist.evaluation.series import NoAgentError, evaluate
from permuted_mnist.hardening import DrawnDigits
from permuted_mnist.mnist import Mnist, load_mnist
from permuted_mnist.predictions import accuracy
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.layers import Layers, find_layers
from permuted_mnist.sandbox.limits import Limits
from permuted_mnist.tasks import CLASSES, Variant, draw_task

try:
    find_layers()
except UnsupportedError as error:
    pytest.skip(f"no sandbox: {error}", allow_module_level=True)

CONSTANT = "class Mine:\n    def train(self, X, y): pass\n    def predict(self, X): return [[3]] * len(X)\n"


@pytest.fixture(scope="module")
def mnist() -> Mnist:
    full = load_mnist()
    return Mnist(
        full.train_images[:2000], full.train_labels[:2000], full.test_images[:500], full.test_labels[:500], full.source
    )


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    """Write an agent; its folder is for its owner's eyes only."""
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o700)
    (folder / "agent.py").write_text(CONSTANT)
    return folder


@pytest.mark.parametrize("name", ["random", "linear", pytest.param("mlp", marks=pytest.mark.slow)])
def test_an_own_agent_runs_from_its_folder(mnist: Mnist, name: str) -> None:
    result = evaluate(OWN_AGENTS / name, mnist, find_layers(), episodes=1, seed=3)

    assert result.passed, result.episodes[0].detail
    assert result.score > {"random": 0.04, "linear": 0.7, "mlp": 0.7}[name]


def test_inside_and_outside_an_agent_comes_to_the_same(mnist: Mnist) -> None:
    result = evaluate(OWN_AGENTS / "linear", mnist, find_layers(), episodes=1, seed=3)
    task = draw_task(mnist, 3, 0)
    outside = LinearAgent(output_dim=CLASSES, seed=series.agent_seed(3, 0))
    outside.train(task.train_images, task.train_labels)

    assert result.score == accuracy(outside.predict(task.test_images), task.test_labels)


def test_helper_files_are_found_by_name_and_relatively(agent: Path, mnist: Mnist) -> None:
    (agent / "plain.py").write_text("LABEL = 3\n")
    (agent / "related.py").write_text("from .plain import LABEL as SAME\n")
    (agent / "weights.npy").write_bytes(b"3")
    (agent / "agent.py").write_text(
        "from pathlib import Path\nimport plain\nfrom .related import SAME\nassert plain.LABEL == SAME\n"
        "assert (Path(__file__).parent / 'weights.npy').read_bytes() == b'3'\n" + CONSTANT
    )

    assert evaluate(agent, mnist, find_layers(), episodes=1).episodes[0].failure is None


def test_each_task_has_a_process_of_its_own(agent: Path, mnist: Mnist) -> None:
    (agent / "agent.py").write_text(
        "import os\nseen, file = [], os.environ['TMPDIR'] + '/seen'\nclass Agent:\n"
        "    def train(self, X, y):\n        seen.append(1)\n        open(file, 'a').write('x')\n"
        "    def predict(self, X):\n        print(len(seen), open(file).read())\n        return [0] * len(X)\n"
    )
    result = evaluate(agent, mnist, find_layers(), episodes=2)

    assert [episode.log for episode in result.episodes] == ["1 x\n", "1 x\n"]


def test_what_was_there_at_the_start_is_what_runs(agent: Path, mnist: Mnist) -> None:
    def damage(_: EpisodeResult) -> None:
        (agent / "agent.py").write_text("raise RuntimeError('changed')")

    result = evaluate(agent, mnist, find_layers(), episodes=2, on_episode=damage)

    assert [episode.failure for episode in result.episodes] == [None, None]


@pytest.mark.slow
def test_a_seed_gives_the_same_tasks_and_none_gives_others(agent: Path, mnist: Mnist) -> None:
    (agent / "agent.py").write_text(
        "import hashlib\nclass Agent:\n"
        "    def train(self, X, y): print(hashlib.sha256(X.tobytes() + y.tobytes()).hexdigest())\n"
        "    def predict(self, X): return [0] * len(X)\n"
    )

    def tasks(seed: int | None) -> set[str]:
        return {episode.log for episode in evaluate(agent, mnist, find_layers(), episodes=2, seed=seed).episodes}

    assert len(tasks(5)) == 2
    assert tasks(5) == tasks(5)
    assert not tasks(None) & tasks(None)


def test_an_agents_seed_does_not_tell_the_tasks(mnist: Mnist, agent: Path) -> None:
    (agent / "agent.py").write_text(
        "class Agent:\n    def __init__(self, output_dim=10, seed=None): print(output_dim, seed)\n"
        "    def train(self, X, y): pass\n    def predict(self, X): return [0] * len(X)\n"
    )
    result = evaluate(agent, mnist, find_layers(), episodes=2, seed=5)
    given = [int(episode.log.split()[1]) for episode in result.episodes]

    assert len(set(given)) == 2
    for seed in given:
        drawn, true = draw_task(mnist, seed, 0), draw_task(mnist, 5, 0)
        assert not np.array_equal(drawn.pixel_permutation, true.pixel_permutation)


def test_a_failed_episode_counts_as_nothing_and_ends_no_other(agent: Path, mnist: Mnist) -> None:
    (agent / "agent.py").write_text(
        "import numpy as np\nclass Agent:\n"
        "    def train(self, X, y):\n        if y[0] % 2: raise ValueError('an odd one')\n"
        "    def predict(self, X): return np.zeros(len(X), int)\n"
    )
    result = evaluate(agent, mnist, find_layers(), episodes=6, seed=1)
    right = [episode.accuracy for episode in result.episodes if episode.failure is None]

    assert 0 < len(right) < 6
    assert result.score == pytest.approx(sum(filter(None, right)) / 6)
    assert not result.passed


def test_a_folder_without_an_agent_is_refused(tmp_path: Path, mnist: Mnist) -> None:
    with pytest.raises(NoAgentError, match=r"agent\.py"):
        evaluate(tmp_path, mnist, find_layers())


def test_the_clock_starts_when_the_data_are_there(agent: Path, mnist: Mnist) -> None:
    (agent / "agent.py").write_text(f"import time\ntime.sleep(2)\n{CONSTANT}")

    result = run_episode(1, agent_for_all(agent), draw_task(mnist, 1, 0), Limits(wall_s=1.5), find_layers(), 1)

    assert result.failure is None
    assert result.start_s >= 2 > 1.5 > result.time_s


def agent_for_all(folder: Path) -> Path:
    for above in (folder, *folder.parents[:3]):
        above.chmod(0o755)
    return folder


def episode(number: int, **fields: object) -> EpisodeResult:
    values: dict[str, object] = {"accuracy": 0.5, "time_s": 1.0, "train_s": 0.5, "start_s": 0.1, "peak_memory_bytes": 1}
    return EpisodeResult(number=number, **{**values, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("episodes", "passed"),
    [
        ((episode(1), episode(2)), True),
        ((episode(1), episode(2, accuracy=None, failure=Failure.CRASH)), False),
        ((episode(1, time_s=119.0), episode(2, time_s=1.0)), False),
    ],
)
def test_who_fails_once_or_takes_too_long_does_not_pass(episodes: tuple[EpisodeResult, ...], passed: bool) -> None:
    layers = Layers(None, None, None)

    assert Evaluation("x", "standard", "cache", None, Limits(), layers, episodes).passed is passed


# --- The command


@pytest.mark.slow
def test_the_command_prints_a_table_and_writes_json_and_a_figure(
    agent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["evaluate", str(agent), "--episodes", "2", "--variant", "hardened", "--out", str(tmp_path / "out")])
    lines = capsys.readouterr().out.splitlines()
    written = json.loads((tmp_path / "out" / "permuted-mnist-mine.json").read_text())

    assert status == 0
    assert lines[0].split() == ["Episode", "Accuracy", "Time,", "s", "Memory,", "MB"]
    assert [line.split()[0] for line in lines[1:3]] == ["1", "2"]
    assert any(line.startswith("Final score: 0.") for line in lines)
    assert any(line.endswith("s of 120 s") for line in lines)
    assert "Status:      PASS" in lines
    assert written["variant"] == "hardened"
    assert written["seed"] is None
    assert written["source"] == "synthetic"
    assert written["limits"]["memory_bytes"] == 4 * 2**30
    assert written["enforced_by"] == find_layers().names
    assert written["weaker_here"] == list(find_layers().missing)
    assert len(written["episodes"]) == 2
    assert (tmp_path / "out" / "permuted-mnist-mine.png").read_bytes()[:4] == b"\x89PNG"


def test_the_command_shows_an_agents_failure_and_its_status_is_1(
    agent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (agent / "agent.py").write_text("raise ValueError('its own words')")

    assert main(["evaluate", str(agent), "--episodes", "1", "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "code_error" in printed
    assert "ValueError: its own words" in printed
    assert "Status:      FAIL" in printed


def test_the_command_says_what_is_wrong_with_a_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path / "nothing"), "--out", str(tmp_path)]) == 2
    assert "agent.py" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("canary", ["canary", "canary_lookup"])
@pytest.mark.parametrize(("variant", "lowest", "highest"), [("standard", 0.99, 1.0), ("hardened", 0.02, 0.30)])
def test_bringing_public_images_pays_in_the_standard_variant_alone(
    tmp_path: Path, canary: str, variant: str, lowest: float, highest: float
) -> None:
    folder, mnist = tmp_path / "canary", load_mnist()
    shutil.copytree(Path(__file__).parent / canary, folder)
    np.savez(
        folder / "public.npz",
        train_images=mnist.train_images,
        train_labels=mnist.train_labels,
        test_images=mnist.test_images,
        test_labels=mnist.test_labels,
    )
    episodes = 1 if variant == "standard" else 2
    result = evaluate(folder, mnist, find_layers(), episodes, Variant(variant), seed=1)

    assert [episode.detail for episode in result.episodes] == [""] * episodes
    assert lowest <= result.score <= highest


@pytest.mark.slow
def test_learning_pays_in_the_hardened_variant() -> None:
    result = evaluate(OWN_AGENTS / "linear", DrawnDigits(6000, 1000), find_layers(), 2, Variant.HARDENED, seed=1)

    assert result.passed
    assert 0.65 < result.score < 0.95
