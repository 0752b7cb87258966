"""Episodes outlive connections and servers, seen by clients of a real one."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from served_here import served_here

from ml_trainer_env import MLTrainerEnv, ToolCallError

SLOW = {"batch_size": 32, "augmentation": True}


def test_an_episode_goes_on_where_it_was_when_its_connection_is_lost(live_server: str) -> None:
    with MLTrainerEnv(base_url=live_server) as env:
        env.reset(task_id="easy_mnist", seed=3)
        env.call_tool("configure_training", optimizer="sgd", learning_rate=0.05, lr_schedule="cosine")
        trained = env.call_tool("run_epochs", num_epochs=2)
        before, steps = env.call_tool("get_training_status"), env.step_count
        env.disconnect()

        result = env.resume()

        observation = result.observation
        assert observation.resumed
        assert (env.step_count, env.done) == (steps, False)
        assert observation.status.model_dump().items() <= before.items()
        assert observation.configuration == before["configuration"]
        assert observation.last_call == {
            "tool_name": "get_training_status",
            "arguments": {},
            "reply": before,
            "error": None,
        }
        assert env.call_tool("get_training_status") == before
        more = env.call_tool("run_epochs", num_epochs=1)
        assert more["current_epoch"] == 3
        assert more["reward"] != trained["reward"]


@pytest.mark.slow
def test_a_client_that_goes_in_the_middle_of_a_call_stops_it_and_can_come_back(live_server: str) -> None:
    lost = MLTrainerEnv(base_url=live_server)
    lost.connect()
    name = lost.reset(task_id="medium_fashion").observation.episode_id
    lost.call_tool("run_epochs", num_epochs=1)
    with ThreadPoolExecutor(1) as threads:
        threads.submit(_send_and_leave, lost)
    with MLTrainerEnv(base_url=live_server) as env:
        last = env.resume(name).observation.last_call
        status = env.call_tool("get_training_status")
        again = env.call_tool("run_epochs", num_epochs=1)

    assert "training failed: " in last["error"]
    assert status["current_epoch"] < 20
    assert again["current_epoch"] == status["current_epoch"] + 1


def _send_and_leave(env: MLTrainerEnv) -> None:
    env._message_timeout = 0.5
    with pytest.raises(Exception):  # noqa: B017, PT011  # whichever way the client gives up
        env.call_tool("run_epochs", num_epochs=19)
    env.close()


@pytest.mark.slow
@pytest.mark.long
def test_an_episode_outlives_its_server_and_ends_as_if_nothing_had_happened(
    start_server: Callable[..., Any], tmp_path: Path
) -> None:
    def begin(env: MLTrainerEnv) -> None:
        env.reset(task_id="easy_mnist", seed=9, rubric="v2", episode_id="kept")
        env.call_tool("configure_training", optimizer="adamw", dropout=0.2, lr_schedule="warmup_cosine", **SLOW)
        env.call_tool("run_epochs", num_epochs=3)
        env.call_tool("save_checkpoint", name="early")
        env.call_tool("run_epochs", num_epochs=2)

    def end(env: MLTrainerEnv) -> tuple[Any, ...]:
        env.call_tool("adjust_learning_rate", new_lr=0.0005)
        trained = env.call_tool("run_epochs", num_epochs=3)
        env.call_tool("restore_checkpoint", name="early")
        more = env.call_tool("run_epochs", num_epochs=2)
        submitted = env.call_tool("submit_model")
        epochs = [{**row, "epoch_time_s": None} for row in trained["epochs"]]  # measured with a clock
        return epochs, more["weights_hash"], more["reward"], submitted["score"], submitted["test_accuracy"]

    variables = {"ML_TRAINER_STATE_DIR": str(tmp_path / "one"), "ML_TRAINER_WORKERS": "1"}
    with start_server(**variables) as server, MLTrainerEnv(base_url=server.url) as env:
        begin(env)
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait()
    with start_server(**variables) as server:
        with MLTrainerEnv(base_url=server.url) as env:
            assert env.resume("kept").observation.status.current_epoch == 5
            disturbed = end(env)
        with MLTrainerEnv(base_url=server.url) as env:
            with pytest.raises(RuntimeError, match="there is an episode 'kept' with 10 epochs"):
                env.reset(episode_id="kept")
            over = env.resume("kept")
            assert (over.done, env.done) == (True, True)
            with pytest.raises(ToolCallError, match="the episode is over"):
                env.call_tool("run_epochs", num_epochs=1)
    with (
        start_server(**{**variables, "ML_TRAINER_STATE_DIR": str(tmp_path / "two")}) as server,
        MLTrainerEnv(base_url=server.url) as env,
    ):
        begin(env)
        assert end(env) == disturbed


@pytest.mark.slow
def test_a_fork_over_openenv_spends_its_parents_epochs(live_server: str) -> None:
    with MLTrainerEnv(base_url=live_server) as parent, MLTrainerEnv(base_url=live_server) as child:
        name = parent.reset(task_id="easy_mnist", seed=4).observation.episode_id
        parent.call_tool("run_epochs", num_epochs=2)
        parent.call_tool("run_epochs", num_epochs=2)

        forked = child.reset(fork_from=f"{name}@3").observation

        assert forked.forked_from == f"{name}@3"
        assert (forked.status.current_epoch, forked.status.remaining_budget) == (3, 97)
        ours = child.call_tool("run_epochs", num_epochs=1)
        theirs = parent.call_tool("get_training_status")
        assert ours["weights_hash"] == theirs["weights_hash"]
        assert ours["remaining_budget"] == theirs["remaining_budget"]


@pytest.mark.slow
def test_the_cache_answers_a_repeated_episode_and_says_so(tmp_path: Path) -> None:
    with served_here(tmp_path, CACHE="yes") as (address, _):
        replies = []
        for _ in range(2):
            with MLTrainerEnv(base_url=f"http://{address}") as env:
                env.reset(task_id="easy_mnist", seed=8)
                replies.append([env.call_tool("run_epochs", num_epochs=3), env.call_tool("run_epochs", num_epochs=2)])

    (first, again) = replies
    assert [reply["from_cache"] for reply in first + again] == [False, False, True, True]
    assert [reply["weights_hash"] for reply in first] == [reply["weights_hash"] for reply in again]
    assert [reply["reward"] for reply in first] == [reply["reward"] for reply in again]
