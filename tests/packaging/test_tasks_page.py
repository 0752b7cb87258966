"""docs/tasks.md describes the family as the code draws it, and its program runs."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_trainer_env.server.datasets import COLLECTIONS, Collection, ExampleKind
from ml_trainer_env.server.trainer.kinds import NetworkKind
from ml_trainer_env.server.trainer.starts import StartKind
from ml_trainer_env.server.tuning.families.draw import FAMILY_SPLITS, draw_instance
from ml_trainer_env.server.tuning.families.instance import Instance
from ml_trainer_env.server.tuning.families.tasks import count_family_tasks

LARGEST_GALLERY = 400_000
"""Bytes."""

DRAWS = 25
"""Number of draws of each split."""

NETWORKS = {
    "perceptron": NetworkKind.MLP,
    "CNN": NetworkKind.CNN,
    "1-D CNN": NetworkKind.CNN_1D,
    "transformer": NetworkKind.TRANSFORMER,
}
NOISE = {
    "noise of images": {ExampleKind.IMAGES},
    "noise of tables and sequences": {ExampleKind.TABLES, ExampleKind.SEQUENCES},
    "noise of tokens": {ExampleKind.TOKENS},
}


@pytest.fixture
def page(documents: dict[str, str]) -> str:
    return documents["docs/tasks.md"]


@pytest.fixture(scope="module")
def instances() -> list[Instance]:
    return [draw_instance(split, number) for split in FAMILY_SPLITS for number in range(DRAWS)]


def row_of(collection: Collection) -> str:
    """The row of the table of collections."""
    words = f"length {collection.shape[0]}, vocabulary {collection.vocabulary}"
    shape = words if collection.vocabulary else " x ".join(map(str, collection.shape))
    classes = "next token" if collection.target == "next_token" else str(collection.class_count)
    hidden = f" ({sum(collection.test_counts):,} hidden)" if collection.has_test_pool else ""
    name = f"`{collection.name}`" + (" **test only**" if collection.test_only else "")
    kind = f"{collection.kind}, {shape}"
    cells = (name, kind, classes, f"{collection.example_count:,}{hidden}", collection.apart)
    return "| " + " | ".join((*cells, collection.licence, collection.origin.split("; see")[0])) + " |"


def cell(page: str, knob: str) -> str:
    """The values of a knob."""
    row = re.search(rf"^\| {re.escape(knob)} \| ([^|]+) \|", page, re.MULTILINE)
    assert row, f"there is no knob {knob!r}"
    return row[1]


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?(?<!,)", text)]


def seen(instances: list[Instance]) -> Iterator[tuple[str, float]]:
    """Each drawn value, with the name of its knob."""
    for one in instances:
        drawn, network = one.examples, one.network
        yield "classes", len(drawn.classes)
        yield "training examples", drawn.train_size
        yield "validation examples", drawn.validation_size
        yield "hidden examples", drawn.test_size
        yield "label noise", drawn.label_noise
        yield "imbalance", drawn.imbalance
        yield next(name for name, kinds in NOISE.items() if one.collection.kind in kinds), drawn.corruption
        yield "input scale", one.input_scale
        yield "initial scale", network.initial_scale
        yield "budget", one.budget
        yield "largest batch", one.largest_batch
        if one.start:
            yield "severity of a start", one.start.severity
            yield "epochs before a start", one.start.trained_epochs
        if one.change:
            yield f"strength of {str(one.change.kind).replace('_', ' ')}", one.change.strength


@pytest.mark.parametrize("name", COLLECTIONS)
def test_the_table_of_collections_is_the_catalogue(page: str, name: str) -> None:
    assert row_of(COLLECTIONS[name]) in page.splitlines()


@pytest.mark.parametrize("split", FAMILY_SPLITS)
def test_the_table_of_splits_has_the_number_of_calibrated_tasks(page: str, split: str) -> None:
    assert count_family_tasks(split) == numbers(cell(page, f"`{split}`"))[0]


def test_drawn_values_are_those_of_the_table(page: str, instances: list[Instance]) -> None:
    for knob, value in seen(instances):
        values = cell(page, knob)
        listed = numbers(values)
        is_range = re.match(r"[\d.,]+ to ", values) is not None
        assert listed[0] <= value <= listed[1] if is_range else value in listed, (knob, value, values)


def test_drawn_networks_are_those_of_the_table(page: str, instances: list[Instance]) -> None:
    for name, kind in NETWORKS.items():
        depths, widths = cell(page, name).split(";")
        for network in (one.network for one in instances if one.network.kind is kind):
            assert network.depth in numbers(depths), name
            assert network.width in numbers(widths), name


def test_every_start_is_described(page: str) -> None:
    assert [kind for kind in StartKind if kind not in cell(page, "start")] == []


@pytest.mark.slow
def test_the_range_test_runs(page: str, live_server: str, tmp_path: Path) -> None:
    program = re.search(r"<!-- snippet: range test -->\n```python\n(.*?)```", page, re.DOTALL)
    assert program, "there is no snippet of a range test"

    code = program[1].replace("http://localhost:8000", live_server)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)

    assert run.returncode == 0, run.stderr
    assert "0.001:" in run.stdout


def test_the_gallery_is_small(repository: Path) -> None:
    assert (repository / "docs/tasks-gallery.png").stat().st_size < LARGEST_GALLERY
