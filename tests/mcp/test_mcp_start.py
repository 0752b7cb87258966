"""How episodes begin over MCP: `list_tasks`, `start_task`, and what is refused before."""

from typing import Any

import pytest

from ml_trainer_env.server.tuning.catalogue import SPLITS, count_tasks
from ml_trainer_env.server.tuning.named_tasks import TASKS


def test_the_tasks_are_listed(serve: Any) -> None:
    async def play(served: Any) -> None:
        async with served.raw() as session:
            rows = (await session.call("list_tasks"))["tasks"]
            assert [row["id"] for row in rows] == list(TASKS)
            assert rows[2]["budget_epochs"] == 60

    serve(play)


def test_the_tasks_of_a_split_are_listed_in_pages(serve: Any, t: Any) -> None:
    async def play(served: Any) -> None:
        async with served.raw() as session:
            first = await session.call("list_tasks", split="named", count=3)
            second = await session.call("list_tasks", split="named", start=3, count=3)
            past = await session.call("list_tasks", start=4)
            counts = {split: count_tasks(split) for split in SPLITS}

            assert [row["id"] for page in (first, second) for row in page["tasks"]] == list(TASKS)
            assert past["tasks"] == []
            assert all((page["split"], page["total"], page["splits"]) == ("named", 4, counts) for page in (first, past))
        async with served.official() as session:
            for options, told in (({"split": "tests"}, "split"), ({"count": 101}, "100"), ({"start": -1}, "start")):
                assert told in t.error(await session.call_tool("list_tasks", options))

    serve(play)


@pytest.mark.parametrize(("task", "rubric"), [("tuning/train/17", "v3"), ("tuning/train/100017", "accuracy")])
def test_a_task_of_the_family_is_begun_by_its_id_under_its_own_rubric(serve: Any, task: str, rubric: str) -> None:
    async def play(served: Any) -> None:
        async with served.raw() as session:
            begun = await session.call("start_task", task_id=task)
            assert (begun["task"]["id"], begun["rubric"]) == (task, rubric)

    serve(play)


def test_a_call_before_an_episode_says_how_to_begin_one(serve: Any, t: Any) -> None:
    async def play(served: Any) -> None:
        async with served.official() as session:
            for tool, arguments in (("run_epochs", {"num_epochs": 1}), ("plot_training_curves", {})):
                assert "call start_task first" in t.error(await session.call_tool(tool, arguments))

    serve(play)


def test_options_are_taken(serve: Any) -> None:
    async def play(served: Any) -> None:
        async with served.raw() as session:
            begun = await session.call("start_task")
            assert (begun["task"]["id"], begun["seed"], begun["rubric"]) == ("easy_mnist", 42, "v1")
            begun = await session.call("start_task", task_id="medium_fashion", seed=7, rubric="v2", episode_id="mine")
            assert (begun["task"]["id"], begun["seed"], begun["rubric"]) == ("medium_fashion", 7, "v2")
            assert begun["episode_id"] == "mine"

    serve(play)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"task_id": "nope"}, "the tasks are easy_mnist"),
        ({"seed": -1}, "seed"),
        ({"rubric": "v9"}, "rubric"),
        ({"rubric": "v3", "task_id": "permuted_mnist"}, "rubric v3"),
        ({"rubric": "v3", "task_id": "tuning/train/100017"}, "rubric v3"),
        ({"task_id": "tuning/train/x"}, "tuning/train/17"),
        ({"resume": True}, "resume needs the episode_id"),
        ({"resume": True, "episode_id": "never"}, "never"),
        ({"fork_from": "never@1"}, "never"),
        ({"tsak_id": "easy_mnist"}, "tsak_id"),
    ],
)
def test_an_option_there_is_not_is_refused_in_words(serve: Any, t: Any, options: dict[str, Any], told: str) -> None:
    async def play(served: Any) -> None:
        async with served.official() as session:
            assert told in t.error(await session.call_tool("start_task", options))

    serve(play)


def test_images_that_cannot_be_had_are_told(serve: Any, t: Any, tmp_path: Any) -> None:
    from ml_trainer_env.server.datasets import DataSettings

    (tmp_path / "mnist.npz").write_bytes(b"not an archive")

    async def play(served: Any) -> None:
        async with served.official() as session:
            assert "mnist.npz" in t.error(await session.call_tool("start_task", {}))

    serve(play, data=DataSettings(tmp_path, False))


def test_an_episode_is_resumed_in_another_session(serve: Any, t: Any) -> None:
    async def play(served: Any) -> None:
        async with served.raw() as first:
            await first.call("start_task", episode_id="e")
            await first.call("configure_training", optimizer="sgd")
            await first.call("run_epochs", num_epochs=3)

            async with served.official() as second:
                begun = t.reply(await second.call_tool("start_task", {"episode_id": "e", "resume": True}))
                assert begun["resumed"]
                assert begun["status"]["current_epoch"] == 3
                assert begun["configuration"]["optimizer"] == "sgd"
                assert begun["last_call"]["tool_name"] == "run_epochs"

                lost = (await first.messages("run_epochs", num_epochs=1))[-1]["result"]
                assert lost["isError"]
                assert "another session" in lost["content"][0]["text"]
                assert "start_task" in lost["content"][0]["text"]

    serve(play)


def test_an_episode_is_forked(serve: Any) -> None:
    async def play(served: Any) -> None:
        async with served.raw() as session:
            await session.call("start_task", episode_id="parent")
            await session.call("run_epochs", num_epochs=3)
            begun = await session.call("start_task", fork_from="parent@2", episode_id="child")
            assert begun["forked_from"] == "parent@2"
            assert begun["status"]["current_epoch"] == 2

    serve(play)


def test_two_sessions_play_two_episodes(serve: Any) -> None:
    async def play(served: Any) -> None:
        async with served.raw() as one, served.raw() as other:
            first = await one.call("start_task")
            second = await other.call("start_task", task_id="hard_cifar")
            assert first["episode_id"] != second["episode_id"]
            await one.call("run_epochs", num_epochs=4)
            assert (await other.call("get_training_status"))["current_epoch"] == 0
            assert (await other.call("get_training_status"))["max_epochs"] == 60
            assert (await one.call("get_training_status"))["current_epoch"] == 4

    serve(play)


def test_beginning_again_leaves_the_episode_before_where_it_stood(serve: Any) -> None:
    async def play(served: Any) -> None:
        async with served.raw() as session:
            await session.call("start_task", episode_id="e")
            await session.call("run_epochs", num_epochs=2)
            await session.call("start_task")
            assert (await session.call("get_training_status"))["current_epoch"] == 0
            assert (await served.figures())["ml_trainer_open_episodes"] == 1
            resumed = await session.call("start_task", episode_id="e", resume=True)
            assert resumed["status"]["current_epoch"] == 2

    serve(play)
