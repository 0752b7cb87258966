"""Sessions, workers and signals: what a server of several processes must keep up, tested on real ones.

Faults 8, 10 and 11 of DESIGN 6 are here, beside the other tests that need a server with settings of its own.
"""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from ml_trainer_env import MLTrainerEnv, ToolCallError
from ml_trainer_env.server.settings import Settings

pytestmark = pytest.mark.slow
"""Each setting is a server of its own, with workers of its own."""

FIGURES = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "learning_rate")
SLOW = {"batch_size": 32, "augmentation": True}
"""A configuration whose epochs take a while."""

LIVENESS_S = 240.0
"""How long a test waits for what must come, on a machine however busy."""


@pytest.fixture(scope="module")
def keep(start_server: Any) -> Callable[..., Any]:
    """Starts a server with some settings, or gives the one that was started before and still runs."""
    kept: dict[tuple[tuple[str, str], ...], Any] = {}

    def get(**variables: str) -> Any:
        key = tuple(variables.items())
        if key not in kept or kept[key].process.poll() is not None:
            kept[key] = start_server(**variables)
        return kept[key]

    return get


@pytest.fixture
def server(keep: Callable[..., Any]) -> Any:
    """A server with two workers and no session, and room for two."""
    server = keep(ML_TRAINER_WORKERS="2", ML_TRAINER_MAX_SESSIONS="2", ML_TRAINER_TORCH_THREADS="1")
    wait_until(lambda: has_room(server.url, 2), "the server has room for two sessions")
    return server


@pytest.fixture
def hasty_server(keep: Callable[..., Any]) -> Any:
    """A server with one worker that lets no call take longer than a second."""
    return keep(ML_TRAINER_CALL_TIMEOUT_S="1", ML_TRAINER_WORKERS="1")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


def wait_until(holds: Callable[[], Any], what: str) -> None:
    ends_at = time.monotonic() + LIVENESS_S
    while not holds():
        assert time.monotonic() < ends_at, f"waited {LIVENESS_S:g} s in vain until {what}"
        time.sleep(0.02)


def ask(url: str, method: str, **params: Any) -> dict[str, Any]:
    request = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
    return httpx.post(f"{url}/mcp", json=request, trust_env=False, timeout=LIVENESS_S).json()


def has_room(url: str, sessions: int) -> bool:
    """Whether the server takes so many sessions more; none is left behind."""
    answers = [ask(url, "openenv/session/create") for _ in range(sessions)]
    begun = [answer["result"]["session_id"] for answer in answers if "result" in answer]
    for session_id in begun:
        ask(url, "openenv/session/close", session_id=session_id)
    return len(begun) == sessions


def workers_of(pid: int) -> list[int]:
    """The worker processes that are children of a process."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            child = int(folder.name)
            if int(_stat(child)[1]) == pid and b"executors.worker" in (folder / "cmdline").read_bytes():
                found.append(child)
    return found


def is_running(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent to take note does not."""
    try:
        return _stat(pid)[0] != "Z"
    except OSError:
        return False


def cpu_ticks(pid: int) -> int:
    """Processor time that a process has used, in ticks."""
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def wait_until_idle(pids: list[int]) -> None:
    """Waits until workers that were starting are warm and use no processor time."""
    seen: list[list[int]] = []

    def still() -> bool:
        seen.append([cpu_ticks(pid) for pid in pids])
        time.sleep(0.1)
        return len(seen) > 5 and all(ticks == seen[-1] for ticks in seen[-5:])

    wait_until(still, "the workers are idle")


def wait_for_busy_worker(pids: list[int], call: Future[Any]) -> int:
    """The first worker to use processor time."""
    before = {pid: cpu_ticks(pid) for pid in pids}
    busy: list[int] = []

    def some_is_busy() -> bool:
        busy.extend(pid for pid in pids if cpu_ticks(pid) >= before[pid] + 2)
        return bool(busy) or call.done()

    wait_until(some_is_busy, "a worker trains")
    assert busy, "the call was over before a worker was seen to train"
    return busy[0]


def rows_of(reply: dict[str, Any]) -> list[tuple[float, ...]]:
    """What each epoch came to; the wall time aside, which nothing fixes."""
    return [tuple(row[name] for name in FIGURES) for row in reply["epochs"]]


def test_fault_08_sessions_that_train_at_the_same_time_do_not_disturb_each_other(
    server: Any, threads: ThreadPoolExecutor
) -> None:
    def play(seed: int) -> list[tuple[float, ...]]:
        with MLTrainerEnv(base_url=server.url) as env:
            env.reset(task_id="easy_mnist", seed=seed)
            env.call_tool("configure_training", dropout=0.3, augmentation=True, batch_size=128)
            rows = [row for _ in range(3) for row in rows_of(env.call_tool("run_epochs", num_epochs=1))]
            return [*rows, (env.call_tool("submit_model")["test_accuracy"],)]

    together = list(threads.map(play, (1, 2)))
    wait_until(lambda: has_room(server.url, 2), "both sessions have ended")
    alone = [play(seed) for seed in (1, 2)]

    assert together == alone
    assert alone[0] != alone[1]


def test_health_answers_while_every_worker_is_busy(server: Any, threads: ThreadPoolExecutor) -> None:
    def train() -> int:
        with MLTrainerEnv(base_url=server.url) as env:
            env.reset(task_id="easy_mnist")
            env.call_tool("configure_training", **SLOW)
            return env.call_tool("run_epochs", num_epochs=6)["current_epoch"]

    pids = workers_of(server.pid)
    assert len(pids) == 2
    wait_until_idle(pids)
    calls = [threads.submit(train) for _ in range(2)]
    wait_for_busy_worker(pids, calls[0])
    answers = []
    with httpx.Client(base_url=server.url, trust_env=False, timeout=2.0) as http:
        while not any(call.done() for call in calls):
            answers += [http.get(path).status_code for path in ("/health", "/metadata", "/state")]

    assert set(answers) == {200}
    assert [call.result() for call in calls] == [6, 6]


def test_a_worker_that_is_killed_costs_its_session_nothing_but_time(server: Any, threads: ThreadPoolExecutor) -> None:
    def begin(env: MLTrainerEnv) -> None:
        env.reset(task_id="easy_mnist", seed=11)
        env.call_tool("configure_training", dropout=0.2, lr_schedule="cosine", **SLOW)
        env.call_tool("run_epochs", num_epochs=1)

    def end(env: MLTrainerEnv) -> tuple[Any, ...]:
        status = env.call_tool("get_training_status")
        submitted = env.call_tool("submit_model")
        names = ("loss_history_last_10", "val_loss_history_last_10", "best_val_epoch", "weights_hash")
        return *(status[name] for name in names), submitted["score"], submitted["details"], submitted["test_accuracy"]

    with MLTrainerEnv(base_url=server.url) as env:
        begin(env)
        pids = workers_of(server.pid)
        wait_until_idle(pids)
        call = threads.submit(env.call_tool, "run_epochs", num_epochs=5)
        victim = wait_for_busy_worker(pids, call)
        os.kill(victim, signal.SIGKILL)

        assert [row["epoch"] for row in call.result()["epochs"]] == [2, 3, 4, 5, 6]
        disturbed = end(env)
    wait_until(lambda: len(workers_of(server.pid)) == 2, "the worker is replaced")

    with MLTrainerEnv(base_url=server.url) as env:
        begin(env)
        env.call_tool("run_epochs", num_epochs=5)
        assert end(env) == disturbed


class TestFault11OneSlotHeldForEver:
    """11. Capacity was one session, and a crashed client held its slot for ever."""

    def test_fault_11_there_is_room_for_many_sessions_and_an_idle_one_ends(self) -> None:
        settings = Settings.from_environment({})

        assert settings.max_sessions >= 64
        assert settings.session_timeout_s < float("inf")

    def test_fault_11_one_session_too_many_is_told_so_and_a_closed_one_makes_room(self, server: Any) -> None:
        with MLTrainerEnv(base_url=server.url) as first, MLTrainerEnv(base_url=server.url) as second:
            first.reset()
            second.reset()

            with (
                MLTrainerEnv(base_url=server.url) as third,
                pytest.raises(RuntimeError, match="Server at capacity: 2/2 sessions active"),
            ):
                third.reset()

            assert first.call_tool("get_training_status")["current_epoch"] == 0
            second.close()
            wait_until(lambda: has_room(server.url, 1), "the closed session has made room")

    @pytest.mark.parametrize("training", [False, True], ids=["between calls", "in a call"])
    def test_fault_11_the_slot_of_a_client_that_crashed_is_free_again(self, server: Any, training: bool) -> None:
        with MLTrainerEnv(base_url=server.url) as survivor:
            survivor.reset()
            with connect(server.url.replace("http", "ws") + "/ws") as crashed:
                crashed.send('{"type": "reset", "data": {}}')
                crashed.recv()
                if training:
                    call = {"type": "call_tool", "tool_name": "run_epochs", "arguments": {"num_epochs": 20}}
                    crashed.send(json.dumps({"type": "step", "data": call}))
                assert not has_room(server.url, 1)

                crashed.socket.shutdown(socket.SHUT_RDWR)  # no closing handshake: the process is gone

                wait_until(lambda: has_room(server.url, 1), "the crashed client's slot is free")
            assert survivor.call_tool("get_training_status")["current_epoch"] == 0

    def test_fault_11_a_session_that_only_http_holds_ends_when_it_is_closed(self, server: Any) -> None:
        held = [ask(server.url, "openenv/session/create")["result"]["session_id"] for _ in range(2)]

        refused = ask(server.url, "openenv/session/create")["error"]
        assert "Server at capacity: 2/2 sessions active" in refused["message"]

        for session_id in held:
            assert ask(server.url, "openenv/session/close", session_id=session_id)["result"]["closed"] is True
        assert has_room(server.url, 2)


def test_sigterm_ends_the_server_and_its_workers_in_the_middle_of_a_call(
    server: Any, threads: ThreadPoolExecutor
) -> None:
    def train() -> None:
        with contextlib.suppress(Exception), MLTrainerEnv(base_url=server.url) as env:
            env.reset(task_id="medium_fashion")
            env.call_tool("run_epochs", num_epochs=20)

    workers = workers_of(server.pid)
    wait_until_idle(workers)
    call = threads.submit(train)
    wait_for_busy_worker(workers, call)

    server.process.terminate()

    assert server.process.wait(LIVENESS_S) in {0, -signal.SIGTERM}
    wait_until(lambda: not any(map(is_running, workers)), "the workers have ended")
    call.result(LIVENESS_S)  # whoever waited for the call was told


def test_fault_10_the_workers_end_a_call_over_its_time_and_nothing_trains_on(hasty_server: Any) -> None:
    with MLTrainerEnv(base_url=hasty_server.url) as env:
        env.reset(task_id="medium_fashion")
        env.call_tool("configure_training", **SLOW)

        with pytest.raises(ToolCallError, match=r"training failed: .* took longer .*\d+ of 20 epochs completed"):
            env.call_tool("run_epochs", num_epochs=20)

        assert (env.reward, env.done) == (0.0, False)
        completed = env.call_tool("get_training_status")["current_epoch"]
        time.sleep(1.0)  # time enough for a zombie to show itself
        assert env.call_tool("get_training_status")["current_epoch"] == completed < 20


def test_kill_9_of_the_server_ends_its_workers_too(hasty_server: Any) -> None:
    workers = workers_of(hasty_server.pid)
    assert workers

    os.kill(hasty_server.pid, signal.SIGKILL)
    hasty_server.process.wait(LIVENESS_S)

    wait_until(lambda: not any(map(is_running, workers)), "the workers have ended")
