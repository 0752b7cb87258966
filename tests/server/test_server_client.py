"""The client: every form in which it may be used, against a running server."""

import ast
import asyncio
import contextlib
import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from openenv.core.mcp_client import MCPToolClient
from websockets.sync.server import ServerConnection, serve

from ml_trainer_env import MLTrainerEnv, ToolCallError
from ml_trainer_env.models import MLTrainerState, ResetObservation

ROOT = Path(__file__).resolve().parents[2]

SNIPPET = """\
from ml_trainer_env import MLTrainerEnv
with MLTrainerEnv(base_url="http://localhost:8000") as env:
    env.reset(task_id="easy_mnist")
    tools = env.list_tools()
    result = env.call_tool("configure_training", optimizer="adam", learning_rate=0.001, batch_size=64)
    result = env.call_tool("run_epochs", num_epochs=10)
    print(result)
    result = env.call_tool("submit_model")
    print(result)
"""


def printed_by(source: str, base_url: str) -> list[str]:
    """The lines that a snippet prints when its server is at `base_url`."""
    assert "http://localhost:8000" in source
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(source.replace("http://localhost:8000", base_url), "snippet", "exec"), {})
    return output.getvalue().splitlines()


def test_the_snippet_of_the_readme_runs_as_written_and_prints_the_score(live_server: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- snippet: client -->\s*```python\n(.*?)```", readme, flags=re.DOTALL)
    assert block, "README.md has no python block after <!-- snippet: client -->"

    lines = printed_by(block[1], live_server)

    submitted = ast.literal_eval(lines[-1])
    assert 0.0 < submitted["score"] < 1.0
    assert submitted["done"] is True


@pytest.mark.slow
def test_the_snippet_of_the_issue_runs_as_written(live_server: str) -> None:
    trained, submitted = map(ast.literal_eval, printed_by(SNIPPET, live_server))

    assert [row["epoch"] for row in trained["epochs"]] == list(range(1, 11))
    assert submitted["score"] == submitted["reward_parts"]["submission"]


def test_reward_done_and_step_count_are_at_hand_after_each_call(env: MLTrainerEnv) -> None:
    assert (env.reward, env.done, env.step_count) == (0.0, False, 0)
    env.reset(task_id="easy_mnist")

    trained = env.call_tool("run_epochs", num_epochs=1)
    assert (env.reward, env.done, env.step_count) == (trained["reward"], False, 1)
    assert trained["reward"] > 0

    with pytest.raises(ToolCallError):
        env.call_tool("run_epochs", num_epochs=0)
    assert (env.reward, env.done, env.step_count) == (0.0, False, 2)

    submitted = env.call_tool("submit_model")
    assert (env.reward, env.done, env.step_count) == (submitted["reward"], True, 3)

    env.reset(task_id="easy_mnist")
    assert (env.reward, env.done, env.step_count) == (0.0, False, 0)


def test_async_with_plays_a_whole_episode(live_server: str) -> None:
    async def play() -> None:
        async with MLTrainerEnv(base_url=live_server) as env:
            begun = await env.reset(task_id="easy_mnist")
            assert isinstance(begun.observation, ResetObservation)
            assert [tool.name for tool in await env.list_tools()] == begun.observation.task.tools
            assert await env.has_tool("submit_model")
            assert (await env.get_tool("run_epochs")).name == "run_epochs"

            trained = await env.call_tool("run_epochs", num_epochs=1)
            assert (env.reward, env.done, env.step_count) == (trained["reward"], False, 1)

            submitted = await env.call_tool("submit_model")
            assert (env.reward, env.done, env.step_count) == (submitted["reward"], True, 2)
            assert (await env.state()).done

    asyncio.run(play())


def test_the_sync_wrapper_plays_a_whole_episode(live_server: str) -> None:
    with MLTrainerEnv(base_url=live_server).sync() as env:
        env.reset(task_id="easy_mnist")
        assert len(env.list_tools()) == 9
        assert env.has_tool("run_epochs")

        env.call_tool("run_epochs", num_epochs=1)
        submitted = env.call_tool("submit_model")

        assert submitted["score"] > 0
        assert (env.reward, env.done, env.step_count) == (submitted["reward"], True, 2)


def test_plain_with_answers_every_method_at_once(env: MLTrainerEnv) -> None:
    begun = env.reset(task_id="medium_fashion", seed=7, episode_id="mine", rubric="v2").observation
    assert isinstance(begun, ResetObservation)
    assert (begun.task.id, begun.seed, begun.episode_id, begun.rubric) == ("medium_fashion", 7, "mine", "v2")

    assert len(env.list_tools()) == 9
    assert env.get_tool("run_epochs").name == "run_epochs"
    assert env.get_tool("no_such_tool") is None
    assert env.has_tool("submit_model")
    assert not env.has_tool("no_such_tool")

    state = env.state()
    assert isinstance(state, MLTrainerState)
    assert (state.episode_id, state.step_count) == ("mine", 0)


def test_a_new_session_is_an_episode_of_its_own(env: MLTrainerEnv) -> None:
    env.reset(task_id="easy_mnist")
    other = env.new_session()
    other.reset(task_id="medium_fashion")

    env.call_tool("run_epochs", num_epochs=1)

    assert isinstance(other, MLTrainerEnv)
    assert other.call_tool("get_training_status")["current_epoch"] == 0
    assert (other.step_count, env.step_count) == (1, 1)
    assert (env.state().task_id, other.state().task_id) == ("easy_mnist", "medium_fashion")


def test_a_new_session_may_be_opened_in_async_code(live_server: str) -> None:
    async def play() -> tuple[int, int]:
        async with MLTrainerEnv(base_url=live_server) as env:
            await env.reset(task_id="easy_mnist")
            other = await env.new_session()
            await other.reset(task_id="easy_mnist")
            await asyncio.gather(env.call_tool("run_epochs", num_epochs=1), other.call_tool("run_epochs", num_epochs=2))
            return (await env.state()).status.current_epoch, (await other.state()).status.current_epoch

    assert asyncio.run(play()) == (1, 2)


def test_a_new_session_may_be_opened_through_the_sync_wrapper(live_server: str) -> None:
    with MLTrainerEnv(base_url=live_server).sync() as env:
        other = env.new_session()
        other.reset(task_id="easy_mnist")

        assert other.call_tool("run_epochs", num_epochs=1)["current_epoch"] == 1


def test_a_new_session_ends_with_its_parent(live_server: str) -> None:
    with MLTrainerEnv(base_url=live_server) as env:
        other = env.new_session()
        other.reset(task_id="easy_mnist")

    assert other._ws is None


def test_a_session_may_be_used_without_with(live_server: str) -> None:
    env = MLTrainerEnv(base_url=live_server)
    try:
        env.reset(task_id="easy_mnist")
        assert env.call_tool("run_epochs", num_epochs=1)["current_epoch"] == 1
    finally:
        env.close()


def test_a_tool_parameter_may_be_called_name(env: MLTrainerEnv) -> None:
    env.reset(task_id="easy_mnist")
    env.call_tool("run_epochs", num_epochs=1)

    assert env.call_tool("save_checkpoint", name="first")["checkpoints"][0]["name"] == "first"


@pytest.mark.parametrize(
    ("tool", "arguments", "named"),
    [
        ("run_epochs", {"num_epochs": 21}, ("num_epochs", "21", "[1, 20]")),
        ("run_epochs", {"num_epochs": "ten"}, ("num_epochs", "'ten'", "[1, 20]")),
        ("run_epochs", {}, ("num_epochs", "required")),
        ("run_epochs", {"num_epochs": 1, "fast": True}, ("fast",)),
        ("configure_training", {"learning_rate": 0}, ("learning_rate", "0", "(0, 10]")),
        ("configure_training", {"batch_size": 100}, ("batch_size", "100", "32, 64, 128, 256")),
        ("configure_training", {"optimizer": "lion"}, ("optimizer", "'lion'", "sgd, adam, adamw")),
        ("configure_training", {"dropout": 0.6}, ("dropout", "0.6", "[0, 0.5]")),
        ("configure_training", {"warmup_epochs": 2.5}, ("warmup_epochs", "2.5", "[0, 20]")),
        ("configure_training", {"augmentation": "yes"}, ("augmentation", "'yes'", "true or false")),
        ("configure_training", {"reinitialize": 1}, ("reinitialize", "1", "true or false")),
        ("adjust_learning_rate", {"new_lr": 11}, ("new_lr", "11", "(0, 10]")),
        ("toggle_augmentation", {"enabled": True, "strength": -1}, ("strength", "-1", "[0, 1]")),
        ("save_checkpoint", {"name": "../up"}, ("name", "'../up'", "letters, digits")),
        ("restore_checkpoint", {"name": "none"}, ("checkpoint", "'none'")),
        ("no_such_tool", {}, ("no_such_tool",)),
    ],
)
def test_a_refused_call_names_what_came_and_what_is_allowed_and_changes_nothing(
    env: MLTrainerEnv, tool: str, arguments: dict[str, object], named: tuple[str, ...]
) -> None:
    env.reset(task_id="easy_mnist")
    before = env.state()

    with pytest.raises(ToolCallError) as refusal:
        env.call_tool(tool, **arguments)

    assert refusal.value.tool_name == tool
    assert all(part in str(refusal.value) for part in named), str(refusal.value)
    assert (env.reward, env.done) == (0.0, False)
    after = env.state()
    assert after.model_dump(exclude={"step_count"}) == before.model_dump(exclude={"step_count"})


def test_a_configuration_with_one_bad_value_changes_none_of_them(env: MLTrainerEnv) -> None:
    env.reset(task_id="easy_mnist")
    before = env.state().configuration

    with pytest.raises(ToolCallError):
        env.call_tool("configure_training", optimizer="sgd", learning_rate=0.05, dropout=0.9, reinitialize=True)

    assert env.state().configuration == before


def test_a_stock_client_plays_an_episode_with_reward_and_done_in_the_replies(live_server: str) -> None:
    async def play() -> None:
        async with MCPToolClient(base_url=live_server) as stock:
            await stock.reset(task_id="easy_mnist")
            assert len(await stock.list_tools()) == 9

            trained = await stock.call_tool("run_epochs", num_epochs=2)
            assert trained["current_epoch"] == 2
            assert trained["reward"] > 0
            assert trained["done"] is False

            with pytest.raises(RuntimeError, match=r"num_epochs must be a whole number in \[1, 20\], got 99"):
                await stock.call_tool("run_epochs", num_epochs=99)

            submitted = await stock.call_tool("submit_model")
            assert submitted["done"] is True
            assert submitted["reward"] >= submitted["score"] > 0
            assert (await stock.state()).step_count == 3

    asyncio.run(play())


def test_after_a_client_gave_up_waiting_the_next_call_is_told_to_reset(env: MLTrainerEnv) -> None:
    env.reset(task_id="easy_mnist")
    env.call_tool("configure_training", batch_size=32, augmentation=True)
    env._message_timeout = 0.001

    with pytest.raises(TimeoutError):
        env.call_tool("run_epochs", num_epochs=20)

    env._message_timeout = 60.0
    with pytest.raises(ToolCallError, match="call reset first"):
        env.call_tool("get_training_status")
    env.reset(task_id="easy_mnist")
    assert env.call_tool("get_training_status")["current_epoch"] == 0


def test_a_server_that_goes_away_in_the_middle_of_a_call_is_a_connection_error() -> None:
    def hang_up(websocket: ServerConnection) -> None:
        websocket.recv()

    with serve(hang_up, "127.0.0.1", 0) as server, ThreadPoolExecutor(1) as thread:
        thread.submit(server.serve_forever)
        env = MLTrainerEnv(base_url=f"http://127.0.0.1:{server.socket.getsockname()[1]}")
        try:
            with pytest.raises(ConnectionError):
                env.call_tool("run_epochs", num_epochs=1)
        finally:
            env.close()
            server.shutdown()


def test_a_session_with_no_server_fails_with_a_connection_error() -> None:
    env = MLTrainerEnv(base_url="http://127.0.0.1:9", connect_timeout_s=2.0)
    try:
        with pytest.raises(ConnectionError):
            env.reset()
    finally:
        env.close()


def test_a_closed_client_leaves_neither_a_thread_nor_a_file(live_server: str) -> None:
    def left() -> tuple[int, int]:
        threads = [thread for thread in threading.enumerate() if thread.name == "openenv-sync-client-loop"]
        return len(threads), len(list(Path("/proc/self/fd").iterdir()))

    before = left()
    for _ in range(3):
        with MLTrainerEnv(base_url=live_server) as env:
            env.reset()
            with env.new_session() as other:
                other.reset()

    assert all(now <= then for now, then in zip(left(), before, strict=True))  # others' may be closed meanwhile
