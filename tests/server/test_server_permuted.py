"""The permuted task as a client of a real server plays it: real epochs, real seconds, real test images."""

from typing import Any

import pytest

from ml_trainer_env import MLTrainerEnv

TASK = "permuted_mnist"


def test_a_reset_tells_both_budgets_and_where_the_images_come_from(env: MLTrainerEnv) -> None:
    observation = env.reset(task_id=TASK).observation

    task = observation.task
    assert (observation.seed, task.budget_epochs, task.budget_seconds) == (789, 30, 60.0)
    assert (task.target_metric, task.target_value) == ("test_accuracy", 0.985)
    assert (task.network, task.dataset.name, task.dataset.source) == ("batch_norm_mlp", "mnist", "bundled")
    sizes = task.dataset.train_size, task.dataset.validation_size, task.dataset.test_size
    assert sizes == (7_000, 1_000, 2_000)
    assert observation.status.remaining_seconds == 60.0


def test_the_tasks_that_count_epochs_alone_have_no_seconds(env: MLTrainerEnv) -> None:
    observation = env.reset(task_id="easy_mnist").observation

    assert observation.task.budget_seconds is None
    assert observation.status.remaining_seconds is None


@pytest.mark.slow
def test_it_is_learnt_and_graded_on_test_images_that_no_reply_shows_before(env: MLTrainerEnv) -> None:
    env.reset(task_id=TASK)
    replies: list[dict[str, Any]] = [
        env.call_tool("configure_training", optimizer="adamw", lr_schedule="cosine", augmentation=True),
        env.call_tool("run_epochs", num_epochs=3),
        env.call_tool("save_checkpoint", name="a"),
        env.call_tool("get_training_status"),
        env.state().model_dump(),
    ]
    graded = env.call_tool("submit_model")

    assert not any("test" in key for reply in replies for key in reply)
    assert replies[1]["remaining_seconds"] < 60.0
    test = graded["test_accuracy"]
    assert test > 0.92
    assert graded["score"] == graded["details"]["accuracy_score"] == pytest.approx((test - 0.9) / 0.085, abs=1e-4)


@pytest.mark.slow
def test_seed_and_calls_fix_the_bits_however_the_epochs_are_cut_and_another_seed_has_others(env: MLTrainerEnv) -> None:
    def trained(seed: int, *chunks: int) -> str:
        env.reset(task_id=TASK, seed=seed)
        env.call_tool("configure_training", dropout=0.2, augmentation=True, lr_schedule="cosine")
        return [env.call_tool("run_epochs", num_epochs=epochs) for epochs in chunks][-1]["weights_hash"]

    whole = trained(1, 2)

    assert whole == trained(1, 1, 1)
    assert whole != trained(2, 2)


@pytest.mark.slow
def test_a_checkpoint_brings_back_weights_and_running_statistics_and_no_second(env: MLTrainerEnv) -> None:
    env.reset(task_id=TASK)
    env.call_tool("run_epochs", num_epochs=1)
    saved = env.call_tool("save_checkpoint", name="a")
    after = env.call_tool("run_epochs", num_epochs=1)

    restored = env.call_tool("restore_checkpoint", name="a")
    again = env.call_tool("run_epochs", num_epochs=1)

    assert restored["weights_hash"] == saved["weights_hash"]
    assert again["weights_hash"] == after["weights_hash"]
    assert restored["remaining_seconds"] == after["remaining_seconds"] > again["remaining_seconds"]


@pytest.mark.slow
def test_an_episode_goes_on_after_a_lost_connection_with_the_seconds_it_had(env: MLTrainerEnv) -> None:
    env.reset(task_id=TASK)
    before = env.call_tool("run_epochs", num_epochs=2)
    env.disconnect()

    status = env.resume().observation.status

    assert (status.current_epoch, status.remaining_seconds) == (2, before["remaining_seconds"])
