"""The catalogue of collections and the files behind it: counts, shapes, licences, size."""

import hashlib
import json
from importlib.resources import files

import numpy as np
import pytest

from ml_trainer_env.server.datasets import COLLECTIONS, DatasetError, ExampleKind, Source, TargetKind, load_pool
from ml_trainer_env.server.datasets.collections import pools

BUNDLED = files("ml_trainer_env.server.datasets") / "bundled"


@pytest.fixture(scope="module", params=sorted(COLLECTIONS))
def name(request):
    """The name of each collection. Of the module, so that all tests of a collection run one after the other."""
    return request.param


def test_a_pool_is_what_the_catalogue_says(name):
    collection, pool = COLLECTIONS[name], load_pool(name)

    shape = (collection.shape[0] + 1,) if collection.target is TargetKind.NEXT_TOKEN else collection.shape
    assert pool.inputs.shape == (collection.example_count, *shape)
    assert collection.name == name
    assert (pool.in_test is not None) == collection.has_test_pool == bool(collection.apart)
    assert set(pool.labels.tolist()) == set(range(collection.class_count))


def test_inputs_are_in_the_range_of_their_kind(name):
    collection, pool = COLLECTIONS[name], load_pool(name)

    match collection.kind:
        case ExampleKind.IMAGES:
            assert pool.inputs.dtype == np.uint8
            assert pool.inputs.reshape(len(pool.inputs), -1).max(axis=1).min() > 0
        case ExampleKind.TOKENS:
            assert pool.inputs.max() < collection.vocabulary
        case _:
            assert np.isfinite(pool.inputs).all()
            assert np.abs(pool.inputs).max() <= 10
    assert (collection.vocabulary > 0) == (collection.kind is ExampleKind.TOKENS)


def test_no_example_is_there_twice(name):
    inputs = load_pool(name).inputs

    assert len({row.tobytes() for row in inputs}) == len(inputs)


def test_a_collection_says_whose_it_is(name):
    collection = COLLECTIONS[name]

    assert collection.title
    assert collection.licence
    assert collection.origin
    if collection.source is Source.BUNDLED:
        file = collection.origin.partition("see ")[2]
        assert len((BUNDLED / file).read_text()) > 1_000


def test_a_collection_can_serve_its_floor(name):
    collection = COLLECTIONS[name]

    assert 2 <= collection.fewest_classes <= collection.class_count


def test_every_bundled_file_has_its_checksum():
    checksums = json.loads((BUNDLED / "checksums.json").read_text())
    found = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in BUNDLED.iterdir()
        if file.name.endswith(".npz")
    }

    assert found == checksums


def test_all_bundled_files_together_have_less_than_30_mb():
    assert sum(len(file.read_bytes()) for file in BUNDLED.iterdir()) < 30_000_000


def test_a_pool_cannot_be_changed():
    pool = load_pool("digits")

    with pytest.raises(ValueError, match="read-only"):
        pool.inputs[0] = 0


def test_an_unknown_collection_is_named_with_those_that_there_are():
    with pytest.raises(DatasetError, match=r"no collection 'flowers'; there are .*digits"):
        load_pool("flowers")


def test_a_pool_that_differs_from_the_catalogue_is_refused(monkeypatch):
    load_pool.cache_clear()
    monkeypatch.setattr(pools, "make_pool", lambda _: pools.Pool(np.zeros((3, 18), np.float32), np.arange(3)))

    with pytest.raises(DatasetError, match="segment should have the type, shape and counts"):
        load_pool("segment")


def test_a_damaged_file_is_refused(monkeypatch):
    load_pool.cache_clear()
    monkeypatch.setattr(pools, "read_bundled", lambda _: {"inputs": np.zeros((3, 18), np.float32)})

    with pytest.raises(DatasetError, match=r"segment.npz should have the array 'labels'"):
        load_pool("segment")
