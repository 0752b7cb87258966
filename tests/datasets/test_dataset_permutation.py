"""A permutation: it moves and renames, loses nothing, and is the same for ever."""

import pickle

import numpy as np
import pytest

from ml_trainer_env.server.datasets import Permutation


@pytest.fixture
def permutation() -> Permutation:
    return Permutation.draw(np.random.default_rng([789, 0]))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)


def test_every_pixel_goes_somewhere_and_every_class_gets_a_label_of_its_own(permutation):
    assert sorted(permutation.pixels) == list(range(784))
    assert sorted(permutation.classes) == list(range(10))


def test_all_images_are_permuted_alike_and_can_be_put_back(permutation, images):
    permuted = permutation.of_images(images)

    restored = permuted.reshape(5, 784)[:, np.argsort(permutation.pixels)].reshape(5, 28, 28)
    np.testing.assert_array_equal(restored, images)
    assert not np.array_equal(permuted, images)


def test_images_keep_their_shape_and_type_and_are_contiguous(permutation, images):
    for given in (images, images.astype(np.float32)):
        permuted = permutation.of_images(given)
        assert (permuted.shape, permuted.dtype) == (given.shape, given.dtype)
        assert permuted.flags.c_contiguous


def test_labels_are_renamed(permutation):
    labels = permutation.of_labels(np.array([0, 3, 3, 9]))

    assert labels.dtype == np.int64
    assert labels.tolist() == [permutation.classes[c] for c in (0, 3, 3, 9)]


def test_images_and_labels_are_left_as_they_are(permutation, images):
    before = images.copy()

    permutation.of_images(images)

    np.testing.assert_array_equal(images, before)


def test_it_is_a_value(permutation):
    again = Permutation.draw(np.random.default_rng([789, 0]))
    other = Permutation.draw(np.random.default_rng([790, 0]))

    assert again == permutation == pickle.loads(pickle.dumps(permutation))
    assert len({permutation, again, other}) == 2
    assert again.key == permutation.key != other.key


def test_the_permutation_of_the_tasks_own_seed_never_changes(permutation):
    assert permutation.classes == (1, 3, 2, 7, 6, 8, 0, 4, 9, 5)
    assert permutation.pixels[:8] == (507, 663, 335, 130, 655, 72, 159, 759)
