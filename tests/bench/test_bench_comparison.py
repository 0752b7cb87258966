"""From rows to tables: who is compared on what, and how it is written."""

import csv
import io
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ml_trainer_env.bench.comparison import Comparison, compare
from ml_trainer_env.bench.plan import Cell, Plan, Subset
from ml_trainer_env.bench.report import write_report
from ml_trainer_env.bench.rows import Row
from ml_trainer_env.bench.tables import tables_of, write_csv, write_markdown
from ml_trainer_env.server.tuning.reference import FLOOR


@pytest.fixture
def rows(plan: Plan, make_row) -> dict[Cell, Row]:
    """The prober is 0.2 better on each task, and 0.1 more with the second seed."""
    found = {}
    for cell in plan.cells():
        place = plan.tasks.index(cell.task)
        score = 0.1 * place + (0.2 if cell.agent == "prober" else 0.0)
        score += 0.1 if cell == Cell("prober", cell.task, "7") else 0.0
        found[cell] = make_row(cell, score, tier=str(1 + place), spent=8.0 if cell.agent == "prober" else 10.0)
    return found


@pytest.fixture
def comparison(plan: Plan, rows: Mapping[Cell, Row]) -> Comparison:
    return compare(plan, rows)


class TestComparison:
    def test_seeds_of_a_task_are_averaged_and_tasks_are_the_unit(self, comparison: Comparison) -> None:
        nothing, prober = comparison.standings

        assert (nothing.score.mean, nothing.score.count) == (pytest.approx(0.1), 3)
        assert prober.score.mean == pytest.approx(0.35)
        assert (nothing.rank, prober.rank, nothing.won, prober.won) == (2.0, 1.0, 0.0, 1.0)
        assert (nothing.spent, prober.spent, prober.amount) == pytest.approx((1.0, 0.8, 8.0))
        (difference,) = comparison.differences
        assert (difference.agent, difference.baseline) == ("prober", "nothing")
        assert difference.mean.mean == pytest.approx(0.25)
        assert difference.p == difference.p_holm == pytest.approx(2 / 2**3)

    def test_only_tasks_that_all_have_played_with_all_seeds_count(self, plan: Plan, rows: dict[Cell, Row]) -> None:
        del rows[Cell("prober", plan.tasks[0], "7")]
        found = compare(plan, rows)

        assert found.tasks == plan.tasks[1:]
        assert (found.played, found.planned) == (11, 12)
        assert found.standings[0].score.mean == pytest.approx(0.15)

    def test_who_gave_up_gets_the_least_score_of_the_rubric(self, plan: Plan, rows: dict[Cell, Row], make_row) -> None:
        cell = Cell("prober", plan.tasks[2], "own")
        rows[cell] = make_row(cell, None, kinds=(), seen=None)
        found = compare(plan, rows)

        assert found.standings[1].gave_up == 1
        assert found.standings[1].score.mean == pytest.approx((0.25 + 0.35 + (0.5 + FLOOR) / 2) / 3)
        assert [group.name for group in found.kinds] == ["perceptron"]

    def test_a_run_in_which_nothing_was_played_is_no_error(self, plan: Plan) -> None:
        found = compare(plan, {})

        assert found.tasks == ()
        assert math.isnan(found.standings[0].score.mean)
        assert [table.name for table in tables_of(found)][:2] == ["scores", "differences"]

    def test_groups_have_the_tasks_of_their_name(self, plan: Plan, rows: dict[Cell, Row]) -> None:
        for cell, row in rows.items():
            two = ("crashes", "straggler") if cell.task == plan.tasks[0] else ("straggler",)
            rows[cell] = replace(row, kinds=two, tier="10" if cell.task == plan.tasks[0] else "2")
        found = compare(plan, rows)

        assert [(group.name, group.tasks) for group in found.tiers] == [("2", 2), ("10", 1)]
        assert [(group.name, group.tasks) for group in found.kinds] == [("crashes", 1), ("straggler", 3)]
        assert found.kinds[0].scores[1].mean == pytest.approx(0.25)

    def test_the_order_of_rows_makes_no_difference(self, plan: Plan, rows: dict[Cell, Row]) -> None:
        assert tables_of(compare(plan, dict(reversed(rows.items())))) == tables_of(compare(plan, rows))


class TestTables:
    def test_markdown_has_a_line_for_each_agent_the_best_first(self, comparison: Comparison) -> None:
        lines = write_markdown(tables_of(comparison)[0]).splitlines()
        table = [line for line in lines if line.startswith("|")]

        assert [line.split("|")[1].strip() for line in table] == ["Agent", "---", "prober", "nothing"]
        assert {line.count("|") for line in table} == {9}
        assert "BCa" in lines[2]

    def test_the_correction_and_its_family_are_named(self, comparison: Comparison) -> None:
        note = tables_of(comparison)[1].note

        assert "Holm" in note
        assert "1 comparison of" in note

    def test_csv_has_every_digit(self, comparison: Comparison) -> None:
        table = tables_of(comparison)[0]
        head, best, _ = csv.reader(io.StringIO(write_csv(table)))
        found = dict(zip(head, best, strict=True))

        assert float(found["Score"]) == comparison.standings[1].score.mean
        assert found["Score low"] == ""
        assert found["Score n"] == "3"


class _Page(HTMLParser):
    """Collects what a page loads, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attributes if name in ("src", "href", "action", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


class TestReport:
    def test_the_folder_has_tables_figures_and_one_page_that_loads_nothing(
        self, plan: Plan, rows: dict[Cell, Row], tmp_path: Path
    ) -> None:
        written = write_report(tmp_path, replace(plan, subset=Subset(3, 128, 5)), rows)
        page = _Page()
        page.feed(written.read_text())

        assert {path.name for path in (tmp_path / "tables").iterdir()} >= {"scores.csv", "differences.csv"}
        pictures = list((tmp_path / "figures").iterdir())
        assert len(pictures) == 5
        assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
        assert page.loaded == []
        assert page.tags.count("svg") == 5
        assert not {"script", "link", "iframe"} & set(page.tags)
        assert re.search(r"3 of 128, drawn\s+with seed 5", page.text)
        assert (tmp_path / "tables.md").read_text().count("## ") == 6

    def test_charts_tell_their_values_where_one_points(self, plan: Plan, rows: dict[Cell, Row], tmp_path: Path) -> None:
        page = _Page()
        page.feed(write_report(tmp_path, plan, rows).read_text())
        comparison = compare(plan, rows)

        for one in comparison.standings:
            assert f"{one.agent}: {one.score.mean:.3f}" in page.text
        for agent, column in zip(plan.agents, comparison.scores.T, strict=True):
            for task, score in zip(comparison.tasks, column, strict=True):
                assert f"{agent} on {task}: {score:.4g}" in page.text

    def test_text_from_outside_is_escaped(self, plan: Plan, rows: dict[Cell, Row], tmp_path: Path) -> None:
        evil = "<script>alert(1)</script>"
        facts = replace(plan, facts={"Server": evil})

        assert evil not in write_report(tmp_path, facts, rows).read_text()

    def test_an_unfinished_run_says_so(self, plan: Plan, rows: dict[Cell, Row], tmp_path: Path) -> None:
        del rows[Cell("nothing", plan.tasks[0], "7")]

        page = write_report(tmp_path, plan, rows).read_text()
        assert "The run is not complete: 11 of 12 plays." in page
        write_report(tmp_path, plan, {})
