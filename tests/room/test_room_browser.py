"""The training room in a real browser: live, by several visitors, by keyboard, on a phone, in both colour schemes.

Needs Chromium on the PATH. A page that logs an error, such as what its Content-Security-Policy has blocked, or that
fails to load a part of it, fails its test.
"""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from visits import visit

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.client import ToolCallError

pytestmark = pytest.mark.slow  # they start a browser

MAX_WEIGHT_BYTES = 250_000
HOSTILE = "<img src=x onerror=window.pwned=1>"
LONG = "long-name-" * 12


@pytest.fixture(scope="module")
def url(start_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    results = tmp_path_factory.mktemp("outputs")
    write_results(results / "evals" / "a-run")
    variables = {"ML_TRAINER_WORKERS": "1", "ML_TRAINER_TORCH_THREADS": "1", "ML_TRAINER_RESULTS_DIR": str(results)}
    with start_server(**variables) as server:
        play(server.url, "finished", agent="careful", rate=0.002)
        play(server.url, LONG, agent=HOSTILE, rate=0.01)
        yield server.url


def write_results(folder: Path) -> None:
    """Write a run as `ml-trainer-play` does, with a report that would like to run a script."""
    curve = [{"epoch": epoch, "val_accuracy": 0.5 + epoch / 100, "train_loss": 1 / epoch} for epoch in range(1, 21)]
    episodes = [
        {"task_id": task, "agent": HOSTILE, "seed": 1, "score": 0.5, "episode_id": "finished", "curve": curve}
        for task in ("easy_mnist", LONG)
    ]
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"episodes": episodes, "problem": ""}))
    (folder / "report.html").write_text(f"<h1>A report</h1>{HOSTILE}<script>window.pwned = 1</script>")


def play(url: str, name: str, agent: str, rate: float) -> None:
    """Play a short episode with everything that a page draws."""
    with MLTrainerEnv(base_url=url) as env:
        env.reset(task_id="easy_mnist", episode_id=name, agent=agent)
        env.explain(f"a rate for {HOSTILE}")
        env.call_tool("configure_training", optimizer="adam", learning_rate=rate)
        env.call_tool("run_epochs", num_epochs=3)
        env.call_tool("save_checkpoint", name="first")
        env.call_tool("run_epochs", num_epochs=2)
        env.call_tool("restore_checkpoint", name="first")
        with pytest.raises(ToolCallError):
            env.call_tool("configure_training", optimizer=HOSTILE)
        env.call_tool("submit_model")


def test_a_curve_grows_while_its_call_runs(browser: Browser, url: str) -> None:
    with MLTrainerEnv(base_url=url) as env:
        env.reset(task_id="easy_mnist", episode_id="growing", agent="grower")
        trainer = threading.Thread(target=lambda: env.call_tool("run_epochs", num_epochs=20))
        with visit(browser, f"{url}/room/episode?name=growing") as seen:
            expect(seen.page.locator("#connection")).to_have_text("connected")
            trainer.start()
            expect(seen.page.locator("#where")).to_have_text(re.compile(r"epoch [1-9]\d* of \d+"))
            expect(seen.page.get_by_text("runs now")).to_be_visible()  # the call has not returned yet
            assert trainer.is_alive()
            trainer.join()
            expect(seen.page.locator("#where")).to_have_text("epoch 20 of 20")
            expect(seen.page.locator("#calls > li")).to_have_count(1)
            expect(seen.page.locator("#charts [role=img]").first).to_have_attribute(
                "aria-label", re.compile("accuracy over 20 epochs")
            )


def test_two_visitors_see_their_own_episodes_and_both_lists_are_live(browser: Browser, url: str) -> None:
    with (
        MLTrainerEnv(base_url=url) as one,
        MLTrainerEnv(base_url=url) as other,
        visit(browser, f"{url}/room") as first,
        visit(browser, f"{url}/room") as second,
    ):
        expect(first.page.locator("#nobody")).to_be_visible()
        one.reset(task_id="easy_mnist", episode_id="one", agent="agent one")
        other.reset(task_id="medium_fashion", episode_id="other", agent="agent other")
        for seen in (first, second):
            expect(seen.page.locator("#live a")).to_have_count(2)
        for key, names in (("task", ["agent one", "agent other"]), ("changed_at", ["agent other", "agent one"])):
            first.page.get_by_label("Sort by").select_option(key)
            expect(first.page.locator("#live .who")).to_have_text(names)
        first.page.get_by_role("link", name="agent one").click()
        second.page.get_by_role("link", name="agent other").click()
        expect(first.page.locator("h1")).to_have_text("easy_mnist")
        expect(second.page.locator("h1")).to_have_text("medium_fashion")
        one.call_tool("run_epochs", num_epochs=2)
        expect(first.page.locator("#where")).to_have_text("epoch 2 of 2")
        expect(second.page.locator("#where")).to_have_text("epoch 0 of 0")


def test_a_closed_session_leaves_the_list(browser: Browser, url: str) -> None:
    with visit(browser, f"{url}/room") as seen:
        with MLTrainerEnv(base_url=url) as env:
            env.reset(task_id="easy_mnist", agent="leaver")
            seen.page.get_by_label("Find").fill("leav")
            expect(seen.page.locator("#live a")).to_have_count(1)
            seen.page.get_by_label("Find").fill("nothing of the kind")
            expect(seen.page.locator("#no-match")).to_be_visible()
            seen.page.get_by_label("Find").fill("")
        expect(seen.page.locator("#nobody")).to_be_visible()


PATHS = [
    "/room",
    "/room/play",
    f"/room/episode?name={LONG}",
    f"/room/compare?name={LONG}&name=finished",
    "/room/results",
    "/room/results/evals/a-run",
    "/room/episode?name=nobody",
]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_wider_than_the_screen(browser: Browser, url: str, path: str, width: int) -> None:
    scheme = "dark" if width == 390 else "light"
    options: dict[str, Any] = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with visit(browser, url + path, missing="nobody" in path, **options) as seen:
        seen.page.wait_for_load_state("load")
        if "nobody" not in path and ("name" in path or "a-run" in path):
            expect(seen.page.locator("canvas").first).to_be_visible()
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def test_lists_and_labels_are_legible_on_a_phone(browser: Browser, url: str) -> None:
    for name, options in (("waits-for-somebody", {"task_id": "easy_mnist"}), (LONG[:-1], {"fork_from": f"{LONG}@4"})):
        with MLTrainerEnv(base_url=url) as env:
            env.reset(episode_id=name, agent="leaver", **options)
            env.call_tool("run_epochs", num_epochs=1)
    narrow: dict[str, Any] = {"viewport": {"width": 390, "height": 800}}
    for path in ("/room", "/room/play", "/room/results", "/room/results/evals/a-run"):
        with visit(browser, url + path, **narrow) as seen:
            cells = seen.page.locator(".list td[data-label]")
            expect(cells.first).to_be_visible()
            assert min(cells.evaluate_all("all => all.map((one) => one.clientWidth)")) > 200
    with visit(browser, f"{url}/room/episode?name={LONG}", **narrow) as seen:
        expect(seen.page.locator("#tree .fork")).not_to_have_count(0)
        ends = seen.page.locator("#tree text").evaluate_all(
            """all => all.map((one) => [one.getBBox(), one.ownerSVGElement.clientWidth])
              .flatMap(([box, width]) => [box.x, width - box.x - box.width])"""
        )
        assert min(ends) >= 0


def test_what_agents_write_is_text(browser: Browser, url: str) -> None:
    with visit(browser, f"{url}/room/episode?name={LONG}") as seen:
        expect(seen.page.locator("#calls > li")).to_have_count(7)
        expect(seen.page.locator(".refused")).to_contain_text(HOSTILE)
        expect(seen.page.locator(".reason")).to_have_text(f"a rate for {HOSTILE}")
        for details in seen.page.locator("#calls details").all():
            details.locator("summary").click()
        expect(seen.page.locator("#calls pre")).to_have_count(7)
        assert seen.page.locator("img").count() == 0
        assert HOSTILE in seen.page.title()


@pytest.mark.parametrize("path", ["/room", "/room/episode?name=finished", "/room/compare?name=finished"])
def test_a_page_weighs_little(browser: Browser, url: str, path: str) -> None:
    with visit(browser, url + path) as seen:
        seen.page.wait_for_load_state("load")
        if "name" in path:
            expect(seen.page.locator("canvas").first).to_be_visible()
        assert 10_000 < seen.weight() < MAX_WEIGHT_BYTES


def test_the_keyboard_is_enough(browser: Browser, url: str) -> None:
    with visit(browser, f"{url}/room/episode?name=finished") as seen:
        page = seen.page
        expect(page.locator("#where")).to_have_text("epoch 5 of 5")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.get_by_label("Show up to epoch").focus()
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#where")).to_have_text("epoch 4 of 5")
        expect(page.locator("#calls .later")).to_have_count(3)
        expect(page.locator("#end-panel")).to_be_hidden()
        page.keyboard.press("End")
        expect(page.locator("#end-panel")).to_be_visible()
        page.locator("#marks button").first.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#calls .chosen")).to_have_count(1)
        expect(page.locator("#calls .chosen pre")).to_contain_text('"arguments"')


def test_every_control_has_a_name(browser: Browser, url: str) -> None:
    nameless = """() => [...document.querySelectorAll("a, button, input, select, [role=img], [tabindex='0']")]
      .filter((one) => one.checkVisibility() && !(one.labels?.length || one.ariaLabel || one.textContent.trim()
        || one.getAttribute("aria-labelledby"))).map((one) => one.outerHTML)"""
    for path in PATHS[:-1]:
        with visit(browser, url + path) as seen:
            seen.page.wait_for_timeout(500)
            assert seen.page.evaluate(nameless) == []


def test_branches_are_drawn_where_weights_change_hands(browser: Browser, url: str) -> None:
    with visit(browser, f"{url}/room/episode?name=finished") as seen:
        tree = seen.page.locator("#tree [role=img]")
        expect(tree).to_have_attribute(
            "aria-label", "Branch 1, start: 5 epochs, saved first at 3. Branch 2, restored first: 0 epochs."
        )
        seen.page.get_by_label("Show up to epoch").fill("2")
        expect(tree).to_have_attribute("aria-label", "Branch 1, start: 2 epochs.")


def test_forks_are_drawn_where_they_leave_their_parent(browser: Browser, url: str) -> None:
    for place in ("@first", "@4"):
        with MLTrainerEnv(base_url=url) as env:
            env.reset(fork_from=f"finished{place}", episode_id=f"fork{place[1:]}", agent="forker")
    with visit(browser, f"{url}/room/episode?name=finished") as seen:
        tree = seen.page.locator("#tree [role=img]")
        expect(tree).to_have_attribute(
            "aria-label",
            re.compile("Fork forkfirst, from branch 1 after 3 epochs. Fork fork4, from branch 1 after 4 epochs."),
        )
        expect(seen.page.locator("#tree .fork")).to_have_count(2)
        seen.page.get_by_label("Show up to epoch").fill("3")
        expect(seen.page.locator("#tree .fork")).to_have_count(1)


def test_values_of_a_chart_are_read_by_pointer_and_by_keyboard(browser: Browser, url: str) -> None:
    with visit(browser, f"{url}/room/compare?name=finished&name={LONG}") as seen:
        chart, read = seen.page.locator("#curves [role=img]"), seen.page.locator("#curves .read")
        expect(read).to_have_text(re.compile("^epoch 5: "))
        chart.focus()
        seen.page.keyboard.press("Home")
        expect(read).to_have_text(re.compile(r"^epoch 1: careful 0\.\d+, "))
        seen.page.keyboard.press("ArrowRight")
        expect(read).to_have_text(re.compile("^epoch 2: "))
        seen.page.locator("#curves .u-over").hover()
        expect(read).to_have_text(re.compile("^epoch [23]: "))


def test_a_replay_is_a_film_that_ends(browser: Browser, url: str) -> None:
    with visit(browser, f"{url}/room/episode?name=finished") as seen:
        seen.page.get_by_role("button", name="Replay").click()
        expect(seen.page.get_by_role("button", name="Stop")).to_be_visible()
        expect(seen.page.get_by_role("button", name="Replay")).to_be_visible()
        expect(seen.page.locator("#where")).to_have_text("epoch 5 of 5")


def test_whoever_wants_less_motion_gets_none_but_a_slow_film(browser: Browser, url: str) -> None:
    moving = """() => [...document.querySelectorAll("*")]
      .filter((one) => parseFloat(getComputedStyle(one).transitionDuration)).length"""
    counts = {}
    for wish in ("no-preference", "reduce"):
        with visit(browser, f"{url}/room/episode?name=finished", reduced_motion=wish) as seen:
            expect(seen.page.locator("#where")).to_have_text("epoch 5 of 5")
            counts[wish] = seen.page.evaluate(moving)
    assert counts["no-preference"] > 0
    assert counts["reduce"] == 0


def test_a_picture_and_a_script_come_out(browser: Browser, url: str) -> None:
    with visit(browser, f"{url}/room/episode?name=finished") as seen:
        expect(seen.page.locator("#where")).to_have_text("epoch 5 of 5")
        with seen.page.expect_download() as picture:
            seen.page.get_by_role("button", name="PNG").click()
        assert picture.value.path().read_bytes().startswith(b"\x89PNG")
        seen.page.get_by_role("button", name="Copy as Python").click()
        expect(seen.page.locator("#script")).to_contain_text(f'base_url="{url}"')
        expect(seen.page.locator("#script")).to_contain_text("env.reset(task_id='easy_mnist'")


def test_a_visitor_plays_by_forms_sees_what_is_refused_and_goes_on_later(browser: Browser, url: str) -> None:
    with visit(browser, f"{url}/room/play") as seen:
        page = seen.page
        page.locator("[name=task_id]").fill("no_such_task")
        page.get_by_role("button", name="Begin").click()
        expect(page.locator("#told")).to_contain_text("unknown task 'no_such_task'")
        page.locator("[name=task_id]").fill("easy_mnist")
        page.locator("[name=agent]").fill("visitor")
        page.get_by_role("button", name="Begin").click()
        expect(page.locator("#tools details")).to_have_count(9)
        call(page, "configure training", learning_rate="11")
        expect(page.locator("#told")).to_contain_text("learning_rate must be")
        call(page, "run epochs", num_epochs="2")
        expect(page.locator("#told")).to_contain_text("Ran 2 epochs")
        expect(page.locator("#where")).to_have_text("epoch 2 of 2")
        page.reload()
        expect(page.locator("#tools details")).to_have_count(9)
        expect(page.locator("#where")).to_have_text("epoch 2 of 2")
        page.get_by_label("Show up to epoch").focus()
        page.keyboard.press("ArrowLeft")
        page.get_by_role("link", name="Fork here").click()
        expect(page.locator("[name=fork_from]")).to_have_value(re.compile(r".+@1"))
        for inherited in ("task_id", "seed", "rubric"):
            expect(page.locator(f"[name={inherited}]")).to_be_hidden()
        page.get_by_role("button", name="Begin").click()
        expect(page.locator("#where")).to_have_text("epoch 1 of 1")
        expect(page.locator("#reward-panel")).to_be_hidden()  # its parent was paid, not it
        call(page, "submit model")
        expect(page.locator("#told")).to_contain_text("The episode is over")
        expect(page.locator("#end-panel")).to_be_visible()
        expect(page.locator("#tools details")).to_have_count(0)


def test_two_visitors_play_at_once_each_an_episode_of_their_own(browser: Browser, url: str) -> None:
    with visit(browser, f"{url}/room/play") as one, visit(browser, f"{url}/room/play") as other:
        for seen, name in ((one, "visitor one"), (other, "visitor two")):
            seen.page.locator("[name=agent]").fill(name)
            seen.page.get_by_role("button", name="Begin").click()
            expect(seen.page.locator("#tools details")).to_have_count(9)
            expect(seen.page.get_by_text(name)).to_be_visible()
        call(one.page, "run epochs", num_epochs="2")
        expect(one.page.locator("#where")).to_have_text("epoch 2 of 2")
        expect(other.page.locator("#where")).to_have_text("epoch 0 of 0")
        call(other.page, "submit model")
        expect(other.page.locator("#told")).to_contain_text("submit")
        call(one.page, "run epochs", num_epochs="1")
        expect(one.page.locator("#where")).to_have_text("epoch 3 of 3")


def test_a_visitor_chooses_a_task_by_split_and_number_and_forms_begin_with_valid_values(
    browser: Browser, url: str
) -> None:
    with visit(browser, f"{url}/room/play") as seen:
        page = seen.page
        page.locator("[name=game]").select_option("tuning")
        page.locator("[name=split]").select_option("train")
        expect(page.locator("[name=task_id]")).to_be_hidden()
        page.locator("[name=index]").fill("3")
        page.get_by_role("button", name="Begin").click()
        expect(page.locator("h1")).to_have_text("tuning/train/3")
        expect(page.locator("#about")).to_contain_text("The budget is 12 epochs")
        expect(page.locator("#tools details")).to_have_count(9)
        call(page, "save checkpoint")
        expect(page.locator("#told")).to_contain_text("Saved checkpoint checkpoint-1")
        invalid = []
        for tool in page.locator("#tools details").all():
            name = tool.locator("summary").inner_text()
            if tool.get_attribute("open") is None:
                tool.locator("summary").click()
            expect(tool.locator("button")).to_be_visible()
            page.wait_for_function("one => one.open", arg=tool.element_handle())
            if not tool.locator("form").evaluate("one => one.checkValidity()"):
                invalid.append(name)
        assert invalid == []
        expect(page.locator("#configure_training-learning_rate")).to_have_attribute(
            "placeholder", re.compile(r"0\.\d+")
        )


def test_an_episode_that_nobody_plays_is_gone_on_with_by_a_click(browser: Browser, url: str) -> None:
    with MLTrainerEnv(base_url=url) as env:
        env.reset(task_id="easy_mnist", episode_id="left alone", agent="leaver")
        env.call_tool("run_epochs", num_epochs=1)
    with visit(browser, f"{url}/room/play") as seen:
        seen.page.get_by_role("link", name="left alone").click()
        expect(seen.page.locator("#tools details")).to_have_count(9)
        expect(seen.page.locator("#where")).to_have_text("epoch 1 of 1")


def call(page: Page, tool: str, **values: str) -> None:
    """Fill in the form of a tool and send it, past the browser's own check of bounds."""
    form = page.locator("#tools details", has=page.locator("summary", has_text=tool))
    if form.get_attribute("open") is None:
        form.locator("summary").click()
    for name, value in values.items():
        form.locator(f"[name={name}]").fill(value)
    form.locator("form").evaluate("one => { one.noValidate = true; }")
    form.locator("button").click()


def test_compared_episodes_lie_over_each_other_and_differences_are_marked(browser: Browser, url: str) -> None:
    with visit(browser, f"{url}/room") as seen:
        for name in ("finished", LONG):
            seen.page.get_by_label(f"Compare {name}").check()
        seen.page.get_by_role("button", name="Compare the ticked").click()
        expect(seen.page.locator("#told")).to_have_text("2 lines, 2 episodes")
        expect(seen.page.locator("tr.differs th", has_text="learning rate")).to_be_visible()
        expect(seen.page.locator("tr:not(.differs) th", has_text="optimizer")).to_be_visible()
        seen.page.locator("#axis").select_option("seconds")
        expect(seen.page.locator("#curves [role=img]")).to_have_attribute("aria-label", re.compile("seconds"))


def test_the_mean_of_an_agent_has_a_band(browser: Browser, url: str) -> None:
    for name, rate in (("slow", 0.0005), ("quick", 0.005)):
        play(url, name, agent="twice", rate=rate)
    with visit(browser, f"{url}/room/compare?name=slow&name=quick&name=finished") as seen:
        expect(seen.page.locator("#told")).to_have_text("3 lines, 3 episodes")
        seen.page.locator("#lines").select_option("agents")
        expect(seen.page.locator("#told")).to_have_text("2 lines, 3 episodes; bands: one standard deviation")
        expect(seen.page.locator("#curves [role=img]")).to_have_attribute(
            "aria-label", re.compile(r"twice \(2\) from .*; careful \(1\) from ")
        )
        seen.page.locator("#axis").select_option("seconds")
        expect(seen.page.locator("#told")).to_have_text("2 lines, 3 episodes; bands: one standard deviation")
        expect(seen.page.locator("#curves [role=img]")).to_have_attribute(
            "aria-label", re.compile(r"seconds: twice \(2\) from 0\.\d+ to 0\.\d+; careful")
        )


def test_results_lead_to_curves_to_episodes_and_to_a_report_that_runs_nothing(browser: Browser, url: str) -> None:
    with visit(browser, f"{url}/room") as seen:
        seen.page.get_by_role("link", name="Results").click()
        seen.page.get_by_role("link", name="a-run").click()
        curves = seen.page.locator("#curves [role=img]")
        expect(curves).to_have_attribute(
            "aria-label", re.compile("val accuracy over 20 epochs: 1. easy_mnist from 0.51")
        )
        seen.page.get_by_label("Figure").select_option("train_loss")
        expect(curves).to_have_attribute("aria-label", re.compile("train loss over 20 epochs"))
        seen.page.get_by_role("link", name="finished").first.click()
        expect(seen.page.locator("#where")).to_have_text("epoch 5 of 5")
    with visit(browser, f"{url}/room/results/evals/a-run/report", missing=True) as seen:
        expect(seen.page.locator("h1")).to_have_text("A report")
        assert len([text for text in seen.errors if "sandbox" in text or "Content Security Policy" in text]) >= 1


def test_the_first_page_is_the_room(browser: Browser, url: str) -> None:
    for path in ("/", "/web"):
        with visit(browser, url + path) as seen:
            expect(seen.page.locator("#connection")).to_have_text("connected")
            seen.page.get_by_role("link", name="finished").click()
            expect(seen.page.locator("#where")).to_have_text("epoch 5 of 5")


def test_the_journal_is_filtered_and_times_are_the_readers(browser: Browser, url: str) -> None:
    with visit(browser, f"{url}/room", timezone_id="Asia/Tokyo", locale="en-GB") as seen:
        seen.page.locator("[name=agent]").fill("careful")
        seen.page.get_by_role("button", name="Show").click()
        expect(seen.page.locator("tbody tr")).to_have_count(1)
        shown = seen.page.locator("time").inner_text()
        moment = seen.page.evaluate(
            """() => new Intl.DateTimeFormat("en-GB", {dateStyle: "medium", timeStyle: "short", timeZone: "Asia/Tokyo"})
              .format(Number(document.querySelector("time").dataset.at) * 1000)"""
        )
        assert shown == moment
        seen.page.locator("[name=agent]").fill("nobody of this name")
        seen.page.get_by_role("button", name="Show").click()
        expect(seen.page.get_by_text("No episode matches")).to_be_visible()
