"""The client of the fleet, in every form in which it may be used, against a running server."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openenv.core.containers.runtime import ContainerProvider

from ml_trainer_env import FleetEnv, FleetObservation, FleetState, MLTrainerEnv, ResetRefusedError, ToolCallError

TASK = "fleet_straggler"


@pytest.fixture(scope="module")
def fleet_url(live_server: str) -> str:
    return f"{live_server}/fleet"


@pytest.fixture
def env(fleet_url: str) -> Iterator[FleetEnv]:
    with FleetEnv(base_url=fleet_url) as opened:
        yield opened


def test_plain_with_answers_every_method_at_once(env: FleetEnv) -> None:
    begun = env.reset(task_id=TASK, seed=7, episode_id="fleet-plain").observation
    assert isinstance(begun, FleetObservation)
    assert (begun.task.id, begun.seed, begun.episode_id, begun.status.step) == (TASK, 7, "fleet-plain", 0)
    assert [tool.name for tool in env.list_tools()] == begun.task.tools

    reply = env.call_tool("run_steps", num_steps=2)
    assert (reply["step"], env.reward, env.done, env.step_count) == (2, reply["reward"], False, 1)
    with pytest.raises(ToolCallError, match="num_steps"):
        env.call_tool("run_steps", num_steps=0)

    state = env.state()
    assert isinstance(state, FleetState)
    assert state.status is not None
    assert (state.episode_id, state.task_id, state.status.step) == ("fleet-plain", TASK, 2)


def test_async_with_plays_and_hears_of_progress(fleet_url: str) -> None:
    heard: list[tuple[int, int, str]] = []

    async def play() -> None:
        async with FleetEnv(base_url=fleet_url, on_progress=lambda *told: heard.append(told)) as env:
            begun = await env.reset(task_id=TASK)
            assert isinstance(begun.observation, FleetObservation)
            assert (await env.call_tool("run_steps", num_steps=3))["step"] == 3
            assert (await env.state()).status.step == 3

    asyncio.run(play())
    steps = [(done, total) for done, total, message in heard if message.startswith("step")]
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_an_episode_is_resumed_and_a_new_session_has_one_of_its_own(env: FleetEnv) -> None:
    env.reset(task_id=TASK, episode_id="fleet-resumed")
    env.call_tool("run_steps", num_steps=2)
    other = env.new_session()
    other.reset(task_id="fleet_half_precision")
    env.close()

    with FleetEnv(base_url=env.base_url) as later:
        resumed = later.resume("fleet-resumed").observation

    assert isinstance(other, FleetEnv)
    assert isinstance(resumed, FleetObservation)
    assert (resumed.resumed, resumed.status.step) == (True, 2)


def test_the_client_of_another_game_is_refused_in_words(live_server: str, fleet_url: str) -> None:
    with MLTrainerEnv(base_url=fleet_url) as env, pytest.raises(ResetRefusedError, match="another game"):
        env.reset()
    with FleetEnv(base_url=live_server) as env, pytest.raises(ResetRefusedError, match="another game"):
        env.reset()


IMAGES = {
    "ml-trainer-env": ("-m", "ml_trainer_env.server.app"),
    "registry.hf.space/someone-fleet:latest": ("-m", "ml_trainer_env.server.fleet_app"),
}


class ProcessProvider(ContainerProvider):
    """A provider whose containers are server processes of this machine."""

    def __init__(self, start_server: Callable[..., Any]) -> None:
        self._start = start_server
        self.server: Any = None

    def start_container(self, image: str, port: int | None = None, env_vars: Any = None, **options: Any) -> str:
        assert (port, options) == (None, {}), "an option that is not for the provider"
        self.server = self._start(IMAGES[image], **env_vars)
        return str(self.server.url)

    def wait_for_ready(self, base_url: str, timeout_s: float = 30.0) -> None:
        """A server that has been started is healthy."""

    def stop_container(self) -> None:
        self.server.stop()


def of_an_image(provider: ProcessProvider) -> Any:
    return FleetEnv.from_docker_image("ml-trainer-env", provider)


def of_a_space_of_its_own(provider: ProcessProvider) -> Any:
    return FleetEnv.from_env("someone/fleet", provider=provider, path="")


@pytest.mark.slow
@pytest.mark.parametrize("start", [of_an_image, of_a_space_of_its_own])
def test_the_client_of_a_started_container_plays_the_fleet(
    start_server: Callable[..., Any], start: Callable[[ProcessProvider], Any]
) -> None:
    provider = ProcessProvider(start_server)

    with start(provider).sync() as env:
        begun = env.reset(task_id=TASK).observation
        other = env.new_session().reset(task_id=TASK).observation

    assert (type(begun), type(other)) == (FleetObservation, FleetObservation)
    assert provider.server.process.poll() is not None, "closing the client stops the container"
