"""The tasks of a ranked server: the same for its secret, and unlike all that public code draws."""

import json
import math
import statistics
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_trainer_env.server.datasets import ExampleDraw, draw_examples, fit_sizes
from ml_trainer_env.server.settings import RankedSettings, Settings, SettingsError
from ml_trainer_env.server.tuning.descriptions import task_row
from ml_trainer_env.server.tuning.families.draw import CHANGES, draw_instance, split_of
from ml_trainer_env.server.tuning.families.ranked import RankedTableError, RankedTasks
from ml_trainer_env.server.tuning.families.table import Row
from ml_trainer_env.server.tuning.families.tasks import task_of
from ml_trainer_env.server.tuning.ranked_report import mean_interval, ranked_report
from ml_trainer_env.server.tuning.reference import FLOOR, Reference
from ml_trainer_env.server.tuning.tasks import Task, UnknownTaskError

SECRET = "a-secret-of-the-operator"
COUNT = 24

secrets = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=16, max_size=24)


@cache
def rows() -> tuple[Row, ...]:
    """Public tasks of the split `test`, as a table has them."""
    reference = Reference(0.4128, 0.8793, 0.0117)
    return tuple(
        Row(number, draw_instance("test", number), reference, 1 + number % 8, 3.1721 + number, f"sum {number}", "key")
        for number in range(COUNT)
    )


def tasks_of(secret: str = SECRET) -> list[Task]:
    tasks = RankedTasks(secret, rows())
    return [tasks.task_at(index) for index in range(len(tasks))]


def fixed_facts(task: Task) -> tuple[object, ...]:
    """What a ranked task shares with its row."""
    drawn, change = task.examples, task.change
    return (
        (drawn.collection, frozenset(drawn.classes), drawn.train_size, drawn.validation_size, drawn.test_size),
        (drawn.label_noise, drawn.imbalance, drawn.corruption),
        (task.network, task.augmentation, task.input_scale, task.budget, task.largest_batch, task.start),
        change and (change.kind, change.strength),
    )


def secret_facts(task: Task) -> set[object]:
    """What the secret decides and chance would hardly hit twice."""
    return {("examples", task.examples.seed), ("episode", task.seed), ("change", task.change and task.change.seed)}


@settings(max_examples=10, deadline=None)
@given(secrets)
def test_each_row_is_drawn_once_again_with_all_that_its_references_rest_on(secret: str) -> None:
    public = [task_of(row.instance, "test", index, row) for index, row in enumerate(rows())]

    ranked = tasks_of(secret)

    assert sorted(map(repr, map(fixed_facts, ranked))) == sorted(map(repr, map(fixed_facts, public)))
    assert [task.id for task in ranked] == [f"ranked/{index}" for index in range(COUNT)]
    assert all(task.reference == rows()[0].reference for task in ranked)


@settings(max_examples=10, deadline=None)
@given(secrets)
def test_public_code_draws_no_instance_of_a_ranked_run(secret: str) -> None:
    public = set[object]().union(*(secret_facts(task_of(row.instance, "test", 0, row)) for row in rows()))

    drawn = set[object]().union(*map(secret_facts, tasks_of(secret)))

    assert drawn & public <= {("change", None)}


def test_no_ranked_task_has_the_examples_of_its_row() -> None:
    instance = replace(rows()[0].instance, examples=ExampleDraw("small_digits", (0, 1, 2, 3, 4), 200, 200, 300, seed=5))
    row = replace(rows()[0], instance=instance)

    drawn = [draw_examples(RankedTasks(secret, [row]).task_at(0).examples) for secret in (SECRET, SECRET[::-1])]
    public = draw_examples(instance.examples)

    assert len({one.checksum for one in (*drawn, public)}) == 3
    assert all(len(one.test_inputs) == len(public.test_inputs) for one in drawn)


@settings(max_examples=10, deadline=None)
@given(secrets, secrets)
def test_another_secret_draws_other_tasks_and_the_same_secret_the_same(secret: str, other: str) -> None:
    assert tasks_of(secret) == tasks_of(secret)
    if secret != other:
        drawn, others = (set[object]().union(*map(secret_facts, tasks_of(one))) for one in (secret, other))
        assert drawn & others <= {("change", None)}
        assert RankedTasks(secret, rows()).run.key != RankedTasks(other, rows()).run.key


@settings(max_examples=10, deadline=None)
@given(secrets)
def test_what_is_drawn_can_be_served_and_stays_in_its_split(secret: str) -> None:
    for task in tasks_of(secret):
        drawn, sizes = task.examples, (task.examples.train_size, task.examples.validation_size, task.examples.test_size)
        assert fit_sizes(drawn.collection, drawn.classes, *sizes, drawn.imbalance) == sizes
        if task.change is not None and task.change_after:
            _, (earliest, latest) = CHANGES[task.change.kind]
            budget = task.budget_epochs
            assert math.floor(earliest * budget) <= task.change_after <= math.ceil(latest * budget)
    assert all(split_of(row.instance) == "test" for row in rows())


def test_the_order_and_the_places_of_changes_depend_on_the_secret() -> None:
    here, there = tasks_of(), tasks_of("another-secret-of-theirs")

    assert [task.network for task in here] != [task.network for task in there]
    assert sorted(task.change_after for task in here) != sorted(task.change_after for task in there)


def test_fewer_tasks_are_the_first_of_all() -> None:
    few = RankedTasks(SECRET, rows(), 5)

    assert [few.task_at(index) for index in range(len(few))] == tasks_of()[:5]
    assert len(RankedTasks(SECRET, rows(), COUNT + 1)) == COUNT
    with pytest.raises(IndexError):
        few.task_at(5)
    for unknown in ("ranked/5", "ranked/05", "ranked/-1", "tuning/test/0", "easy_mnist", None, 0):
        with pytest.raises(UnknownTaskError, match="its tasks are ranked/0 to ranked/4"):
            few.find(unknown)


def test_a_row_of_the_task_api_tells_no_measured_figure() -> None:
    for task in tasks_of():
        shown = task_row(task)
        assert (shown["difficulty"], shown["cost_s"], shown["split"]) == ("ranked", None, "ranked")
        text = json.dumps(shown)
        assert not [secret for secret in (task.seed, task.examples.seed, 0.4128, 0.8793, 0.0117) if str(secret) in text]


def test_a_server_without_calibrated_tasks_says_so(tmp_path: Path) -> None:
    empty = tmp_path / "test.jsonl"
    empty.write_text("")
    with pytest.raises(RankedTableError, match="needs calibrated tasks"):
        RankedTasks.load(SECRET, table=empty)
    with pytest.raises(RankedTableError, match="cannot be read"):
        RankedTasks.load(SECRET, table=tmp_path / "missing.jsonl")


def test_the_settings_keep_the_secret_to_themselves() -> None:
    chosen = Settings.from_environment({"ML_TRAINER_RANKED": SECRET, "ML_TRAINER_RANKED_TASKS": "32"})

    assert chosen.ranked == RankedSettings(SECRET, 32)
    assert SECRET not in repr(chosen)
    assert Settings.from_environment({}).ranked is None
    for weak in ("short", "with blanks between words"):
        with pytest.raises(SettingsError, match="at least 16 visible ASCII") as refused:
            Settings.from_environment({"ML_TRAINER_RANKED": weak})
        assert weak not in str(refused.value)


@pytest.mark.parametrize(("count", "quantile"), [(2, 12.7062), (10, 2.2622), (30, 2.0452)])
def test_the_interval_of_a_mean_is_that_of_students_t(count: int, quantile: float) -> None:
    scores = [FLOOR + 1.25 * number / count for number in range(count)]
    half = quantile * statistics.stdev(scores) / math.sqrt(count)

    interval = mean_interval(scores)

    assert interval == pytest.approx([statistics.fmean(scores) - half, statistics.fmean(scores) + half], abs=2e-4)
    assert mean_interval([0.5]) is None


def test_a_run_that_was_never_begun_has_the_lowest_mean() -> None:
    report = ranked_report(RankedTasks(SECRET, rows()), {}, "1", "today")

    assert (report["mean_score"], report["interval_95"], report["begun"]) == (FLOOR, [FLOOR, FLOOR], 0)
