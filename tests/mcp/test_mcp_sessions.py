"""Sessions of MCP clients: how they begin, how many there may be, and every way in which they end."""

import asyncio
import gc
import weakref
from typing import Any

import httpx
import pytest

import ml_trainer_env.server.mcp.endpoint as endpoint_module
from ml_trainer_env.server.episodes.session import Session


def test_a_deleted_session_is_unknown_and_out_of_the_table(serve: Any, t: Any) -> None:
    async def play(served: Any) -> None:
        async with served.raw() as session:
            await session.call("start_task")
            assert await served.sessions() == 1
            assert (await served.figures())["ml_trainer_open_episodes"] == 1

            assert (await session.delete()).status_code == 200

            assert (await session.post(session.request("list_tasks", {}))).status_code == 404
            await t.until_async(lambda: _is_empty(served))
            assert (await served.figures())["ml_trainer_open_episodes"] == 0

    serve(play)


@pytest.mark.slow
def test_many_sessions_leave_nothing_behind(serve: Any, t: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[weakref.ref[Any]] = []
    start = Session.start

    async def noted(session: Session, *arguments: Any) -> Any:
        answer = await start(session, *arguments)
        seen.append(weakref.ref(session.require_open()))
        return answer

    monkeypatch.setattr(Session, "start", noted)

    async def play(served: Any) -> None:
        for _ in range(20):
            async with served.raw() as session:
                await session.call("start_task")
                await session.call("run_epochs", num_epochs=1)
                await session.delete()
        await t.until_async(lambda: _is_empty(served))
        async with asyncio.timeout(60):
            while any(reference() for reference in seen):
                gc.collect()
                await asyncio.sleep(0.05)

    serve(play)

    assert len(seen) == 20


def test_a_full_server_says_so_and_goes_on_with_the_sessions_it_has(serve: Any, t: Any) -> None:
    async def play(served: Any) -> None:
        async with served.raw() as first, served.raw() as second:
            await first.call("start_task")
            refused = await first.http.post(
                served.url, json=t.initialize(), headers={"Accept": first.headers["Accept"]}
            )
            assert refused.status_code == 503
            error = refused.json()
            assert error["jsonrpc"] == "2.0"
            assert "2 MCP sessions" in error["error"]["message"]
            assert "ML_TRAINER_MAX_SESSIONS" in error["error"]["message"]

            assert (await first.call("run_epochs", num_epochs=1))["current_epoch"] == 1
            await second.delete()
            async with served.raw() as third:
                await third.call("list_tasks")

    serve(play, max_sessions=2)


def test_a_crowded_server_ends_sessions_that_were_left_behind_unused(
    serve: Any, t: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "UNUSED_S", 0.0)

    async def play(served: Any) -> None:
        async def is_let_in() -> bool:
            headers = {"Accept": first.headers["Accept"]}
            return (await first.http.post(served.url, json=t.initialize(), headers=headers)).status_code == 200

        async with served.raw() as first, served.raw() as left_behind:
            await first.call("start_task")

            await t.until_async(is_let_in)

            assert (await left_behind.post(left_behind.request("list_tasks", {}))).status_code == 404
            assert (await first.call("run_epochs", num_epochs=1))["current_epoch"] == 1

    serve(play, max_sessions=2)


def test_an_idle_session_ends_and_its_episode_can_be_resumed(serve: Any, t: Any) -> None:
    async def play(served: Any) -> None:
        async with served.raw() as session:
            await session.call("start_task", episode_id="e")
            await session.call("run_epochs", num_epochs=2)
            await t.until_async(lambda: _is_empty(served))
            assert (await session.post(session.request("list_tasks", {}))).status_code == 404
        async with served.raw() as session:
            begun = await session.call("start_task", episode_id="e", resume=True)
            assert begun["status"]["current_epoch"] == 2

    serve(play, session_timeout_s=0.5)


def test_a_session_with_a_call_under_way_is_not_idle(serve: Any, t: Any) -> None:
    async def play(served: Any) -> None:
        async with served.raw() as session:
            await session.call("start_task")
            call = asyncio.create_task(session.call("run_epochs", num_epochs=1))
            await t.until(lambda: served.executor.started == 1)
            await asyncio.sleep(1.2)  # three times as long as a session may be idle
            served.executor.release()
            assert (await call)["current_epoch"] == 1

    serve(play, held=True, session_timeout_s=0.4)


def test_a_session_that_is_not_established_leaves_nothing(serve: Any, t: Any) -> None:
    async def play(served: Any) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            headers = {"Accept": "application/json, text/event-stream"}
            ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
            assert (await http.post(served.url, json=ping, headers=headers)).status_code == 400
        await t.until_async(lambda: _is_empty(served))

    serve(play, max_sessions=1)


def test_a_server_that_stops_writes_down_what_was_trained(serve: Any, t: Any) -> None:
    async def leave(served: Any) -> None:
        async with served.raw() as session:
            await session.call("start_task", episode_id="e")
            served.executor.release(2)
            call = session.request("run_epochs", {"num_epochs": 5})
            task = asyncio.create_task(session.post(call))
            task.add_done_callback(lambda posted: posted.exception())  # the server stops, so it has no answer
            pending.append(task)
            await t.until(lambda: served.executor.started == 3)
            executors.append(served.executor)

    async def come_back(served: Any) -> None:
        async with served.raw() as session:
            begun = await session.call("start_task", episode_id="e", resume=True)
            assert begun["status"]["current_epoch"] == 2

    pending: list[Any] = []
    executors: list[Any] = []
    serve(leave, held=True)
    assert executors[0].stopped == 1
    serve(come_back)


def test_the_log_tells_no_ids_of_sessions_and_no_tracebacks(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    ids: list[str] = []

    async def play(served: Any) -> None:
        async with served.official() as session:  # it listens to an event stream, and ends by DELETE
            await session.call_tool("start_task", {})
        async with served.raw() as session:
            ids.append(session.id)
            await session.delete()

    serve(play)

    served = [record for record in caplog.records if not record.name.startswith(("mcp.client", "httpx"))]
    assert served
    assert ids[0] not in caplog.text
    assert not any(record.exc_info for record in served)


async def _is_empty(served: Any) -> bool:
    return await served.sessions() == 0
