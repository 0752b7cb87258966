"""Laws of the family: draws, splits by content, ids and descriptions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_trainer_env.server.datasets import COLLECTIONS, TargetKind, draw_examples
from ml_trainer_env.server.trainer.changes import ChangeKind
from ml_trainer_env.server.trainer.config import OptimizerKind
from ml_trainer_env.server.trainer.network_specs import find_network
from ml_trainer_env.server.trainer.schedules import LrSchedule
from ml_trainer_env.server.trainer.starts import StartKind
from ml_trainer_env.server.tuning.catalogue import SPLITS, count_tasks, find_task, task_at
from ml_trainer_env.server.tuning.families.draw import FAMILY_SPLITS, TEST_ONLY_NETWORKS, draw_instance, split_of
from ml_trainer_env.server.tuning.families.instance import Instance
from ml_trainer_env.server.tuning.families.table import Row, load_table, row_to_json, rows_from_json
from ml_trainer_env.server.tuning.families.tasks import family_task, read_task_id, task_of
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.named_tasks import NAMED, TASKS
from ml_trainer_env.server.tuning.reference import Metric, Reference
from ml_trainer_env.server.tuning.tasks import UnknownTaskError

COUNTS = {"train": 120, "validation": 40, "test": 40}
NOT_TOLD = re.compile(
    r"\b(hot|momentum|dead|memoris\w+|drift\w*|accident|severity|corrupt\w*|noise|imbalance\w*|initial scale)\b", re.I
)
"""Words that would name what went wrong, or what will change."""

UNCALIBRATED = 1_000_000
"""An index of train beyond any table."""

splits = st.sampled_from(FAMILY_SPLITS)
numbers = st.integers(0, 2**32)
few = settings(max_examples=15, deadline=None)
few_built = settings(max_examples=8, deadline=None)


@pytest.fixture(scope="module")
def drawn() -> Mapping[str, Sequence[Instance]]:
    return {split: [draw_instance(split, number) for number in range(count)] for split, count in COUNTS.items()}


def all_of(drawn: Mapping[str, Sequence[Instance]]) -> list[Instance]:
    return [instance for instances in drawn.values() for instance in instances]


@few
@given(split=splits, number=numbers)
def test_a_draw_is_a_function_of_split_and_number_and_stays_in_its_split(split: str, number: int) -> None:
    instance = draw_instance(split, number)

    assert draw_instance(split, number) == instance
    assert split_of(instance) == split


def test_no_two_draws_are_equal(drawn: Mapping[str, Sequence[Instance]]) -> None:
    plain = [replace(instance, seed=0) for instance in all_of(drawn)]

    assert len(plain) == 200
    assert len(set(map(repr, plain))) == len(plain)


def test_no_content_is_in_two_splits(drawn: Mapping[str, Sequence[Instance]]) -> None:
    contents = [{instance.content for instance in instances} for instances in drawn.values()]

    assert sum(map(len, contents)) == len(set().union(*contents))


def test_only_what_shapes_the_content_decides_the_split(drawn: Mapping[str, Sequence[Instance]]) -> None:
    for instance in all_of(drawn)[::10]:
        drawn_again = replace(instance.examples, classes=instance.examples.classes[::-1], seed=1, label_noise=0.3)
        other = replace(instance, examples=drawn_again, budget=99, seed=1, start=None, change=None, input_scale=7.0)
        other = replace(other, settings=None)

        assert split_of(other) == split_of(instance)


def test_collections_and_networks_of_the_test_are_in_no_other_split(drawn: Mapping[str, Sequence[Instance]]) -> None:
    shown = [*drawn["train"], *drawn["validation"]]
    hidden = drawn["test"]

    assert not any(one.collection.test_only or one.network.kind in TEST_ONLY_NETWORKS for one in shown)
    assert any(one.collection.test_only for one in hidden)
    assert any(one.network.kind in TEST_ONLY_NETWORKS for one in hidden)


def test_the_draws_cover_every_start_and_every_change(drawn: Mapping[str, Sequence[Instance]]) -> None:
    starts = {one.start.kind if one.start else StartKind.FRESH for one in all_of(drawn)}
    changes = {one.change.kind if one.change else ChangeKind.NONE for one in all_of(drawn)}

    assert starts == set(StartKind)
    assert changes == set(ChangeKind)
    assert len({one.collection.name for one in all_of(drawn)}) >= len(COLLECTIONS) // 2


def test_the_draws_cover_every_optimizer_and_schedule_with_and_without_regularisation(
    drawn: Mapping[str, Sequence[Instance]],
) -> None:
    left = [one.settings for one in all_of(drawn) if one.settings]

    assert len(left) == len(all_of(drawn))
    assert {one.optimizer for one in left} == set(OptimizerKind)
    assert {one.lr_schedule for one in left} == {LrSchedule.CONSTANT, LrSchedule.COSINE}
    assert {one.dropout > 0 for one in left} == {one.augmentation for one in left} == {False, True}
    assert max(one.learning_rate for one in left) > 30 * min(one.learning_rate for one in left)


def test_a_change_comes_within_the_budget_and_before_it_only_in_a_run_taken_over(
    drawn: Mapping[str, Sequence[Instance]],
) -> None:
    for one in all_of(drawn):
        before = one.start is not None and one.change is not None and one.change.kind is ChangeKind.NOISY_LABELS
        assert one.change is not None or one.change_after == 0
        assert one.change is None or (0 if before else 1) <= one.change_after < one.budget


def test_labels_have_turned_noisy_before_many_runs_are_taken_over(drawn: Mapping[str, Sequence[Instance]]) -> None:
    taken_over = [one for one in all_of(drawn) if one.start is not None]
    before = [one for one in taken_over if one.change is not None and not one.change_after]

    assert len(taken_over) / 5 < len(before) < len(taken_over)


@pytest.mark.slow
@few_built
@given(split=splits, number=st.integers(0, 200))
def test_every_drawn_task_can_be_built(split: str, number: int) -> None:
    instance = draw_instance(split, number)
    task, examples = task_of(instance, split, number), draw_examples(instance.examples)
    drawn = instance.examples

    assert find_network(task.network.name) == instance.network
    assert instance.network.parameter_count > 0
    assert examples.train_labels.shape[0] == drawn.train_size
    assert examples.validation_labels.shape[0] == drawn.validation_size
    assert examples.test_labels.shape[0] == drawn.test_size
    assert examples.outputs == instance.network.outputs
    assert instance.settings is not None
    assert task.initial_config == replace(instance.settings, batch_size=min(64, instance.largest_batch))
    assert task.rubrics == (RubricVersion.ACCURACY,)


def test_a_description_tells_sizes_and_budget_and_neither_start_nor_change_nor_scale_nor_noise(
    drawn: Mapping[str, Sequence[Instance]],
) -> None:
    for index, instance in enumerate(all_of(drawn)):
        task = task_of(instance, "train", index)
        told = task.description.replace(instance.collection.title, "")
        other = replace(
            instance,
            network=replace(instance.network, initial_scale=1.234),
            examples=replace(instance.examples, label_noise=0.123, imbalance=1.0, corruption=0.0, seed=5),
            input_scale=0.777,
            start=None,
            settings=None,
            change=None,
            change_after=0,
        )

        assert task_of(other, "train", index).description == task.description
        assert not NOT_TOLD.search(told), told
        assert f"{instance.examples.train_size:,} training" in told
        assert f"{instance.budget} epochs" in told
        assert f"batches of up to {instance.largest_batch}" in told


def test_only_the_next_token_is_measured_by_the_loss(drawn: Mapping[str, Sequence[Instance]]) -> None:
    for one in all_of(drawn):
        by_loss = one.collection.target is TargetKind.NEXT_TOKEN

        assert one.metric == (Metric.LOSS if by_loss else Metric.ACCURACY)


# Ids.


@few
@given(index=st.integers(UNCALIBRATED, 2**31 - 1))
def test_ids_round_trip(index: int) -> None:
    task = family_task("train", index)

    assert read_task_id(task.id) == ("train", index)
    assert find_task(task.id) == task == task_at("train", index)
    assert (task.split, task.index, task.difficulty, task.reference) == ("train", index, "uncalibrated", None)


def test_the_named_tasks_are_the_first_split() -> None:
    assert (NAMED, *FAMILY_SPLITS) == SPLITS
    assert [task_at(NAMED, index) for index in range(count_tasks(NAMED))] == list(TASKS.values())
    assert all(find_task(name) is task for name, task in TASKS.items())


@pytest.mark.parametrize(
    "task_id",
    [
        None,
        7,
        ["easy_mnist"],
        "",
        "easy_mnist ",
        "tuning",
        "tuning/train",
        "tuning/train/",
        "tuning/train/01",
        "tuning/train/-1",
        "tuning/train/1.0",
        "tuning/train/1\n",
        "tuning/train/٣",
        "tuning/named/0",
        "tuning/other/0",
        "tuning/train/99999999999",
        f"tuning/train/{2**31}",
        f"tuning/test/{2**30}",
        "tuning/train/1" * 1_000,
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_id_of_no_task_is_refused_in_words(task_id: object) -> None:
    with pytest.raises(UnknownTaskError, match=r"unknown task .*(the tasks are easy_mnist, .*|there is no task)") as no:
        find_task(task_id)
    assert len(str(no.value)) < 300


@pytest.mark.parametrize(
    ("split", "index"), [("train", -1), ("train", 2**31), ("test", 2**30), (NAMED, 4), (NAMED, -1), ("other", 0)]
)
def test_a_place_of_no_task_is_refused(split: str, index: int) -> None:
    with pytest.raises(IndexError, match=f"there is no task {index} in the split '{split}'"):
        task_at(split, index)


# Tables.


@few
@given(split=splits, number=st.integers(0, 100), tier=st.integers(1, 8), metric=st.sampled_from(Metric))
def test_a_row_of_a_table_round_trips(split: str, number: int, tier: int, metric: Metric) -> None:
    row = row_of(draw_instance(split, number), number=number, tier=tier, reference=Reference(0.5, 0.9, 0.01, metric))

    assert rows_from_json(row_to_json(row) + "\n") == (row,)


def test_a_calibrated_task_tells_its_tier_and_cost_and_is_graded_by_v3() -> None:
    instance = draw_instance("validation", 3)
    row = row_of(instance)
    task = task_of(instance, "validation", 5, row)

    assert (task.id, task.difficulty, task.cost_s) == ("tuning/validation/5", "4", 12.5)
    assert task.rubrics == (RubricVersion.V3, RubricVersion.ACCURACY)
    assert task.reference == row.reference
    assert not re.search(r"0\.5\b|0\.9\b", task.description)


def test_rows_of_shipped_tables_are_of_their_splits_and_unlike() -> None:
    rows = {split: load_table(split) for split in FAMILY_SPLITS}
    for split, table in rows.items():
        assert count_tasks(split) == len(table)
        assert all(split_of(row.instance) == split for row in table[::16])
    contents = [{row.instance.content for row in table} for table in rows.values()]
    assert sum(map(len, contents)) == len(set().union(*contents))


def row_of(instance: Instance, **fields: Any) -> Row:
    given = {"number": 3, "reference": Reference(0.5, 0.9, 0.01), "tier": 4, "cost_s": 12.5}
    return Row(instance=instance, checksum="c", identity="i", **{**given, **fields})
