"""Real episodes, played to their score by clients as people use them, on a real server."""

from typing import Any

import pytest

RECIPE = {"optimizer": "adam", "learning_rate": 0.001, "batch_size": 64}


def test_the_official_client_plays_to_a_score(live_server: str, official: Any, run: Any, t: Any) -> None:
    heard: list[tuple[float, float | None]] = []

    async def listen(progress: float, total: float | None, _: str | None) -> None:
        heard.append((progress, total))

    async def play() -> dict[str, Any]:
        async with official(f"{live_server}/mcp") as session:
            begun = t.reply(await session.call_tool("start_task", {"task_id": "easy_mnist", "seed": 11}))
            assert begun["task"]["budget_epochs"] == 100
            t.reply(await session.call_tool("configure_training", RECIPE))
            t.reply(await session.call_tool("run_epochs", {"num_epochs": 3}, progress_callback=listen))
            return t.reply(await session.call_tool("submit_model", {}))

    end = run(play())

    assert end["done"]
    assert 0 < end["score"] < 1
    assert {(1, 3), (2, 3), (3, 3)} <= set(heard)
    assert heard == sorted(set(heard))


@pytest.mark.slow
def test_the_fastmcp_client_plays_to_a_score(live_server: str, fast: Any, run: Any) -> None:
    heard: list[float] = []

    async def listen(progress: float, *_: Any) -> None:
        heard.append(progress)

    async def play() -> Any:
        async with fast(f"{live_server}/mcp") as client:
            await client.call_tool("start_task", {"task_id": "easy_mnist", "seed": 12})
            await client.call_tool("configure_training", RECIPE)
            trained = await client.call_tool("run_epochs", {"num_epochs": 3}, progress_handler=listen)
            assert trained.data.current_epoch == 3
            return (await client.call_tool("submit_model", {})).structured_content

    end = run(play())

    assert end["done"]
    assert 0 < end["score"] < 1
    assert {1, 2, 3} <= set(heard)


def test_a_run_over_mcp_is_the_same_as_over_openenv(live_server: str, fast: Any, run: Any) -> None:
    from ml_trainer_env import MLTrainerEnv

    async def play() -> Any:
        async with fast(f"{live_server}/mcp") as client:
            await client.call_tool("start_task", {"seed": 13})
            return (await client.call_tool("run_epochs", {"num_epochs": 1})).structured_content

    over_mcp = run(play())
    with MLTrainerEnv(base_url=live_server) as env:
        env.reset(seed=13)
        over_openenv = env.call_tool("run_epochs", num_epochs=1)

    assert over_mcp["weights_hash"] == over_openenv["weights_hash"]
    assert over_mcp["reward"] == over_openenv["reward"]


@pytest.mark.slow
def test_a_server_stops_though_clients_listen_and_train(start_server: Any, http_session: Any, run: Any) -> None:
    server = start_server()

    async def play() -> None:
        async with http_session(f"{server.url}/mcp") as session:
            await session.call("start_task", task_id="hard_cifar")
            call = session.request("run_epochs", {"num_epochs": 20}, progressToken="p")
            listening = session.http.stream("GET", session.url, headers=session.headers)
            calling = session.http.stream("POST", session.url, json=call, headers=session.headers)
            async with listening as listened, calling as called:
                assert listened.status_code == 200
                async for line in called.aiter_lines():
                    if "notifications/progress" in line:
                        server.process.terminate()

    run(play())

    assert server.process.wait(20) is not None
    assert '"ERROR"' not in server.log, server.log[-3000:]
