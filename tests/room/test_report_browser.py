"""Reports of runs in a real browser, as the room sends them: charts tell their values where one points, scriptless."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from served_here import served_here
from visits import visit

from ml_trainer_env.baselines.charts import Interval, Line, Mark, heat_chart, interval_chart, line_chart
from ml_trainer_env.baselines.page import page

pytestmark = pytest.mark.slow  # they start a browser

HOSTILE = "<img src=x onerror=window.pwned=1>"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a report."""
    folder = tmp_path_factory.mktemp("outputs")
    write_report(folder / "evals" / "a-run")
    with served_here(tmp_path_factory.mktemp("state"), RESULTS_DIR=str(folder)) as (address, _):
        yield f"http://{address}/room/results/evals/a-run/report"


def write_report(folder: Path) -> None:
    run = {"run": HOSTILE, "agent": HOSTILE, "started": "", "seconds": 1.0, "problem": "", "mean_score": None}
    lines = [
        Line("validation", [(epoch, 1 / epoch) for epoch in range(1, 31)]),
        Line(HOSTILE, [(epoch, None if epoch == 4 else 2 / epoch) for epoch in range(1, 31)]),
    ]
    charts = [
        line_chart("Loss by epoch", "epoch", lines, marks=[Mark(20.5, f"a call of {HOSTILE}")]),
        interval_chart(HOSTILE, "score", [Interval(HOSTILE, 0.5, 0.25, 0.75, f"{HOSTILE}: 0.5 [0.25, 0.75]")]),
        heat_chart("By task", [HOSTILE], ["first", "second"], [[0.125, 0.75]]),
    ]
    folder.mkdir(parents=True)
    (folder / "report.html").write_text(page(run, (), (), "", "".join(charts)))
    (folder / "results.json").write_text(json.dumps({"episodes": [], "problem": ""}))


def test_a_place_tells_its_values_to_a_pointer_and_to_a_tap(browser: Browser, report: str) -> None:
    with visit(browser, report) as seen:
        charts = seen.page.locator("figure.chart")
        told = charts.nth(0).locator(".at .told").nth(2)
        expect(told).not_to_be_visible()
        charts.nth(0).locator(".zone").nth(2).hover()
        expect(told).to_be_visible()
        expect(told).to_have_text(f"epoch 3: validation 0.3333, {HOSTILE} 0.6667")
        charts.nth(0).locator(".zone").last.hover()
        expect(charts.nth(0).get_by_text(f"a call of {HOSTILE}")).to_be_visible()
        charts.nth(2).locator(".zone").nth(1).click()
        expect(charts.nth(2).get_by_text(f"{HOSTILE} on second: 0.75")).to_be_visible()


def test_the_keyboard_and_a_screen_reader_get_every_value(browser: Browser, report: str) -> None:
    with visit(browser, report) as seen:
        expect(
            seen.page.get_by_role("img", name=re.compile("^Loss by epoch: validation from 1 to 0.03333"))
        ).to_be_visible()
        seen.page.locator("figure.chart summary").focus()
        seen.page.keyboard.press("Enter")
        rows = seen.page.locator("figure.chart tbody tr")
        expect(rows).to_have_count(30)
        expect(rows.nth(3)).to_have_text("40.25-")


def test_a_report_fits_a_phone(browser: Browser, report: str) -> None:
    with visit(browser, report, viewport={"width": 390, "height": 800}) as seen:
        expect(seen.page.locator("figure.chart")).to_have_count(3)
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
