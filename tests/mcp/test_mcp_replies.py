"""Replies: structured content that keeps to its tool's schema, through a whole episode and every way to end it."""

import base64
import io
import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

import jsonschema
import matplotlib.image
import pytest

Call = Callable[..., Awaitable[dict[str, Any]]]


async def checked(session: Any) -> Call:
    """Calls tools, and checks each reply against its tool's schema and its text."""
    schemas = {tool.name: tool.outputSchema for tool in (await session.list_tools()).tools}
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)

    async def call(tool: str, /, **arguments: Any) -> dict[str, Any]:
        result = await session.call_tool(tool, arguments)
        assert not result.isError, result.content
        jsonschema.validate(result.structuredContent, schemas[tool])
        text = result.content[0].text
        assert json.loads(text) == result.structuredContent
        assert "NaN" not in text
        return result.structuredContent

    return call


def test_replies_of_the_task_against_the_clock_keep_to_their_schemas(serve: Any) -> None:
    async def play(served: Any) -> None:
        async with served.official() as session:
            call = await checked(session)
            begun = await call("start_task", task_id="permuted_mnist")
            assert begun["task"]["budget_seconds"] == begun["status"]["remaining_seconds"] == 60.0
            trained = await call("run_epochs", num_epochs=3)
            assert trained["remaining_seconds"] == 59.25
            end = await call("submit_model")
            assert set(end["details"]) == {"test_accuracy", "accuracy_score"}

    serve(play)


def test_every_reply_of_an_episode_keeps_to_its_schema(serve: Any) -> None:
    async def play(served: Any) -> None:
        async with served.official() as session:
            call = await checked(session)
            await call("list_tasks")
            await call("start_task", task_id="hard_cifar")
            await call("plot_training_curves")
            await call("list_checkpoints")
            await call("configure_training", optimizer="adamw", lr_schedule="cosine", augmentation=True)
            trained = await call("run_epochs", num_epochs=3)
            assert [row["epoch"] for row in trained["epochs"]] == [1, 2, 3]
            assert trained["reward_parts"]
            kept = await call("save_checkpoint", name="good")
            assert kept["checkpoints"][0]["name"] == "good"
            await call("adjust_learning_rate", new_lr=0.01)
            await call("toggle_augmentation", enabled=False)
            await call("restore_checkpoint", name="good")
            await call("get_training_status")
            await call("plot_training_curves")
            end = await call("submit_model")
            assert end["done"]
            assert end["score"] > 0
            assert end["test_accuracy"] == 0.5
            await call("get_training_status")
            await call("plot_training_curves")

    serve(play)


def test_figures_that_are_not_finite_are_null(serve: Any) -> None:
    async def play(served: Any) -> None:
        async with served.official() as session:
            call = await checked(session)
            await call("start_task", episode_id="e")
            trained = await call("run_epochs", num_epochs=3)
            assert trained["is_diverged"]
            assert trained["train_loss"] is None
            assert trained["epochs"][-1]["val_loss"] is None
            assert trained["loss_history_last_10"] == [2.0, None]
            await call("plot_training_curves")
            again = await call("start_task", episode_id="e", resume=True)
            assert again["last_call"]["reply"]["train_loss"] is None
            await call("configure_training", reinitialize=True, learning_rate=0.0001)
            refused = await session.call_tool("submit_model", {})
            assert refused.isError

    serve(play, losses=[2.0, math.nan])


@pytest.mark.slow
def test_a_run_that_is_submitted_by_itself_keeps_to_the_schema_of_the_last_call(serve: Any) -> None:
    async def play(served: Any) -> None:
        async with served.official() as session:
            call = await checked(session)
            await call("start_task", task_id="hard_cifar")
            for _ in range(3):
                await call("run_epochs", num_epochs=20)
            for _ in range(4):
                assert not (await call("list_checkpoints"))["done"]
            assert (await call("plot_training_curves"))["score"] > 0

    serve(play)


@pytest.mark.parametrize(
    "losses", [*(pytest.param(losses, marks=pytest.mark.slow) for losses in ([], [2.0, 1e30])), [2.0, math.nan, 1.0]]
)
def test_the_curves_are_a_picture(serve: Any, losses: list[float]) -> None:
    async def play(served: Any) -> None:
        async with served.official() as session:
            await session.call_tool("start_task", {})
            if losses:
                await session.call_tool("run_epochs", {"num_epochs": len(losses)})
            result = await session.call_tool("plot_training_curves", {})
            image = result.content[1]
            assert (image.type, image.mimeType) == ("image", "image/png")
            pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(image.data)), format="png")
            height, width, _ = pixels.shape
            assert height > 300
            assert width > 800
            assert pixels.std() > 0.05

    serve(play, losses=losses)


def test_a_refused_call_is_an_error_in_words_and_changes_nothing(serve: Any, t: Any) -> None:
    async def play(served: Any) -> None:
        async with served.official() as session:
            await session.call_tool("start_task", {})
            for tool, arguments, told in (
                ("run_epochs", {"num_epochs": 99}, "num_epochs"),
                ("run_epochs", {"epochs": 1}, "epochs"),
                ("submit_model", {}, "nothing to submit"),
                ("restore_checkpoint", {"name": "x"}, "no checkpoint"),
                ("no_such_tool", {}, "no_such_tool"),
            ):
                assert told in t.error(await session.call_tool(tool, arguments))
            assert t.reply(await session.call_tool("get_training_status", {}))["current_epoch"] == 0

    serve(play)
