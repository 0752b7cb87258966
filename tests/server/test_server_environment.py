"""The environment in this process: two ways to step, rewards by name, and what a session's end does."""

import asyncio
import gc
import weakref
from typing import Any

import pytest
from openenv.core.env_server.mcp_types import CallToolAction, ListToolsAction

from ml_trainer_env.server.tuning.tools import TOOLS


def test_step_and_step_async_answer_alike(new_session: Any, run: Any) -> None:
    actions = [
        ListToolsAction(),
        CallToolAction(tool_name="run_epochs", arguments={"num_epochs": 2}),
        CallToolAction(tool_name="run_epochs", arguments={"num_epochs": 0}),
        CallToolAction(tool_name="submit_model", arguments={}),
    ]

    async def asynchronously() -> list[Any]:
        session = new_session()
        await session.environment.reset_async()
        return [(await session.environment.step_async(action)).model_dump() for action in actions]

    def synchronously() -> list[Any]:
        session = new_session()
        session.environment.reset()
        return [session.environment.step(action).model_dump() for action in actions]

    assert synchronously() == run(asynchronously())


def test_a_synchronous_step_from_another_thread_comes_back_to_the_loop_of_the_episode(
    new_session: Any, run: Any
) -> None:
    async def play() -> list[int]:
        session = new_session(epoch_s=0.01)
        await session.environment.reset_async()
        action = CallToolAction(tool_name="run_epochs", arguments={"num_epochs": 3})
        both = [session.environment.step_async(action), asyncio.to_thread(session.environment.step, action)]
        return sorted(answer.result.data["current_epoch"] for answer in await asyncio.gather(*both))

    assert run(play()) == [3, 6]


def test_calls_at_the_same_time_take_turns(new_session: Any, run: Any) -> None:
    async def play() -> list[list[int]]:
        session = new_session(epoch_s=0.01)
        await session.environment.reset_async()
        replies = await asyncio.gather(*(session.reply("run_epochs", num_epochs=2) for _ in range(3)))
        return sorted([row["epoch"] for row in reply["epochs"]] for reply in replies)

    assert run(play()) == [[1, 2], [3, 4], [5, 6]]


def test_the_status_may_be_read_while_epochs_run(new_session: Any, run: Any) -> None:
    async def play() -> tuple[int, int]:
        session = new_session(epoch_s=0.05)
        await session.environment.reset_async()
        call = asyncio.create_task(session.reply("run_epochs", num_epochs=10))
        seen = 0
        while seen == 0 and not call.done():
            await asyncio.sleep(0.01)
            seen = (await session.reply("get_training_status"))["current_epoch"]
        return seen, (await call)["current_epoch"]

    seen, ended = run(play())

    assert 1 <= seen < ended == 10


def test_closing_the_session_ends_a_call_under_way(new_session: Any, run: Any) -> None:
    async def play() -> int:
        session = new_session(epoch_s=0.02)
        await session.environment.reset_async()
        call = asyncio.create_task(session.call("run_epochs", num_epochs=20))
        while session.executor.finished < 1:
            await asyncio.sleep(0.005)
        session.environment.close()
        await call
        return len(session.executor.jobs)

    assert run(play()) < 20


def test_a_reset_during_a_call_begins_an_episode_that_the_call_does_not_touch(new_session: Any, run: Any) -> None:
    async def play() -> tuple[int, int]:
        session = new_session(epoch_s=0.02)
        await session.environment.reset_async()
        call = asyncio.create_task(session.call("run_epochs", num_epochs=20))
        while session.executor.finished < 1:
            await asyncio.sleep(0.005)
        await session.environment.reset_async()
        await call
        trained = len(session.executor.jobs)
        return (await session.reply("get_training_status"))["current_epoch"], trained

    epochs, trained = run(play())

    assert epochs == 0
    assert trained < 20


def test_the_parts_of_the_reward_have_names_that_a_trainer_can_list(new_session: Any, run: Any) -> None:
    async def play() -> tuple[list[str], dict[str, float], float]:
        session = new_session()
        await session.environment.reset_async()
        answer = await session.call("run_epochs", num_epochs=3)
        names = [name for name, _ in session.environment.rubric.named_rubrics()]
        return names, answer["reply"]["reward_parts"], answer["reward"]

    names, parts, reward = run(play())

    assert set(parts) == {"progress", "convergence", "divergence", "overfitting", "submission"}
    assert set(parts) <= set(names)
    assert reward == round(sum(parts.values()), 6)


def test_a_session_lists_its_tools_before_it_has_an_episode(new_session: Any) -> None:
    observation = new_session().environment.step(ListToolsAction())

    assert tuple(tool.name for tool in observation.tools) == TOOLS.names


def test_a_refused_call_leaves_no_traceback_in_the_log(
    new_session: Any, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> str:
        session = new_session()
        await session.environment.reset_async()
        return (await session.call("run_epochs", num_epochs=0))["error"]

    assert "num_epochs" in run(play())
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def test_a_loss_that_is_not_finite_is_null_in_the_reply(new_session: Any, run: Any) -> None:
    async def play() -> tuple[dict[str, Any], dict[str, Any]]:
        session = new_session(losses=[1.0, float("nan")])
        await session.environment.reset_async()
        diverged = await session.call("run_epochs", num_epochs=5)
        return diverged, await session.call("run_epochs", num_epochs=1)

    diverged, refused = run(play())

    assert diverged["reply"]["train_loss"] is None
    assert diverged["reply"]["loss_history_last_10"] == [1.0, None]
    assert (diverged["reply"]["is_diverged"], diverged["reply"]["convergence_signal"]) == (True, "diverged")
    assert diverged["reply"]["reward_parts"]["divergence"] == -0.2
    assert "reinitialize" in refused["error"]


def test_nothing_is_held_of_a_session_that_has_ended(new_session: Any, run: Any) -> None:
    async def play() -> Any:
        session = new_session()
        async with session.environment.mcp_session():
            await session.environment.reset_async()
            await session.reply("run_epochs", num_epochs=3)
            episode = weakref.ref(session.environment._session.opened.episode)
        session.environment.close()
        return episode

    episodes = [run(play()) for _ in range(3)]
    gc.collect()

    assert [episode() for episode in episodes] == [None, None, None]


def test_two_sessions_at_a_time_play_their_own_episodes(new_session: Any, run: Any) -> None:
    async def play() -> list[int]:
        first, second = new_session(), new_session()
        async with first.environment.mcp_session(), second.environment.mcp_session():
            for session, epochs in ((first, 1), (second, 4)):
                await session.environment.reset_async()
                await session.reply("run_epochs", num_epochs=epochs)
            return [(await s.reply("get_training_status"))["current_epoch"] for s in (first, second)]

    assert run(play()) == [1, 4]
