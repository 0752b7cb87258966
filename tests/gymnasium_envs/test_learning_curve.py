"""The command of the learning curve: what it learns follows from its settings, however it is cut and spread."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

PARTS, KEPT = (5, 3, 2), (2, 0, 0)


LEARNING = Path(__file__).resolve().parents[2] / "benchmarks/learning"


@pytest.fixture(scope="module")
def policy(learning: Any) -> Any:
    """The module `benchmarks/learning/policy.py`."""
    return learning.policy


@pytest.fixture
def learner(policy: Any) -> Any:
    return policy.Learner(4, PARTS, KEPT, policy.Hyperparameters(), seed=1)


def batch_of(policy: Any, steps: int, seed: int = 0) -> Any:
    chance = np.random.default_rng(seed)
    return policy.Batch(
        observations=chance.normal(size=(steps, 4)).astype(np.float32),
        actions=chance.integers(PARTS, size=(steps, 3)),
        masks=np.ones((steps, sum(PARTS)), bool),
        rewards=chance.normal(size=steps).astype(np.float32),
        ends=np.arange(steps) % 5 == 4,
    )


def test_advantages_with_a_trace_of_one_are_the_rewards_to_come_less_the_value(policy: Any) -> None:
    rewards, values = np.arange(5, dtype=np.float32), np.full(5, 2.0, np.float32)
    ends = np.array([False, True, False, False, True])

    found = policy.advantages(rewards, values, ends, 1.0)

    assert found.tolist() == [0 + 1 - 2, 1 - 2, 2 + 3 + 4 - 2, 3 + 4 - 2, 4 - 2]


@pytest.mark.slow
def test_the_untrained_policy_mostly_changes_nothing_and_never_does_what_is_impossible(
    policy: Any, learner: Any
) -> None:
    chance, weights = np.random.default_rng(0), learner.weights
    mask = np.ones(sum(PARTS), bool)
    mask[0] = mask[6] = False
    observation = np.ones(4, np.float32)

    drawn = np.array([policy.act(weights, PARTS, observation, mask, chance) for _ in range(400)])

    assert tuple(policy.act(weights, PARTS, observation, mask, None)) == KEPT
    assert 0 not in drawn[:, 0]
    assert 1 not in drawn[:, 1]
    kept = (drawn == KEPT).mean(0)
    assert kept[0] > 0.6
    assert kept[2] > 0.85


@pytest.mark.slow
def test_drawn_actions_are_as_frequent_as_the_learner_holds_them_likely(policy: Any, learner: Any) -> None:
    learner.update(batch_of(policy, 20), seed=1)
    chance, observation, mask = np.random.default_rng(0), np.ones(4, np.float32), np.ones(sum(PARTS), bool)

    drawn = np.array([policy.act(learner.weights, PARTS, observation, mask, chance)[1] for _ in range(4_000)])

    logits = learner._policy.actor(torch.ones(4))[PARTS[0] : PARTS[0] + PARTS[1]]
    likely = logits.softmax(0).detach().numpy()
    assert np.bincount(drawn, minlength=3) / len(drawn) == pytest.approx(likely, abs=0.03)


@pytest.mark.slow
def test_an_update_makes_rewarded_actions_likelier(policy: Any, learner: Any) -> None:
    batch = batch_of(policy, 200)
    batch.rewards[:] = batch.actions[:, 1] == 2
    batch.ends[:] = True

    for number in range(20):
        learner.update(batch, number)

    assert policy.act(learner.weights, PARTS, np.zeros(4, np.float32), batch.masks[0], None)[1] == 2


def test_a_learner_goes_on_from_its_state_to_the_same_bits(policy: Any, learner: Any) -> None:
    other = policy.Learner(4, PARTS, KEPT, policy.Hyperparameters(), seed=2)
    learner.update(batch_of(policy, 20), seed=1)

    other.restore(learner.state)
    for one in (learner, other):
        one.update(batch_of(policy, 20, seed=1), seed=2)

    assert all(np.array_equal(learner.weights[name], other.weights[name]) for name in learner.weights)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_was_cut_and_spread_otherwise_comes_to_the_same_bits(tmp_path: Path) -> None:
    def learn(folder: Path, updates: int, processes: int) -> None:
        options = {"out": folder, "updates": updates, "processes": processes, "max-cost-s": 0.21, "groups": 2}
        words = [f"--{name}={value}" for name, value in options.items()]
        command = [sys.executable, str(LEARNING / "ppo.py"), *words]
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    learn(whole, 2, processes=2)
    learn(cut, 1, processes=1)
    learn(cut, 2, processes=2)

    states = [torch.load(folder / "checkpoint.pt", weights_only=True)["policy"] for folder in (whole, cut)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    logs = [(folder / "updates.jsonl").read_text().splitlines() for folder in (whole, cut)]
    assert [json.loads(row)["reward"] for row in logs[0]] == [json.loads(row)["reward"] for row in logs[1]]
    assert (whole / "curve.png").stat().st_size > 10_000
    assert "| learned |" in json.loads((whole / "result.json").read_text())["tables"]["validation"][2]
