"""A call on its way: progress, cancellation, and clients that go away."""

import asyncio
from typing import Any

import anyio
import pytest
from mcp.types import CancelledNotification, CancelledNotificationParams, ClientNotification

import ml_trainer_env.server.episodes.progress as progress_module


def test_each_epoch_is_told_to_a_client_that_asks_for_progress(serve: Any, t: Any) -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        if total is not None:  # on a busy machine it also hears that the call is still alive
            heard.append((progress, total, message))

    async def play(served: Any) -> None:
        async with served.official() as session:
            await session.call_tool("start_task", {})
            t.reply(await session.call_tool("run_epochs", {"num_epochs": 3}, progress_callback=listen))

    serve(play)

    assert [(progress, total) for progress, total, _ in heard] == [(1, 3), (2, 3), (3, 3)]
    assert heard[-1][2].startswith("epoch 3 of 100: validation accuracy 0.7")


def test_a_client_that_does_not_ask_hears_of_the_reply_only(serve: Any) -> None:
    async def play(served: Any) -> None:
        async with served.raw() as session:
            await session.call("start_task")
            assert len(await session.messages("run_epochs", num_epochs=3)) == 1
            told = await session.messages("run_epochs", {"progressToken": "p"}, num_epochs=3)
            assert [m.get("method") for m in told] == ["notifications/progress"] * 3 + [None]

    serve(play)


def test_waiting_for_a_worker_is_told_and_every_figure_is_above_the_last(serve: Any, t: Any) -> None:
    heard: list[float] = []
    words: list[str] = []

    async def listen(progress: float, _: float | None, message: str | None) -> None:
        heard.append(progress)
        words.append(message or "")

    async def play(served: Any) -> None:
        async with served.official() as session:
            await session.call_tool("start_task", {})
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(session.call_tool, "run_epochs", {"num_epochs": 2}, None, listen)
                for epoch in (1, 2):
                    await t.until(lambda begun=epoch: served.executor.started == begun)
                    for place in (2, 1):
                        served.executor.on_wait(place)
                    await t.until(lambda: words and words[-1].startswith("waiting for a worker, 1"))
                    served.executor.release()
                    await t.until(lambda ended=epoch: words[-1].startswith(f"epoch {ended}"))

    serve(play, held=True)

    assert len(heard) == 6
    assert heard == sorted(set(heard))


def test_a_call_without_news_is_told_to_be_alive(serve: Any, t: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "HEARTBEAT_S", 0.05)
    heard: list[float] = []

    async def listen(progress: float, *_: Any) -> None:
        heard.append(progress)

    async def play(served: Any) -> None:
        async with served.official() as session:
            await session.call_tool("start_task", {})
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(session.call_tool, "run_epochs", {"num_epochs": 1}, None, listen)
                await t.until(lambda: len(heard) >= 3)
                served.executor.release()

    serve(play, held=True)

    assert heard == sorted(set(heard))
    assert heard[-1] >= 1


def test_a_cancelled_call_stops_and_what_it_completed_stays_spent(serve: Any, t: Any) -> None:
    async def play(served: Any) -> None:
        async with served.official() as session:
            await session.call_tool("start_task", {})
            async with anyio.create_task_group() as tasks:
                request_id = session._request_id
                tasks.start_soon(_failing, session, "run_epochs", {"num_epochs": 5})
                served.executor.release(2)
                await t.until(lambda: served.executor.started == 3)
                await session.send_notification(_cancelled(request_id))
            await t.until(lambda: served.executor.stopped == 1)

            status = t.reply(await session.call_tool("get_training_status", {}))
            assert status["current_epoch"] == 2
            served.executor.release()
            assert t.reply(await session.call_tool("run_epochs", {"num_epochs": 1}))["current_epoch"] == 3

    serve(play, held=True)


def test_a_cancelled_call_is_written_down(serve: Any, t: Any) -> None:
    async def play(served: Any) -> None:
        async with served.official() as session:
            await session.call_tool("start_task", {"episode_id": "e"})
            async with anyio.create_task_group() as tasks:
                request_id = session._request_id
                tasks.start_soon(_failing, session, "run_epochs", {"num_epochs": 5})
                served.executor.release(2)
                await t.until(lambda: served.executor.started == 3)
                await session.send_notification(_cancelled(request_id))
            await t.until(lambda: served.executor.stopped == 1)
        async with served.official() as session:
            begun = t.reply(await session.call_tool("start_task", {"episode_id": "e", "resume": True}))
            assert begun["status"]["current_epoch"] == 2
            assert "2 of 5 epochs completed" in begun["last_call"]["error"]

    serve(play, held=True)


def test_a_client_that_drops_the_stream_of_a_call_stops_it(serve: Any, t: Any) -> None:
    async def play(served: Any) -> None:
        async with served.raw() as session:
            await session.call("start_task")
            call = session.request("run_epochs", {"num_epochs": 5})
            served.executor.release(2)
            async with session.http.stream("POST", served.url, json=call, headers=session.headers):
                await t.until(lambda: served.executor.started == 3)
            await t.until(lambda: served.executor.stopped == 1)

            assert (await session.call("get_training_status"))["current_epoch"] == 2
            served.executor.release()
            assert (await session.call("run_epochs", num_epochs=1))["current_epoch"] == 3

    serve(play, held=True)


def test_dropping_a_call_that_waits_for_its_turn_leaves_the_one_under_way(serve: Any, t: Any) -> None:
    async def play(served: Any) -> None:
        async with served.raw() as session:
            await session.call("start_task")
            under_way = asyncio.create_task(session.call("run_epochs", num_epochs=2))
            await t.until(lambda: served.executor.started == 1)
            waits = session.request("run_epochs", {"num_epochs": 5})
            async with session.http.stream("POST", served.url, json=waits, headers=session.headers):
                pass
            served.executor.release(9)

            assert (await under_way)["current_epoch"] == 2
            assert (await session.call("get_training_status"))["current_epoch"] == 2

    serve(play, held=True)


def test_a_session_that_is_deleted_stops_its_call(serve: Any, t: Any) -> None:
    async def play(served: Any) -> None:
        async with served.raw() as session:
            await session.call("start_task", episode_id="e")
            under_way = asyncio.create_task(session.messages("run_epochs", num_epochs=5))
            served.executor.release(2)
            await t.until(lambda: served.executor.started == 3)
            assert (await session.delete()).status_code == 200
            await t.until(lambda: served.executor.stopped == 1)
            assert await under_way == []
        async with served.raw() as session:
            begun = await session.call("start_task", episode_id="e", resume=True)
            assert begun["status"]["current_epoch"] == 2

    serve(play, held=True)


def _cancelled(request_id: int) -> ClientNotification:
    params = CancelledNotificationParams(requestId=request_id, reason="enough")
    return ClientNotification(CancelledNotification(method="notifications/cancelled", params=params))


async def _failing(session: Any, tool: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="Request cancelled"):
        await session.call_tool(tool, arguments)
