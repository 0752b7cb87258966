"""Server processes that share a PostgreSQL database and a bucket: each goes on with the episodes of the others."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.errors import EnvConnectionError, MLTrainerError

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
"""On a busy machine each start takes minutes. Whoever waits has a limit, so nothing can hang."""

LIVENESS_S = 240.0
TASK = {"task_id": "easy_mnist", "seed": 3}
SETTINGS = {"optimizer": "adam", "learning_rate": 0.002, "batch_size": 64}


@pytest.fixture(scope="module")
def shared(postgresql: Any, s3: Any) -> dict[str, str]:
    """What all servers of a deployment have in common."""
    return {
        "ML_TRAINER_DATABASE_URL": postgresql.new_database(),
        "ML_TRAINER_STATES_URL": f"s3://{s3.new_bucket()}/models",
        "ML_TRAINER_WORKERS": "1",
        "ML_TRAINER_TORCH_THREADS": "1",
        **s3.variables,
    }


@pytest.fixture(scope="module")
def second(start_server: Any, shared: dict[str, str]) -> Any:
    """A server that lives through all tests."""
    return start_server(**shared)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    ends_at = time.monotonic() + LIVENESS_S
    while not holds():
        assert time.monotonic() < ends_at, f"waited {LIVENESS_S:g} s in vain until {what}"
        time.sleep(0.05)


def is_training(server: Any) -> bool:
    return "ml_trainer_busy_workers 1.0" in httpx.get(f"{server.url}/metrics", trust_env=False, timeout=60).text


def test_an_episode_of_a_killed_server_goes_on_at_another_and_nothing_acknowledged_is_lost(
    start_server: Any, shared: dict[str, str], second: Any
) -> None:
    first = start_server(**shared)
    with MLTrainerEnv(base_url=first.url) as env, MLTrainerEnv(base_url=second.url) as other:
        env.reset(**TASK, episode_id="moved")
        env.call_tool("configure_training", **SETTINGS)
        answers = [env.call_tool("run_epochs", num_epochs=2)]
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(env.call_tool, "run_epochs", num_epochs=20)
            wait_until(lambda: is_training(first) or under_way.done(), "the first server trains")
            first.process.kill()
            with suppress(EnvConnectionError):
                answers.append(under_way.result())  # on a fast machine it was answered before, and counts

        resumed = other.resume("moved").observation
        calls = [len(answer["epochs"]) for answer in answers] + [1]
        answers.append(other.call_tool("run_epochs", num_epochs=1))
        submitted = other.call_tool("submit_model")

        other.reset(**TASK, episode_id="undisturbed")
        other.call_tool("configure_training", **SETTINGS)
        calm = [other.call_tool("run_epochs", num_epochs=number) for number in calls]
        expected = other.call_tool("submit_model")

    assert resumed.last_call["reply"] == answers[-2]
    assert answers[-1]["current_epoch"] == sum(calls)
    assert [answer["weights_hash"] for answer in answers] == [answer["weights_hash"] for answer in calm]
    assert (submitted["weights_hash"], submitted["score"]) == (expected["weights_hash"], expected["score"])
    assert "will be trained again" not in second.log  # the bucket had the first server's model


def test_of_two_servers_that_begin_one_name_one_is_refused_by_name(
    start_server: Any, shared: dict[str, str], second: Any
) -> None:
    third = start_server(**shared)

    def begin(server: Any, name: str) -> str:
        with MLTrainerEnv(base_url=server.url) as env:
            try:
                env.reset(**TASK, episode_id=name)
                env.call_tool("run_epochs", num_epochs=1)
            except MLTrainerError as refusal:
                return str(refusal)
            return "trained"

    names = [f"contested-{number}" for number in range(5)]
    with ThreadPoolExecutor(2) as pool:
        outcomes = [list(pool.map(begin, (second, third), (name, name))) for name in names]

    for name, outcome in zip(names, outcomes, strict=True):
        assert sorted(words == "trained" for words in outcome) == [False, True], outcome
        assert f"'{name}'" in next(words for words in outcome if words != "trained")


def test_a_server_whose_bucket_stops_answering_goes_on_and_says_so(second: Any, s3: Any) -> None:
    with MLTrainerEnv(base_url=second.url) as env:
        env.reset(**TASK, episode_id="through-an-outage")
        env.call_tool("run_epochs", num_epochs=1)
        with s3.silent():
            reply = env.call_tool("run_epochs", num_epochs=1)
            ready = httpx.get(f"{second.url}/ready", trust_env=False, timeout=60).status_code
        submitted = env.call_tool("submit_model")

    assert reply["current_epoch"] == 2
    assert ready == 200
    assert submitted["done"]
    assert "a model cannot be kept: the bucket s3://" in second.log


def test_a_place_that_is_not_promised_is_refused_in_words_at_the_start(start_server: Any) -> None:
    with pytest.raises(RuntimeError, match=r"server: ML_TRAINER_STATES_URL must be an absolute folder"):
        start_server(ML_TRAINER_STATES_URL="gs://bucket/models")
