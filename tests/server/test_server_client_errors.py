"""What the client raises, what it tells of progress, and a container with a token of its own."""

import os
import stat
import sys
import textwrap
import threading
from pathlib import Path

import httpx
import pytest
from openenv.core.containers.runtime import LocalDockerProvider
from served_here import served_here
from websockets.sync.server import serve

from ml_trainer_env import (
    CallTimeoutError,
    EnvConnectionError,
    MLTrainerEnv,
    MLTrainerError,
    ResetRefusedError,
    ToolCallError,
)

DOCKER = """\
    #!{python}
    # Understands what OpenEnv's provider says to docker; a container is a server process of this machine.
    import os, signal, subprocess, sys
    from pathlib import Path

    folder = Path({folder!r})
    words = sys.argv[1:]
    if words[0] == "version":
        sys.exit(0)
    if words[0] == "run":
        if words[-1] == "no-such-image":
            sys.exit(f"cannot run {{words}}")
        port = words[words.index("-p") + 1].split(":")[0]
        given = dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "-e")
        (folder / "given").write_text(repr(given))
        with open(folder / "log", "wb") as log:
            server = subprocess.Popen(
                [{python!r}, "-m", "ml_trainer_env.server.app", "--port", port],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={{**os.environ, "ML_TRAINER_STATE_DIR": str(folder / "state"), **given}},
            )
        print(server.pid)
    if words[0] == "stop":
        os.kill(int(words[1]), signal.SIGTERM)
        (folder / "stopped").touch()
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a `docker` on PATH that starts servers on this machine."""
    program = tmp_path / "docker"
    program.write_text(textwrap.dedent(DOCKER.format(python=sys.executable, folder=str(tmp_path))))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_a_refused_reset_is_one_documented_error_and_leaves_the_episode(env: MLTrainerEnv) -> None:
    env.reset(task_id="easy_mnist", episode_id="kept-after-a-refusal")
    env.call_tool("run_epochs", num_epochs=1)

    refused: list[dict[str, object]] = [
        {"task_id": "easy_peasy"},
        {"task_id": "easy_mnist", "seed": -1},
        {"task_id": "easy_mnist", "rubric": "v99"},
        {"no_such_option": 1},
        {"episode_id": "never-begun", "resume": True},
        {"fork_from": "never-begun"},
    ]
    for options in refused:
        with pytest.raises(ResetRefusedError) as refusal:
            env.reset(**options)
        assert isinstance(refusal.value, MLTrainerError)
        assert "Server error" not in str(refusal.value)
    with pytest.raises(ResetRefusedError):
        env.resume("never-begun")

    assert env.call_tool("get_training_status")["current_epoch"] == 1


def test_a_session_that_finds_no_room_is_refused_at_its_reset(tmp_path: Path) -> None:
    with (
        served_here(tmp_path, MAX_SESSIONS="1") as (address, _),
        MLTrainerEnv(base_url=f"http://{address}") as first,
        MLTrainerEnv(base_url=f"http://{address}") as second,
    ):
        first.reset()
        with pytest.raises(ResetRefusedError, match="1"):
            second.reset()


@pytest.mark.parametrize("error", [ToolCallError, ResetRefusedError, CallTimeoutError, EnvConnectionError])
def test_every_error_of_the_client_has_one_base_and_says_what_it_is(error: type[Exception]) -> None:
    assert issubclass(error, MLTrainerError)
    assert error.__doc__


def test_a_server_that_does_not_answer_in_time_is_a_time_out_with_a_message() -> None:
    done = threading.Event()
    with serve(lambda _: done.wait(30), "127.0.0.1", 0) as silent:
        thread = threading.Thread(target=silent.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{silent.socket.getsockname()[1]}"
        try:
            with MLTrainerEnv(base_url=url, message_timeout_s=0.2) as env, pytest.raises(CallTimeoutError) as timeout:
                env.reset()
        finally:
            done.set()
            silent.shutdown()
            thread.join()

    assert "has not answered for 0.2 s" in str(timeout.value)
    assert "resume()" in str(timeout.value)


def test_nobody_there_is_named(unused_port: int) -> None:
    with (
        pytest.raises(EnvConnectionError, match=f"no environment answers at http://127.0.0.1:{unused_port}"),
        MLTrainerEnv(base_url=f"http://127.0.0.1:{unused_port}"),
    ):
        pytest.fail("nobody listens there")


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_progress_comes_with_each_epoch_and_before_the_answer(live_server: str) -> None:
    told: list[tuple[int, int, str]] = []
    with MLTrainerEnv(base_url=live_server, on_progress=lambda *progress: told.append(progress)) as env:
        env.reset(task_id="easy_mnist")
        env.call_tool("configure_training", learning_rate=0.002)
        assert told == []

        env.call_tool("run_epochs", num_epochs=3)
        by_epoch = sorted({(epochs, total) for epochs, total, _ in told if epochs})
        assert by_epoch == [(1, 3), (2, 3), (3, 3)]
        assert "validation accuracy" in told[-1][2]

        assert env.call_tool("get_training_status")["current_epoch"] == 3


@pytest.mark.slow
def test_a_client_that_did_not_ask_gets_no_progress(live_server: str) -> None:
    """Stock clients take the first frame for the answer."""
    from openenv.core.env_server.mcp_types import CallToolAction
    from openenv.core.generic_client import GenericEnvClient

    with GenericEnvClient(base_url=live_server).sync() as env:
        env.reset(task_id="easy_mnist")
        action = CallToolAction(tool_name="run_epochs", arguments={"num_epochs": 2})
        result = env.step(action.model_dump())

    assert result.observation["tool_name"] == "run_epochs"


def test_progress_asked_for_over_http_is_not_sent_and_harms_nothing(live_server: str) -> None:
    action = {"type": "call_tool", "tool_name": "get_training_status", "arguments": {}, "metadata": {"progress": True}}

    answer = httpx.post(f"{live_server}/step", json={"action": action})

    assert answer.status_code == 200
    assert answer.json()["observation"]["tool_name"] == "get_training_status"


@pytest.mark.slow
def test_a_container_gets_a_token_that_its_client_alone_sends(docker: Path) -> None:
    with MLTrainerEnv.from_docker_image("ml-trainer-env:latest").sync() as env:
        url = env._async.base_url
        env.reset(task_id="easy_mnist")
        assert env.call_tool("run_epochs", num_epochs=1)["current_epoch"] == 1
        with env.new_session() as other:
            assert other.reset(task_id="easy_mnist").observation.task.id == "easy_mnist"
        stranger = httpx.post(f"{url}/reset", json={})

    assert stranger.status_code == 401
    assert len(eval((docker / "given").read_text())["ML_TRAINER_TOKEN"]) >= 16
    assert (docker / "stopped").exists()


@pytest.mark.slow
def test_a_container_keeps_the_variables_and_the_token_that_it_is_given(docker: Path) -> None:
    given = {"ML_TRAINER_TOKEN": "chosen-by-the-caller", "ML_TRAINER_RUBRIC": "v2"}
    with MLTrainerEnv.from_docker_image("ml-trainer-env", LocalDockerProvider(), env_vars=given).sync() as env:
        assert env.reset(task_id="easy_mnist").observation.rubric == "v2"

    assert eval((docker / "given").read_text()) == given


@pytest.mark.usefixtures("docker")
def test_a_container_that_does_not_start_says_so_without_its_token() -> None:
    with pytest.raises(EnvConnectionError, match="no-such-image") as failed:
        MLTrainerEnv.from_docker_image("no-such-image", env_vars={"ML_TRAINER_TOKEN": "chosen-by-the-caller"}).sync()

    assert "chosen-by-the-caller" not in str(failed.value)
    assert failed.value.__suppress_context__


def test_without_docker_the_reason_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(EnvConnectionError, match="Docker is not available"):
        MLTrainerEnv.from_docker_image("ml-trainer-env").sync()
