"""The picture of a fleet in a real browser: losses, norms and times of ranks, events, and after the end the truth."""

import re
from collections.abc import Iterator

import pytest
from fleet_play import small_model
from playwright.sync_api import Browser, expect
from served_here import served_here
from visits import visit

from ml_trainer_env.fleet_client import FleetEnv

pytestmark = pytest.mark.slow  # they start a browser

MAX_WEIGHT_BYTES = 250_000
MAPS = [
    "loss, nats a character",
    "gradient norm",
    "seconds of computing",
    "seconds of waiting for data",
    "seconds of waiting for other ranks and the reduction",
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with small_model(), served_here(tmp_path_factory.mktemp("state")) as (address, _):
        yield f"http://{address}"


@pytest.fixture(scope="module")
def straggler(url: str) -> str:
    """The address of an episode that has ended."""
    with FleetEnv(base_url=f"{url}/fleet") as env:
        env.reset(task_id="fleet_straggler", episode_id="straggler")
        for _ in range(2):
            env.call_tool("run_steps", num_steps=50)
        env.call_tool("submit_model")
    return f"{url}/room/episode?name=straggler"


def test_every_rank_and_step_has_loss_norm_and_times(browser: Browser, straggler: str) -> None:
    with visit(browser, straggler) as seen:
        expect(seen.page.locator(".heat canvas")).to_have_count(5)
        for title in MAPS:
            expect(seen.page.get_by_role("img", name=re.compile(f"^{title}, 100 steps"))).to_be_visible()
        slow = seen.page.get_by_role("img", name=re.compile("^seconds of computing")).get_attribute("aria-label") or ""
        assert re.search(r"The greatest is [23]\.\d+, rank \d, step \d+", slow)


def test_a_cell_is_read_in_all_maps_by_pointer_and_by_keyboard(browser: Browser, straggler: str) -> None:
    with visit(browser, straggler) as seen:
        read, canvas = seen.page.locator("#heat .read"), seen.page.locator(".heat canvas").nth(2)
        canvas.scroll_into_view_if_needed()
        canvas.hover(position={"x": 62, "y": 40})
        expect(read).to_have_text(re.compile(r"^step 1, [\d.]+ s, rank 2 on node 2: loss, nats a character [\d.]+; "))
        for title in MAPS:
            expect(read).to_contain_text(title)
        canvas.focus()
        seen.page.keyboard.press("ArrowRight")
        seen.page.keyboard.press("ArrowDown")
        expect(read).to_have_text(re.compile("^step 2, .*rank 3 on node 3"))
        seen.page.keyboard.press("End")
        expect(read).to_have_text(re.compile("^step 100, "))


def test_events_come_with_the_film_and_the_truth_with_the_end(browser: Browser, straggler: str) -> None:
    with visit(browser, straggler) as seen:
        truth, events = seen.page.locator("#heat p.quiet"), seen.page.locator(".events li")
        expect(truth).to_have_text(re.compile(r"^Framed, as the end told: straggler: rank \d steps \d+ to 100\."))
        expect(events).to_have_count(4)
        expect(events.first).to_have_text(re.compile("after step 25: saved checkpoint step-25"))
        seen.page.get_by_label("Show up to step").fill("30")
        expect(events).to_have_count(1)
        expect(truth).to_be_hidden()


def test_the_picture_grows_while_a_call_runs_and_tells_no_truth(browser: Browser, url: str) -> None:
    with FleetEnv(base_url=f"{url}/fleet") as env:
        env.reset(task_id="fleet_straggler", episode_id="growing")
        with visit(browser, f"{url}/room/episode?name=growing") as seen:
            expect(seen.page.locator("#connection")).to_have_text("connected")
            env.call_tool("run_steps", num_steps=30)
            expect(seen.page.get_by_role("img", name=re.compile("^seconds of computing, 30 steps"))).to_be_visible()
            expect(seen.page.locator(".events li")).to_have_count(1)
            expect(seen.page.locator("#heat p.quiet")).to_be_hidden()


def test_a_whole_run_with_many_looks_weighs_little(browser: Browser, url: str) -> None:
    with FleetEnv(base_url=f"{url}/fleet") as env:
        env.reset(task_id="fleet_nothing_wrong", episode_id="long")
        for _ in range(60):
            env.call_tool("query_metrics", metric="grad_norm", by="rank")
        for _ in range(8):
            if env.call_tool("run_steps", num_steps=50)["done"]:
                break
    with visit(browser, f"{url}/room/episode?name=long") as seen:
        expect(seen.page.locator(".heat canvas").last).to_be_visible()
        assert 10_000 < seen.weight() < MAX_WEIGHT_BYTES


def test_the_picture_fits_a_phone(browser: Browser, straggler: str) -> None:
    with visit(browser, straggler, viewport={"width": 390, "height": 800}, color_scheme="dark") as seen:
        expect(seen.page.locator(".heat canvas").last).to_be_visible()
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
