"""What is to be played: tasks, names of episodes, and plans that grow; and the record of what was played."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_trainer_env.bench.games import UnknownGameError, find_game
from ml_trainer_env.bench.plan import (
    Cell,
    EpisodeName,
    Plan,
    PlanError,
    draw_subset,
    read_plan,
    select_tasks,
    write_plan,
)
from ml_trainer_env.bench.record import append_row, read_rows, write_rows

TUNING = find_game("tuning")
AGENTS = st.sampled_from(["nothing", "llm", "one-epoch-probes", "llm:org/model:135m", "adamw fresh, fast"])
TASKS = st.sampled_from(["tuning/validation/3", "fleet/test/12", "easy_mnist"])
CELLS = st.builds(Cell, AGENTS, TASKS, st.sampled_from(["own", "0", "42"]))
NAMES = st.one_of(
    st.builds(EpisodeName, st.just("run-1"), CELLS, st.integers(1, 99), st.integers(0, 40)),
    st.builds(EpisodeName, st.just("run-1"), CELLS, st.integers(1, 99), is_given_up=st.just(True)),
)


class TestNames:
    @given(NAMES)
    def test_the_name_of_an_episode_tells_its_place_in_the_plan(self, name: EpisodeName) -> None:
        assert EpisodeName.read(str(name)) == name

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "my-episode",
            "bench:run:nothing:t:own",
            "other:r:a:t:own:1",
            "bench:r:a:t:own:x",
            "bench:r:a:t:own:1.",
            "a:b:c",
        ],
    )
    def test_other_episodes_of_the_journal_are_told_apart(self, text: str) -> None:
        assert EpisodeName.read(text) is None


class TestSelection:
    def test_ranges_indices_and_ids_are_taken_in_order_without_repetition(self) -> None:
        found = select_tasks(TUNING, "test", "3:5, 0,4,easy_mnist")

        assert found == ("tuning/test/3", "tuning/test/4", "tuning/test/0", "easy_mnist")

    @pytest.mark.parametrize("text", ["", " , ", "5:5", "-1", "1:", ":3", "a:b", "1-3"])
    def test_what_selects_nothing_is_refused(self, text: str) -> None:
        with pytest.raises(PlanError):
            select_tasks(TUNING, "validation", text)

    def test_a_subset_follows_from_its_seed_and_keeps_the_order(self) -> None:
        tasks = select_tasks(TUNING, "validation", "0:128")
        drawn, subset = draw_subset(tasks, 32, seed=5)

        assert (subset.size, subset.of, subset.seed) == (32, 128, 5)
        assert drawn == draw_subset(tasks, 32, seed=5)[0] != draw_subset(tasks, 32, seed=6)[0]
        assert len(set(drawn)) == 32
        assert sorted(drawn, key=tasks.index) == list(drawn)
        with pytest.raises(PlanError):
            draw_subset(drawn, 33, seed=5)


class TestPlan:
    def test_all_agents_play_a_task_before_the_next_one(self, plan: Plan) -> None:
        cells = list(plan.cells())

        assert len(cells) == len(set(cells)) == 12
        assert [cell.task for cell in cells] == sorted(cell.task for cell in cells)

    @pytest.mark.parametrize(
        "changes",
        [
            {"name": "a folder"},
            {"tasks": ()},
            {"agents": ("nothing", "nothing")},
            {"agents": ("nothing", "a@b")},
            {"agents": ("nothing", "x" * 49)},
            {"seeds": ("-1",)},
            {"seeds": ("1.5",)},
            {"baseline": "heuristic"},
            {"tasks": ("t" * 100,)},
        ],
    )
    def test_a_plan_that_cannot_be_played_is_refused(self, plan: Plan, changes: dict[str, object]) -> None:
        plan.check()

        with pytest.raises(PlanError):
            replace(plan, **changes).check()

    def test_an_unknown_game_is_refused(self, plan: Plan) -> None:
        with pytest.raises(UnknownGameError, match="tuning"):
            replace(plan, game="chess").check()

    def test_a_plan_grows_and_forgets_nothing(self, plan: Plan) -> None:
        wanted = replace(plan, tasks=("easy_mnist",), agents=("random", "nothing"), baseline="random")
        grown = plan.grown(wanted)

        assert set(grown.cells()) > set(plan.cells()) | set(wanted.cells())
        assert grown.agents == ("nothing", "prober", "random")
        assert grown.baseline == "random"
        assert grown.grown(wanted) == grown

    @pytest.mark.parametrize("changes", [{"game": "fleet"}, {"split": "test"}, {"rubric": "accuracy"}])
    def test_one_folder_does_not_compare_two_things(self, plan: Plan, changes: dict[str, object]) -> None:
        with pytest.raises(PlanError, match="another folder"):
            plan.grown(replace(plan, **changes))

    def test_a_plan_is_read_as_it_was_written(self, plan: Plan, tmp_path: Path) -> None:
        assert read_plan(tmp_path) is None
        whole = replace(plan, attempts=3, facts={"Python": "3.11"}, subset=draw_subset(plan.tasks, 2, 1)[1])
        write_plan(tmp_path, whole)

        assert read_plan(tmp_path) == whole
        (tmp_path / "plan.json").write_text("{}")
        with pytest.raises(PlanError, match="not the plan"):
            read_plan(tmp_path)


class TestRecord:
    def test_rows_are_read_as_they_were_written(self, plan: Plan, make_row, tmp_path: Path) -> None:
        rows = [make_row(cell, score=0.1 + place / 3) for place, cell in enumerate(plan.cells())]
        for row in rows:
            append_row(tmp_path / "a", row)
        write_rows(tmp_path / "b", rows)

        assert list(read_rows(tmp_path / "a").values()) == rows
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_a_kill_at_any_byte_costs_the_last_row_at_most(self, plan: Plan, make_row, tmp_path: Path) -> None:
        file = tmp_path / "results.jsonl"
        first, second = [make_row(cell, score=0.5) for cell in plan.cells()][:2]
        append_row(file, first)
        before = file.stat().st_size
        append_row(file, second)
        whole = file.read_bytes()
        for cut in range(before, len(whole)):
            file.write_bytes(whole[:cut])
            assert list(read_rows(file).values()) == [first]
            append_row(file, second)
            assert file.read_bytes() == whole

    def test_a_damaged_line_before_the_last_one_is_named(self, plan: Plan, make_row, tmp_path: Path) -> None:
        file = tmp_path / "results.jsonl"
        file.write_text("{}\n")
        append_row(file, make_row(next(plan.cells()), score=0.5))

        with pytest.raises(PlanError, match="line 1"):
            read_rows(file)
