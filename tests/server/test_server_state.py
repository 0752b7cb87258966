"""The state of a session: it names its episode, counts steps, and leaks nothing that is held out."""

import json

import pytest

from ml_trainer_env import MLTrainerEnv, ToolCallError


def test_the_state_echoes_the_episode_id_and_counts_every_call(env: MLTrainerEnv) -> None:
    env.reset(task_id="easy_mnist", episode_id="episode-7", seed=3, rubric="v2")

    env.call_tool("get_training_status")
    with pytest.raises(ToolCallError):
        env.call_tool("run_epochs", num_epochs=0)
    env.list_tools(use_cache=False)
    env.call_tool("run_epochs", num_epochs=1)

    state = env.state()
    assert (state.episode_id, state.step_count, state.seed, state.rubric) == ("episode-7", 3, 3, "v2")
    assert state.status.current_epoch == 1


def test_an_episode_without_a_name_is_given_one_of_its_own(env: MLTrainerEnv) -> None:
    first = env.reset().observation.episode_id
    second = env.reset().observation.episode_id

    assert first
    assert second
    assert first != second
    assert env.state().episode_id == second


def test_a_reset_starts_the_count_again(env: MLTrainerEnv) -> None:
    env.reset()
    env.call_tool("get_training_status")
    env.reset()

    assert env.state().step_count == 0


def test_the_state_tells_no_test_accuracy_even_after_the_submission(env: MLTrainerEnv) -> None:
    env.reset(task_id="easy_mnist")
    env.call_tool("run_epochs", num_epochs=1)
    submitted = env.call_tool("submit_model")

    assert submitted["test_accuracy"] > 0.5
    assert "test" not in env.state().model_dump_json()


def test_no_reply_before_the_submission_tells_anything_of_the_held_out_images(env: MLTrainerEnv) -> None:
    env.reset(task_id="easy_mnist")
    replies = [
        env.call_tool("configure_training", dropout=0.1),
        env.call_tool("run_epochs", num_epochs=2),
        env.call_tool("save_checkpoint", name="a"),
        env.call_tool("list_checkpoints"),
        env.call_tool("get_training_status"),
        env.state().model_dump(),
    ]

    for reply in replies:
        text = json.dumps(reply)
        assert "test" not in text
        assert "score" not in text
        assert len(text) < 4_000  # no images, labels or weights
