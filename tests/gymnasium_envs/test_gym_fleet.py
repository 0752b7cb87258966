"""MLFleet-v0 plays the real game: what a step pays, shows and hides."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3

import ml_trainer_env.integrations.gymnasium  # noqa: F401  # registers the environments
from ml_trainer_env.fleet_models import FleetStatus
from ml_trainer_env.in_process.training import trainer_of_process
from ml_trainer_env.integrations.gymnasium.fleet_actions import Act, calls_of
from ml_trainer_env.integrations.gymnasium.fleet_env import FleetEnv
from ml_trainer_env.integrations.gymnasium.fleet_features import FEATURES, features
from ml_trainer_env.integrations.gymnasium.fleet_view import Standing, View
from ml_trainer_env.server.fleet.tasks import task_at
from ml_trainer_env.server.trainer.fleet import engine
from ml_trainer_env.server.trainer.fleet.batches import CONTEXT
from ml_trainer_env.server.trainer.fleet.model import CharacterModel
from ml_trainer_env.server.trainer.fleet.text import VOCABULARY

QUICK: dict[str, Any] = {"scale": "loss", "chunk": 50}


@pytest.fixture(scope="module", autouse=True)
def small_model() -> Iterator[None]:
    """A model whose steps are cheap. Other folders' tests in this process have the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "MODEL", CharacterModel(VOCABULARY, CONTEXT, width=8, layers=0))
        yield


@pytest.fixture
def env() -> Any:
    return gymnasium.make("MLFleet-v0", **QUICK)


def play(env: Any, chance: int | None = None, **reset: Any) -> tuple[list[Any], list[float], dict[str, Any]]:
    """Play an episode, without acts or with random ones. Returns observations, rewards and the last info."""
    draws = None if chance is None else np.random.default_rng(chance)
    observation, info = env.reset(**reset)
    observations, rewards, done = [observation], [], False
    while not done:
        act = 0 if draws is None else draws.integers(len(Act))
        observation, reward, done, truncated, info = env.step(act)
        assert not truncated
        assert env.observation_space.contains(observation)
        observations.append(observation)
        rewards.append(reward)
    return observations, rewards, info


def test_the_checkers_of_both_libraries_have_nothing_to_say() -> None:
    env = gymnasium.make("MLFleet-v0", scale="loss", chunk=8)

    check_env(env.unwrapped, skip_render_check=True)
    check_env_of_sb3(env.unwrapped)


def test_the_same_seed_and_acts_give_the_same_bits(env: Any) -> None:
    first, other = (play(one, 3, seed=5) for one in (env, gymnasium.make("MLFleet-v0", **QUICK)))

    assert [one.tobytes() for one in first[0]] == [one.tobytes() for one in other[0]]
    assert first[1] == other[1]


@pytest.mark.slow
def test_rewards_sum_to_the_score_which_lies_between_the_references_of_the_file(tmp_path: Path) -> None:
    file, task = tmp_path / "references.jsonl", task_at("train", 1)
    row = {"task": task.id, "seed": task.seed, "identity": trainer_of_process().identity.key}
    file.write_text(json.dumps(row | {"references": {"nothing_loss": 4.5, "clean_loss": 2.0}}) + "\n")
    env = FleetEnv(references=file, chunk=50)

    observations, rewards, info = play(env, options={"index": 1, "seed": 0})
    plain = play(FleetEnv(**QUICK), options={"index": 1, "seed": 0})

    session = env.new_session(1, 0)
    while not session.episode.done:
        session.call("run_steps", {"num_steps": 50})
    expected = (4.5 - session.reply["held_out_loss"]) / 2.5
    assert info["score"] == session.reply["score"] == pytest.approx(expected, abs=1e-5)
    assert sum(rewards) == pytest.approx(info["score"], abs=1e-6)
    assert info["episode_reward"] == pytest.approx(sum(rewards))
    assert [one.tobytes() for one in observations] == [one.tobytes() for one in plain[0]], "references do not show"
    assert rewards[:-1] == plain[1][:-1]
    assert plain[2]["score"] != info["score"]


@pytest.mark.slow
def test_references_are_trained_once_and_kept_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "references.jsonl"

    scores = [play(FleetEnv(references=file), options={"index": 4, "seed": 0})[2]["score"] for _ in range(2)]

    assert len(file.read_text().splitlines()) == 1
    assert scores[0] == scores[1]


def test_an_observation_is_made_of_what_replies_show_and_of_nothing_else() -> None:
    env = FleetEnv(**QUICK)
    env.reset(options={"index": 2, "seed": 0})
    env.step(0)
    view = env._view

    shown = {name: view.status[name] for name in FleetStatus.model_fields}
    stripped = View(
        view.brief,
        shown,
        view.events,
        view.figures,
        view.checkpoints,
        view.deaths,
        view.last_dead,
        view.calm_step,
        view.loss_before,
        view.is_restarted,
    )

    assert features(stripped).tobytes() == features(view).tobytes()
    assert view.brief.difficulty.isdigit(), "a drawn task tells its tier and nothing else of what goes wrong"


@pytest.mark.slow
@pytest.mark.parametrize("act", list(Act))
def test_any_act_is_carried_out_or_refused(act: Act) -> None:
    env = FleetEnv(scale="loss", chunk=8)
    env.reset(options={"index": int(act), "seed": 0})

    for step in (Act.NOTHING, act):
        observation, reward, done, _, info = env.step(step)
        assert np.isfinite(observation).all()
        assert np.isfinite(reward)
        assert set(info) >= {"task", "action_mask", "refused"}
        if done:
            break


@pytest.mark.slow
def test_random_acts_never_crash_and_come_to_the_end(env: Any) -> None:
    assert 0.0 <= play(env, 0, seed=0)[2]["score"] <= 1.0


def test_who_stands_out_is_the_farthest_from_the_median() -> None:
    values = {"0": 1.0, "1": 1.1, "2": 2.0, "3": 0.2}

    assert Standing.of(values).group == 2
    assert Standing.of(values, both_ways=True).excess == pytest.approx(0.95)
    assert Standing.of(values | {"1": None}).group == 1, "what is not finite stands out most"
    assert Standing.of({}).group is None


def test_an_act_without_a_target_makes_no_call() -> None:
    env = FleetEnv(**QUICK)
    env.reset(options={"index": 0, "seed": 0})

    targeted = (Act.REPLACE_SLOWEST, Act.REPLACE_DEAD, Act.DRAIN_ANNOUNCED, Act.RESTORE_DRAINED, Act.MIRROR_SLOWEST)
    assert [list(calls_of(act, env._view)) for act in targeted] == [[]] * len(targeted)
    assert env.step(int(Act.REPLACE_DEAD))[4]["refused"]
    assert not env.step(int(Act.NOTHING))[4]["refused"]


def test_the_page_of_the_environment_tells_its_spaces(env: Any) -> None:
    page = FleetEnv.__doc__ or ""

    assert f"`Box(-5, 5, ({len(FEATURES)},), float32)`" in page
    assert env.observation_space.shape == (len(FEATURES),)
    assert f"`Discrete({env.action_space.n})`" in page
    assert all(f"| {act.value} |" in page for act in Act)
