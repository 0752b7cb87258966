"""What learns on the fleet: episodes that share steps are those played alone, and a teacher speaks when it shows."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ml_trainer_env.in_process.training import trainer_of_process
from ml_trainer_env.integrations.gymnasium.fleet_actions import Act
from ml_trainer_env.integrations.gymnasium.fleet_env import FleetEnv
from ml_trainer_env.integrations.gymnasium.fleet_features import FEATURES
from ml_trainer_env.integrations.gymnasium.fleet_view import View
from ml_trainer_env.server.fleet.references import ReferenceRuns
from ml_trainer_env.server.fleet.tasks import task_at
from ml_trainer_env.server.trainer.fleet import engine, faults
from ml_trainer_env.server.trainer.fleet.batches import CONTEXT
from ml_trainer_env.server.trainer.fleet.model import CharacterModel
from ml_trainer_env.server.trainer.fleet.settings import Cluster, TrainingSettings
from ml_trainer_env.server.trainer.fleet.text import VOCABULARY

LEARNING = Path(__file__).resolve().parents[2] / "benchmarks/learning"
ACTS = (Act.NOTHING, Act.REPLACE_SLOWEST, Act.ROLL_BACK, Act.LOWER_RATE, Act.NOTHING)


@pytest.fixture(scope="module", autouse=True)
def small_model() -> Iterator[None]:
    """A model whose steps are cheap. Other folders' tests in this process have the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "MODEL", CharacterModel(VOCABULARY, CONTEXT, width=8, layers=0))
        yield


def play(env: Any, acts: tuple[Act, ...], index: int = 3) -> list[tuple[bytes, float]]:
    observation, _ = env.reset(options={"index": index, "seed": 0})
    seen = [(observation.tobytes(), 0.0)]
    for act in acts:
        observation, reward, *_ = env.step(act)
        seen.append((observation.tobytes(), reward))
    return seen


def test_episodes_that_share_steps_are_those_that_are_played_alone(
    learning: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    take_step = engine.take_step
    monkeypatch.setattr(
        "ml_trainer_env.server.trainer.fleet.jobs.take_step",
        lambda *given: (trained.append(0), take_step(*given))[1],
    )
    other = (Act.NOTHING, Act.NOTHING, Act.QUARANTINE_STRANGEST)
    env = learning.episodes.SharingFleetEnv(scale="loss")

    shared = [play(env, acts) for acts in (ACTS, other, ACTS)]
    count = len(trained)
    alone = [play(FleetEnv(scale="loss"), acts) for acts in (ACTS, other)]

    assert shared == [*alone, alone[0]]
    assert count == len(trained) - count - 10, "the ten steps before acts differ are trained once"


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 5], ids=["nothing wrong", "something wrong"])
def test_references_that_share_steps_are_those_of_a_server(learning: Any, tmp_path: Path, index: int) -> None:
    file, trainer, task = tmp_path / "references.jsonl", trainer_of_process(), task_at("train", index)
    setup = task.setup(task.seed)
    runs = ReferenceRuns(task.run_seed(task.seed), setup.scenario, setup.spares, 60.0)

    learning.episodes.SharingFleetEnv(references=file).new_session(index, 0)
    of_server = trainer.loop.run_until_complete(runs.carry_out(trainer.source))

    assert setup.scenario.is_harmless == (index == 0)
    assert json.loads(file.read_text())["references"] == of_server


def test_a_policy_sees_two_observations_and_the_act_between_them(learning: Any) -> None:
    env = learning.episodes.Recall(learning.episodes.SharingFleetEnv(scale="loss"))

    first, _ = env.reset(options={"index": 1, "seed": 0})
    second = env.step(np.int64(Act.LOWER_RATE))[0]

    count = len(FEATURES)
    assert env.observation_space.contains(second)
    assert not first[count:].any()
    assert second[count : 2 * count].tobytes() == first[:count].tobytes()
    assert np.flatnonzero(second[2 * count :]).tolist() == [Act.LOWER_RATE]


def view_of(**figures: dict[str, Any]) -> View:
    """Return a view with figures by metric and grouping, such as `compute_s__node`."""
    brief: Any = SimpleNamespace(difficulty="1")
    status = {
        "nodes": list(range(8)),
        "left_s": 200.0,
        "is_stalled": False,
        "loss": 2.5,
        "step": 50,
        "quarantined": [],
        "mirrored": [],
    }
    found = {(name.split("__")[0], name.split("__")[1]): values for name, values in figures.items()}
    return View(brief, status, figures=found)


def run_of(*found: faults.Fault, training: TrainingSettings | None = None) -> Any:
    return SimpleNamespace(
        scenario=faults.Scenario(found), cluster=Cluster(), training=training or TrainingSettings(), rows=[]
    )


STRAGGLER = faults.Straggler(node=3, begins_us=0, factor=3.0)
SLOW = {"compute_s__node": {str(node): 3.0 if node == 3 else 1.0 for node in range(8)}}


def test_a_teacher_says_what_helps_once_it_shows(learning: Any) -> None:
    advised = learning.teacher.advised

    assert advised(view_of(**SLOW), run_of(STRAGGLER)) is Act.REPLACE_SLOWEST
    assert advised(view_of(), run_of(STRAGGLER)) is Act.NOTHING, "it does not show yet"
    assert advised(view_of(**SLOW), run_of()) is Act.NOTHING, "nothing is wrong, whatever it looks like"
    left = {**view_of(**SLOW).status, "left_s": 20.0}
    assert advised(replace(view_of(**SLOW), status=left), run_of(STRAGGLER)) is Act.NOTHING, "it does not pay any more"


def test_a_teacher_says_the_most_urgent_first_and_nothing_twice(learning: Any) -> None:
    rare = faults.RareCheckpoints(100)
    seldom, often = TrainingSettings(checkpoint_every=100), TrainingSettings(checkpoint_every=25)

    advised = learning.teacher.advised
    assert advised(view_of(**SLOW), run_of(rare, STRAGGLER, training=seldom)) is Act.REPLACE_SLOWEST
    assert advised(view_of(), run_of(rare, training=seldom)) is Act.SAVE_OFTENER
    assert advised(view_of(), run_of(rare, training=often)) is Act.NOTHING


@pytest.mark.slow
def test_a_policy_learns_what_a_teacher_would_do(learning: Any) -> None:
    policy, chance = learning.policy, np.random.default_rng(0)
    observations = chance.normal(size=(600, 4)).astype(np.float32)
    advice = np.where(observations[:, 1] > 0.5, 2, 0)[:, None]
    ones = np.ones((600, 3), bool)
    batch = policy.Batch(observations, np.zeros_like(advice), ones, np.zeros(600, np.float32), ones[:, 0])
    learner = policy.Learner(4, (3,), (0,), policy.Hyperparameters(keep=0.95), seed=1)

    learner.imitate(batch, advice, passes=60, seed=2)

    done = [policy.act(learner.weights, (3,), one, ones[0], None)[0] for one in observations]
    assert np.mean(np.array(done) == advice[:, 0]) > 0.97


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_was_cut_and_spread_otherwise_comes_to_the_same_bits(tmp_path: Path) -> None:
    def learn(folder: Path, rounds: int, processes: int) -> None:
        options = {"out": folder, "rounds": rounds, "processes": processes, "episodes": 1}
        words = [f"--{name}={value}" for name, value in options.items()]
        command = [sys.executable, str(LEARNING / "imitate.py"), *words, "--splits"]
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    learn(whole, 2, processes=2)
    learn(cut, 1, processes=1)
    learn(cut, 2, processes=1)

    states = [torch.load(folder / "policy.pt", weights_only=True)["policy"] for folder in (whole, cut)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    rounds = [json.loads(row) for row in (whole / "rounds.jsonl").read_text().splitlines()]
    assert [row["learnt_from"] for row in rounds] == sorted(row["learnt_from"] for row in rounds)
    assert "agreed" in rounds[1]
