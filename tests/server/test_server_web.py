"""The page at /web: a real server with the page switched on, and what it draws and offers."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest

from ml_trainer_env.server.tuning.tools import TOOLS


@pytest.fixture(scope="module")
def page(start_server: Any) -> Iterator[httpx.Client]:
    with (
        start_server(ENABLE_WEB_INTERFACE="true") as server,
        httpx.Client(base_url=server.url, timeout=120.0, trust_env=False, follow_redirects=True) as http,
    ):
        yield http


@pytest.fixture(scope="module")
def components(page: httpx.Client) -> list[dict[str, Any]]:
    return page.get("/web/config").json()["components"]


def step(page: httpx.Client, tool_name: str, **arguments: Any) -> dict[str, Any]:
    action = {"type": "call_tool", "tool_name": tool_name, "arguments": arguments}
    return page.post("/web/step", json={"action": action}).json()


@pytest.mark.parametrize("path", ["/", "/web", "/web/"])
def test_the_page_loads(page: httpx.Client, path: str) -> None:
    response = page.get(path)

    assert response.status_code == 200
    assert "text/html" in response.headers["content-type"]
    assert "ml_trainer_env" in response.text


def test_every_tool_is_offered_by_name(components: list[dict[str, Any]]) -> None:
    choices = [choice[1] for part in components if part["type"] == "radio" for choice in part["props"]["choices"]]

    assert choices == list(TOOLS.names)


@pytest.mark.parametrize(
    ("parameter", "choices"),
    [
        ("optimizer", ["sgd", "adam", "adamw"]),
        ("batch_size", [32, 64, 128, 256]),
        ("lr_schedule", ["constant", "step", "cosine", "warmup_cosine"]),
    ],
)
def test_a_parameter_with_choices_is_a_list_to_choose_from(
    components: list[dict[str, Any]], parameter: str, choices: list[Any]
) -> None:
    (field,) = fields_of(components, parameter)

    assert field["type"] == "dropdown"
    assert [value for _, value in field["props"]["choices"]] == choices


@pytest.mark.parametrize(
    ("parameter", "high"),
    [
        ("num_epochs", "20"),
        ("learning_rate", "10"),
        ("new_lr", "10"),
        ("weight_decay", "1"),
        ("dropout", "0.5"),
        ("warmup_epochs", "20"),
        ("augmentation_strength", "1"),
        ("strength", "1"),
    ],
)
def test_the_form_of_a_number_shows_its_bounds(components: list[dict[str, Any]], parameter: str, high: str) -> None:
    (field,) = fields_of(components, parameter)

    props = field["props"]
    shown = " ".join(str(props.get(name)) for name in ("label", "info", "placeholder", "maximum"))
    assert high in re.findall(r"\d+(?:\.\d+)?", shown), shown


def fields_of(components: list[dict[str, Any]], parameter: str) -> list[dict[str, Any]]:
    return [part for part in components if str(part["props"].get("label", "")).startswith(f"{parameter} (")]


def test_reset_and_step_return_reward_and_done(page: httpx.Client) -> None:
    begun = page.post("/web/reset").json()
    assert (begun["reward"], begun["done"]) == (0.0, False)
    assert begun["observation"]["task"]["id"] == "easy_mnist"

    trained = step(page, "run_epochs", num_epochs=2)
    assert trained["reward"] > 0
    assert trained["done"] is False

    refused = step(page, "run_epochs", num_epochs=0)
    assert (refused["reward"], refused["done"]) == (0.0, False)
    assert "num_epochs" in refused["observation"]["error"]["message"]

    submitted = step(page, "submit_model")
    assert submitted["done"] is True
    assert submitted["reward"] >= submitted["observation"]["result"]["data"]["score"]
    assert page.get("/web/state").json()["step_count"] == 3


def test_a_task_may_be_chosen_at_reset(page: httpx.Client) -> None:
    assert page.post("/web/reset", json={"task_id": "medium_fashion"}).json()["observation"]["task"]["id"] == (
        "medium_fashion"
    )
    refused = page.post("/web/reset", json={"task_id": "no_such_task"})
    assert refused.status_code == 422
    assert "easy_mnist, medium_fashion, hard_cifar" in refused.text


def press(page: httpx.Client, visitor: str, name: str, *data: Any) -> list[Any]:
    """Presses a button of the page as a visitor's browser does, and returns what the page then shows."""
    call = f"/web/gradio_api/call/{name}"
    begun = page.post(call, json={"data": [[], *data], "session_hash": visitor})
    assert begun.status_code == 200, begun.text
    events = page.get(f"{call}/{begun.json()['event_id']}").text
    assert "event: complete" in events, events
    return json.loads(events.rsplit("data: ", 1)[1])


def form_of(page: httpx.Client, **filled: Any) -> list[Any]:
    """What the page sends of its forms: every field as it stands untouched, save those filled in."""
    config = page.get("/web/config").json()
    parts = {part["id"]: part["props"] for part in config["components"]}
    (sent,) = [event["inputs"] for event in config["dependencies"] if event["api_name"] == "step_fn"]
    fields = [parts[number] for number in sent[2:]]
    return [filled.get(str(props.get("label")).split(" ")[0], props.get("value")) for props in fields]


def test_the_buttons_of_the_page_train_and_draw_the_curves(page: httpx.Client) -> None:
    press(page, "a visitor", "reset_env")

    press(page, "a visitor", "step_fn", "run_epochs", *form_of(page, num_epochs=1))
    shown = press(page, "a visitor", "step_fn", "run_epochs", *form_of(page, num_epochs=1))

    assert "<svg" in json.dumps(shown)
    assert page.get("/web/state").json()["status"]["current_epoch"] == 2


def test_a_form_leaves_alone_what_was_not_filled_in(page: httpx.Client) -> None:
    press(page, "another visitor", "reset_env")
    step(page, "configure_training", augmentation=True, dropout=0.2)

    press(page, "another visitor", "step_fn", "configure_training", *form_of(page, learning_rate="0.002"))

    configuration = page.get("/web/state").json()["configuration"]
    assert configuration["learning_rate"] == 0.002
    assert configuration["dropout"] == 0.2
    assert configuration["augmentation"] is True


class TestCurves:
    """What render_web draws."""

    def drawn(self, session: Any) -> ET.Element:
        return ET.fromstring(session.environment.render_web({}))

    def test_nothing_is_drawn_before_a_reset(self, new_session: Any) -> None:
        assert new_session().environment.render_web({}) is None
        assert new_session().environment.web_actions({}) == []

    def test_loss_and_accuracy_are_drawn_as_inline_svg(self, new_session: Any, run: Any) -> None:
        async def play() -> ET.Element:
            session = new_session()
            await session.environment.reset_async()
            await session.reply("run_epochs", num_epochs=5)
            return self.drawn(session)

        page = run(play())

        charts = page.findall(".//svg")
        assert [chart.get("aria-label") for chart in charts] == ["loss by epoch", "accuracy by epoch"]
        for chart in charts:
            curves = [path for path in chart.findall("path") if path.get("stroke") != "currentColor"]
            assert [len(re.findall("[ML]", path.get("d", ""))) for path in curves] == [5, 5]
        text = ET.tostring(page, encoding="unicode")
        assert "script" not in text
        assert "http" not in text

    def test_the_empty_episode_has_axes_and_no_curves(self, new_session: Any, run: Any) -> None:
        async def play() -> ET.Element:
            session = new_session()
            await session.environment.reset_async()
            return self.drawn(session)

        charts = run(play()).findall(".//svg")

        assert [len(chart.findall("path")) for chart in charts] == [1, 1]

    @pytest.mark.parametrize("loss", [math.nan, math.inf, 1e30])
    def test_a_loss_that_is_not_finite_is_a_gap_and_not_a_broken_page(
        self, new_session: Any, run: Any, loss: float
    ) -> None:
        async def play() -> ET.Element:
            session = new_session(losses=[1.0, loss])
            await session.environment.reset_async()
            await session.reply("run_epochs", num_epochs=5)
            return self.drawn(session)

        for path in run(play()).findall(".//path"):
            assert not re.search("nan|inf", path.get("d", ""))

    def test_the_seconds_left_are_shown_where_they_count(self, new_session: Any, run: Any) -> None:
        for task, told in (("permuted_mnist", True), ("easy_mnist", False)):
            session = new_session()
            run(session.environment.reset_async(task_id=task))

            page = session.environment.render_web({})

            assert ("60.0 s of training left" in page) is told

    def test_the_score_is_shown_in_the_end(self, new_session: Any, run: Any) -> None:
        async def play() -> tuple[float, str]:
            session = new_session()
            await session.environment.reset_async()
            await session.reply("run_epochs", num_epochs=1)
            score = (await session.reply("submit_model"))["score"]
            return score, "".join(self.drawn(session).itertext())

        score, text = run(play())

        assert f"score {score}" in text


async def untouched(session: Any) -> None:
    """An episode just begun."""


async def trained(session: Any) -> None:
    """An episode with epochs behind it."""
    await session.reply("run_epochs", num_epochs=3)


async def diverged(session: Any) -> None:
    """A run that diverged."""
    session.executor.losses = [1e9]
    await session.reply("run_epochs", num_epochs=1)


async def diverged_at_the_end(session: Any) -> None:
    """A run that diverged with its last epoch."""
    session.executor.losses = [1.0] * 99 + [1e9]
    await spent(session)


async def diverged_at_the_lowest_rate(session: Any) -> None:
    """A run that diverged at a rate that can hardly be lowered."""
    await session.reply("configure_training", learning_rate=5e-324)
    await diverged(session)


async def at_the_lowest_rate(session: Any) -> None:
    """A run at a rate that can hardly be lowered."""
    await session.reply("configure_training", learning_rate=5e-324)


async def spent(session: Any) -> None:
    """An episode at the end of its budget."""
    for _ in range(5):
        await session.reply("run_epochs", num_epochs=20)


@pytest.mark.parametrize(
    "lead_up",
    [untouched, trained, diverged, diverged_at_the_end, spent, at_the_lowest_rate, diverged_at_the_lowest_rate],
)
def test_every_one_click_call_is_accepted(new_session: Any, run: Any, lead_up: Any) -> None:
    async def begin() -> Any:
        session = new_session()
        await session.environment.reset_async()
        await lead_up(session)
        return session

    async def play() -> None:
        offered = (await begin()).environment.web_actions({})
        assert offered
        assert len({label for label, _ in offered}) == len(offered)
        for index, (label, action) in enumerate(offered):
            session = await begin()
            assert session.environment.web_actions({})[index] == (label, action)
            answer = await session.call(action["tool_name"], **action["arguments"])
            assert answer["error"] is None, f"{label}: {answer['error']}"

    run(play())


def test_nothing_is_offered_after_the_end(new_session: Any, run: Any) -> None:
    async def play() -> list[Any]:
        session = new_session()
        await session.environment.reset_async()
        await trained(session)
        await session.reply("submit_model")
        return session.environment.web_actions({})

    assert run(play()) == []
