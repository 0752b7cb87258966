"""MLTrainer-v0 plays the real game: what a step pays, shows and hides."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3

import ml_trainer_env.integrations.gymnasium  # noqa: F401  # registers the environments
from ml_trainer_env.in_process.training import trainer_of_process
from ml_trainer_env.in_process.tuning import LocalSession
from ml_trainer_env.integrations.gymnasium.tuning_env import TuningEnv
from ml_trainer_env.integrations.gymnasium.tuning_features import FEATURES
from ml_trainer_env.server.datasets import draw_examples
from ml_trainer_env.server.tuning.families.tasks import family_task
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.rewards import SHAPING_WEIGHT

CHEAP: dict[str, Any] = {"split": "validation", "indices": [26, 66], "seeds": [0, 1]}
"""Tasks whose episode takes a tenth of a second."""

HOT = np.array([4, 2, 0, 1, 1, 0])
"""SGD with a rate that grows tenfold, from fresh weights."""


@pytest.fixture
def env() -> Any:
    return gymnasium.make("MLTrainer-v0", **CHEAP)


def play(
    env: Any, actions: np.random.Generator | list[Any], **reset: Any
) -> tuple[list[Any], list[float], dict[str, Any]]:
    """Play an episode, at random or by a list of actions whose last one is repeated."""
    observation, info = env.reset(**reset)
    observations, rewards, done = [observation], [], False
    while not done:
        drawn = isinstance(actions, np.random.Generator)
        action = actions.integers(env.action_space.nvec) if drawn else actions[min(len(rewards), len(actions) - 1)]
        observation, reward, done, truncated, info = env.step(action)
        assert not truncated
        assert env.observation_space.contains(observation)
        observations.append(observation)
        rewards.append(reward)
    return observations, rewards, info


def test_the_checkers_of_both_libraries_have_nothing_to_say(env: Any) -> None:
    check_env(env.unwrapped, skip_render_check=True)
    check_env_of_sb3(env.unwrapped)


def test_the_same_seed_and_actions_give_the_same_bits(env: Any) -> None:
    first = play(env, np.random.default_rng(3), seed=5)
    other = play(gymnasium.make("MLTrainer-v0", **CHEAP), np.random.default_rng(3), seed=5)

    assert [one.tobytes() for one in first[0]] == [one.tobytes() for one in other[0]]
    assert first[1] == other[1]
    assert first[2]["task"] == other[2]["task"]


def test_rewards_sum_to_those_of_the_episode(env: Any) -> None:
    nothing = env.unwrapped.nothing

    observations, rewards, info = play(env, [nothing], options={"index": 26, "seed": 0})

    session = TuningEnv(**CHEAP).new_session(26, 0)
    replies = [session.call("run_epochs", {"num_epochs": 5}) for _ in range(2)]
    replies.append(session.call("submit_model", {}))
    assert sum(rewards) == pytest.approx(sum(reply["reward"] for reply in replies), abs=1e-9)
    assert sum(rewards) == pytest.approx(info["episode_reward"])
    assert info["score"] == replies[-1]["score"]
    assert sum(rewards) - info["score"] == pytest.approx(SHAPING_WEIGHT * replies[-1]["best_val_accuracy"], abs=1e-4)
    assert len(rewards) == len(observations) - 1 == 6, "a budget of 10 is five chunks of 2, and then the submission"


def test_observations_do_not_depend_on_hidden_examples_or_references() -> None:
    class Swapped(TuningEnv):
        """The same task with other hidden examples and another reference."""

        def new_session(self, index: int, seed: int) -> LocalSession:
            task = family_task(self.split, index)
            examples = draw_examples(task.examples)
            hidden = replace(examples, test_labels=np.roll(examples.test_labels, 1))
            task = replace(task, reference=replace(task.reference, default=0.0, oracle=0.9))
            return LocalSession(trainer_of_process(), task, hidden, task.seed + seed, RubricVersion.V3)

    for chance in range(2):
        true = play(TuningEnv(**CHEAP), np.random.default_rng(chance), seed=chance)
        other = play(Swapped(**CHEAP), np.random.default_rng(chance), seed=chance)

        assert [one.tobytes() for one in true[0]] == [one.tobytes() for one in other[0]]
        assert true[1][:-1] == other[1][:-1]
        assert true[2]["score"] != other[2]["score"], "the hidden examples are others"
        assert true[2].keys() == {"task", "action_mask", "replaced", "score", "episode_reward"}


def test_the_first_observation_tells_nothing_of_what_was_spoilt_or_will_change() -> None:
    class Unspoilt(TuningEnv):
        """The same task with fresh weights, and without a change on the way."""

        def new_session(self, index: int, seed: int) -> LocalSession:
            task = replace(family_task(self.split, index), start=None, change=None, change_after=0)
            return LocalSession(trainer_of_process(), task, draw_examples(task.examples), rubric=RubricVersion.V3)

    spoilt = next(i for i in range(128) if (task := family_task("validation", i)).start and task.change)
    first = [kind("validation").reset(options={"index": spoilt, "seed": 0})[0] for kind in (TuningEnv, Unspoilt)]

    assert first[0].tobytes() == first[1].tobytes()


def test_a_run_that_diverges_goes_on_and_no_action_crashes(env: Any) -> None:
    hotter = np.array([4, 0, 0, 0, 0, 0])

    observations, _, _ = play(env, [HOT, hotter], options={"index": 93, "seed": 0})

    assert max(one[FEATURES.index("diverged")] for one in observations) == 1.0
    assert np.isfinite(observations).all()
    for chance in range(4):
        play(env, np.random.default_rng(chance), seed=chance)


def test_an_action_that_is_impossible_is_replaced_and_told(env: Any) -> None:
    env.reset(seed=0)
    submits_at_once = [*env.unwrapped.nothing[:5], 1]

    _, _, done, _, info = env.step(submits_at_once)
    assert not done
    assert info["replaced"]
    _, _, done, _, info = env.step(submits_at_once)
    assert done
    assert not info["replaced"]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(submits_at_once)


def test_several_environments_of_one_call_are_as_single_ones() -> None:
    vector = gymnasium.make_vec("MLTrainer-v0", num_envs=2, vectorization_mode="sync", **CHEAP)
    singles = [gymnasium.make("MLTrainer-v0", **CHEAP) for _ in range(2)]
    chance = np.random.default_rng(1)

    observations, _ = vector.reset(seed=[4, 5])
    found = [np.stack([env.reset(seed=seed)[0] for env, seed in zip(singles, (4, 5), strict=True)])]
    assert observations.tobytes() == found[0].tobytes()
    for _ in range(3):
        actions = chance.integers(singles[0].action_space.nvec, size=(2, 6))
        actions[:, -1] = 0
        observations, rewards, *_ = vector.step(actions)
        steps = [env.step(action) for env, action in zip(singles, actions, strict=True)]
        assert observations.tobytes() == np.stack([step[0] for step in steps]).tobytes()
        assert list(rewards) == [step[1] for step in steps]
    vector.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of Python 3.12: that it works is what is tested
@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_environments_in_processes_of_their_own_are_as_those_in_one(context: str) -> None:
    found = []
    for mode, settings in (("sync", {}), ("async", {"context": context})):
        vector = gymnasium.make_vec(
            "ml_trainer_env.integrations.gymnasium:MLTrainer-v0",
            num_envs=2,
            vectorization_mode=mode,
            vector_kwargs=settings,
            **CHEAP,
        )
        shown = [vector.reset(seed=[4, 5])[0]]
        shown += [vector.step(np.array([[3, 1, 2, 2, 1, 0], [1, 2, 0, 0, 0, 0]]))[0] for _ in range(2)]
        found.append([one.tobytes() for one in shown])
        vector.close()

    assert found[0] == found[1]


def test_the_page_of_the_environment_tells_its_spaces(env: Any) -> None:
    page, space = TuningEnv.__doc__ or "", env.observation_space

    assert f"`Box(-5, 5, ({len(FEATURES)},), float32)`" in page
    assert (space.shape, space.dtype, float(space.high[0])) == ((len(FEATURES),), np.float32, 5.0)
    assert f"`MultiDiscrete({list(map(int, env.action_space.nvec))})`" in page


@pytest.mark.slow
def test_the_lines_of_the_page_run_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/gymnasium.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- snippet: gymnasium -->\s*```python\n(.*?)```", page, flags=re.DOTALL)
    assert block

    exec(compile(block[1], "snippet", "exec"), {})

    assert re.fullmatch(r"tuning/\w+/\d+ -?\d\.\d+\n", capsys.readouterr().out)


def test_tasks_that_were_not_calibrated_are_graded_by_accuracy_alone() -> None:
    with pytest.raises(ValueError, match="no calibrated tasks"):
        TuningEnv(split="nowhere")
    with pytest.raises(ValueError, match="rubric='accuracy'"):
        TuningEnv(split="train", indices=[2_000]).reset()
    env = TuningEnv(split="train", indices=[2_000], rubric="accuracy")

    assert env.reset(seed=1)[1]["task"] == "tuning/train/2000"
