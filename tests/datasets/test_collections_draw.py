"""Laws of drawn examples, for every collection."""

import functools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_trainer_env.server.datasets import (
    COLLECTIONS,
    DatasetError,
    ExampleDraw,
    ExampleKind,
    TargetKind,
    draw_examples,
    fit_sizes,
    load_pool,
)
from ml_trainer_env.server.datasets.collections.draw import share_by_class

FEW = settings(max_examples=3, deadline=None, derandomize=True)


@pytest.fixture(scope="module", params=sorted(COLLECTIONS))
def name(request):
    """The name of each collection. Of the module, so that all tests of a collection run one after the other."""
    return request.param


@st.composite
def draws(draw, name, noise=0.0, imbalance=1.0, corruption=0.0):
    """A draw of the collection's floor, or a little more."""
    collection = COLLECTIONS[name]
    count = draw(
        st.integers(collection.fewest_classes, min(10, max(collection.fewest_classes, collection.class_count)))
    )
    classes = tuple(draw(st.permutations(range(collection.class_count)))[:count])
    floor = collection.floor
    sizes = fit_sizes(name, classes, floor.train + draw(st.integers(0, 20)), floor.validation, floor.test)
    return ExampleDraw(name, classes, *sizes, noise, imbalance, corruption, seed=draw(st.integers(0, 2**40)))


def parts(examples):
    return {
        "train": (examples.train_inputs, examples.train_labels),
        "validation": (examples.validation_inputs, examples.validation_labels),
        "test": (examples.test_inputs, examples.test_labels),
    }


@functools.lru_cache(maxsize=2)
def place_of(name):
    """The place in the pool of each example, by its bytes as a task has them."""
    collection, pool = COLLECTIONS[name], load_pool(name)
    inputs = pool.inputs.astype(np.int64) if collection.kind is ExampleKind.TOKENS else pool.inputs
    return {row.tobytes(): place for place, row in enumerate(inputs)}


def whole(examples):
    """The rows of all parts as the pool has them: with the last token, for the target NEXT_TOKEN."""
    for part, (inputs, labels) in parts(examples).items():
        if examples.target is TargetKind.NEXT_TOKEN:
            inputs = np.concatenate([inputs, labels[:, -1:]], axis=1)
        yield part, inputs, labels


@pytest.mark.slow
def test_parts_share_no_example_and_the_hidden_test_keeps_to_its_pool(name):
    @FEW
    @given(draws(name))
    def law(draw):
        pool = load_pool(name)
        seen = []
        for part, inputs, labels in whole(draw_examples(draw)):
            places = [place_of(name)[row.tobytes()] for row in inputs]
            seen += places
            if pool.in_test is not None:
                assert (pool.in_test[places] == (part == "test")).all()
            if COLLECTIONS[name].target is TargetKind.CLASSES:
                assert (pool.labels[places] == np.array(draw.classes)[labels]).all()
            else:
                assert set(pool.labels[places].tolist()) == set(draw.classes)
        assert len(set(seen)) == len(seen) == draw.train_size + draw.validation_size + draw.test_size

    law()


def test_sizes_types_and_labels_are_those_asked_for(name):
    @FEW
    @given(draws(name, noise=0.3, corruption=0.2))
    def law(draw):
        collection, examples = COLLECTIONS[name], draw_examples(draw)
        assert (examples.kind, examples.target, examples.source) == (
            collection.kind,
            collection.target,
            collection.source,
        )
        assert examples.vocabulary == collection.vocabulary
        assert examples.outputs == (
            len(draw.classes) if collection.target is TargetKind.CLASSES else collection.vocabulary
        )
        for part, (inputs, labels) in parts(examples).items():
            size = getattr(draw, f"{part}_size")
            assert inputs.shape == (size, *collection.shape)
            assert labels.shape == ((size,) if collection.target is TargetKind.CLASSES else inputs.shape)
            assert labels.dtype == np.int64
            assert 0 <= labels.min() <= labels.max() < examples.outputs
            assert inputs.flags.c_contiguous
            assert not inputs.flags.writeable
            assert not labels.flags.writeable

    law()


def test_a_draw_is_the_same_again_and_another_seed_gives_others(name):
    @FEW
    @given(draws(name, noise=0.2, imbalance=1.5, corruption=0.1))
    def law(draw):
        examples, again = draw_examples(draw), draw_examples(draw)
        other = draw_examples(replace(draw, seed=draw.seed + 1))
        assert examples.checksum == again.checksum != other.checksum
        assert (examples.test_inputs == again.test_inputs).all()
        assert (examples.train_labels == again.train_labels).all()

    collection = COLLECTIONS[name]
    if collection.fewest_classes < collection.class_count:  # some room for an imbalance
        law()


def test_permuted_classes_permute_the_labels_alone(name):
    if COLLECTIONS[name].target is TargetKind.NEXT_TOKEN:
        return  # its labels are tokens, not classes
    classes = tuple(range(COLLECTIONS[name].class_count))[:10]
    size = 10 * len(classes)  # so that each class has an equal share, whatever its label
    draw = ExampleDraw(name, classes, size, size, size, seed=5)
    backwards = draw_examples(replace(draw, classes=classes[::-1]))

    for part, (inputs, labels) in parts(draw_examples(draw)).items():
        other_inputs, other_labels = parts(backwards)[part]
        named = Counter((row.tobytes(), label) for row, label in zip(inputs, labels.tolist(), strict=True))
        renamed = Counter(
            (row.tobytes(), len(classes) - 1 - label)
            for row, label in zip(other_inputs, other_labels.tolist(), strict=True)
        )
        assert named == renamed


@pytest.mark.parametrize("collection", ["digits", "segment"])
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.4, 1.0])
def test_label_noise_replaces_its_share_of_training_labels(collection, noise):
    draw = ExampleDraw(collection, (3, 1, 5), 300, 60, 60, seed=1)
    clean, noisy = draw_examples(draw), draw_examples(replace(draw, label_noise=noise))

    assert (noisy.train_inputs == clean.train_inputs).all()
    assert (noisy.train_labels != clean.train_labels).sum() == round(noise * 300)
    assert (noisy.validation_labels == clean.validation_labels).all()
    assert (noisy.test_labels == clean.test_labels).all()


def test_replaced_labels_are_spread_over_the_other_classes():
    draw = ExampleDraw("digits", (0, 1, 2, 3), 1_200, 60, 60, seed=1)
    clean = draw_examples(draw).train_labels
    noisy = draw_examples(replace(draw, label_noise=1.0)).train_labels

    assert set(Counter(((noisy - clean) % 4).tolist())) == {1, 2, 3}
    assert min(Counter(((noisy - clean) % 4).tolist()).values()) > 350


@given(st.integers(200, 2_000), st.integers(2, 10), st.floats(1, 20))
def test_an_imbalance_is_the_ratio_of_the_most_to_the_least_frequent_class(size, classes, imbalance):
    counts = share_by_class(size, classes, imbalance)

    assert sum(counts) == size
    assert list(counts) == sorted(counts, reverse=True)
    assert (counts[0] - 1) / (counts[-1] + 1) <= imbalance <= (counts[0] + 1) / max(counts[-1] - 1, 1e-9)


def test_an_imbalance_is_of_the_training_labels_alone():
    examples = draw_examples(ExampleDraw("digits", (7, 2, 4), 420, 90, 60, imbalance=4.0, seed=3))

    assert np.bincount(examples.train_labels).tolist() == [240, 120, 60]
    assert np.bincount(examples.validation_labels).tolist() == [30, 30, 30]
    assert np.bincount(examples.test_labels).tolist() == [20, 20, 20]


def test_corruption_is_noise_of_the_deviation_asked_for():
    draw = ExampleDraw("segment", (0, 1, 2), 300, 60, 60, seed=1)
    clean, noisy = draw_examples(draw), draw_examples(replace(draw, corruption=0.5))

    for part, (inputs, labels) in parts(noisy).items():
        noise = inputs - parts(clean)[part][0]
        assert noise.std() == pytest.approx(0.5, rel=0.05)
        assert noise.mean() == pytest.approx(0, abs=0.05)
        assert (labels == parts(clean)[part][1]).all()


def test_corruption_of_images_is_a_share_of_the_range_of_a_pixel():
    draw = ExampleDraw("digits", (0, 1, 2), 300, 60, 60, seed=1)
    clean, noisy = draw_examples(draw).test_inputs, draw_examples(replace(draw, corruption=0.1)).test_inputs

    middle = (clean > 100) & (clean < 150)  # where nothing is clipped
    assert noisy.dtype == np.uint8
    assert (noisy[middle].astype(float) - clean[middle]).std() == pytest.approx(25.5, rel=0.1)


def test_sizes_fit_between_the_floor_and_what_is_wanted(name):
    collection = COLLECTIONS[name]
    classes = tuple(range(collection.class_count))[-max(collection.fewest_classes, 3) :]
    floor = (collection.floor.train, collection.floor.validation, collection.floor.test)
    wanted = (2_000, 1_000, 2_000)

    fitted = fit_sizes(name, classes, *wanted)

    assert all(least <= size <= most for least, size, most in zip(floor, fitted, wanted, strict=True))
    assert fit_sizes(name, classes, *fitted) == fitted
    draw_examples(ExampleDraw(name, classes, *fitted))


def test_classes_with_too_few_examples_are_refused():
    with pytest.raises(DatasetError, match=r"segment needs at least \(200, 200, 300\).*Choose more classes"):
        fit_sizes("segment", (0, 1), 2_000, 1_000, 2_000)
    with pytest.raises(DatasetError, match=r"too few examples for .*class 0 would need 500 and has 297"):
        draw_examples(ExampleDraw("segment", (0, 1), 600, 200, 200))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": (1,)}, "at least 2 different numbers of 0 to 9"),
        ({"classes": (1, 1)}, "at least 2 different numbers of 0 to 9"),
        ({"classes": (1, 10)}, "at least 2 different numbers of 0 to 9"),
        ({"train_size": 0}, "sizes should be at least 1"),
        ({"seed": -1}, "the seed at least 0"),
        ({"label_noise": 1.1}, "label noise should be 0 to 1"),
        ({"imbalance": 0.5}, "imbalance at least 1"),
        ({"corruption": -0.1}, "corruption of images should be 0 to 100"),
        ({"collection": "flowers"}, "there is no collection"),
    ],
)
def test_a_draw_that_makes_no_sense_is_refused(change, message):
    draw = ExampleDraw("digits", (0, 1), 100, 50, 50)

    with pytest.raises(DatasetError, match=message):
        draw_examples(replace(draw, **change))
