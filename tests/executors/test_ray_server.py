"""A server whose workers are on Ray: it plays, and however it ends, no actor is left."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray_nodes import RayNodes

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.fleet_client import FleetEnv

pytestmark = pytest.mark.ray

LIMIT_S = 300.0
Serve = Callable[..., Any]


@pytest.fixture
def serve(start_server: Serve, ray_nodes: RayNodes, tmp_path: Path) -> Serve:
    """Starts servers that share a state folder, each with two workers on Ray."""
    settings = {"EXECUTOR": "ray", "RAY_ADDRESS": ray_nodes.address, "WORKERS": "1", "STATE_DIR": str(tmp_path)}
    variables = {f"ML_TRAINER_{name}": value for name, value in settings.items()}
    return lambda **others: start_server(**{**variables, **ray_nodes.variables, **others})


def actors(ray_nodes: RayNodes) -> set[int]:
    """Process ids of the workers on all nodes."""
    found = set()
    for node in ray_nodes.nodes:
        for pid in node.pids:
            try:
                if b"TrainerActor" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.add(pid)
            except OSError:
                continue
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_actor_is_left_however_a_server_ends_and_its_episode_goes_on_at_the_next(
    serve: Serve, ray_nodes: RayNodes, how: signal.Signals
) -> None:
    before = actors(ray_nodes)
    server, name = serve(), f"ends-{how.name}"
    with MLTrainerEnv(base_url=server.url) as env:
        env.reset(task_id="easy_mnist", episode_id=name)
        env.call_tool("configure_training", optimizer="adam", learning_rate=0.001, batch_size=64)
        first = env.call_tool("run_epochs", num_epochs=2)
        own = actors(ray_nodes) - before
        os.kill(server.process.pid, how)
        server.process.wait()
    wait_until(lambda: not own & actors(ray_nodes))

    following = serve()
    with MLTrainerEnv(base_url=following.url) as env:
        env.reset(episode_id=name, resume=True)
        again = env.call_tool("run_epochs", num_epochs=1)
    following.stop()
    wait_until(lambda: actors(ray_nodes) <= before)

    assert len(own) == 1
    assert first["current_epoch"] == 2
    assert again["current_epoch"] == 3


def test_the_fleet_is_played_on_ray(serve: Serve) -> None:
    server = serve()
    with FleetEnv(base_url=f"{server.url}/fleet") as env:
        env.reset(task_id="fleet_straggler")
        reply = env.call_tool("run_steps", num_steps=10)
    server.stop()

    assert reply


def test_a_server_without_its_cluster_says_so_and_answers(start_server: Serve, ray_nodes: RayNodes) -> None:
    import httpx

    server = start_server(
        **ray_nodes.variables, ML_TRAINER_EXECUTOR="ray", ML_TRAINER_RAY_ADDRESS="127.0.0.2:1", ML_TRAINER_WORKERS="1"
    )

    def reason() -> str:
        return str(httpx.get(f"{server.url}/ready", trust_env=False, timeout=60).json().get("reason"))

    wait_until(lambda: "127.0.0.2:1 cannot be joined" in reason())
    server.stop()
