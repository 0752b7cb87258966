"""The stand-in for CIFAR-10: the same on every machine, balanced, and not trivially solved."""

import numpy as np
import pytest

from ml_trainer_env.server.datasets import DatasetName, DataSettings, ImageRequest, load_images
from ml_trainer_env.server.datasets.figures import FIGURES
from ml_trainer_env.server.datasets.synthetic import draw_stand_in
from ml_trainer_env.server.datasets.values import checksum_arrays


def test_a_seed_gives_the_same_bytes_on_every_machine():
    images, labels = draw_stand_in(200, seed=456)

    assert checksum_arrays(images, labels) == "3df746e70bf5442735cacc6c35fbd4722b74fd64e0031a261e9b1a7bf41eca9a"


@pytest.mark.slow
def test_the_images_of_the_hard_task_never_change():
    request = ImageRequest(DatasetName.CIFAR10, train_size=8000, validation_size=2000, test_size=2000, seed=456)

    assert (
        load_images(request, DataSettings()).checksum
        == "2e96d6a2a42248e57d9441024574af7e452ba953a47eef798cd81fa0d1dda897"
    )


def test_another_seed_gives_other_images():
    assert not np.array_equal(draw_stand_in(20, seed=1)[0], draw_stand_in(20, seed=2)[0])


def test_images_are_colour_and_use_the_range():
    images, _ = draw_stand_in(200, seed=1)

    assert (images.dtype, images.shape) == (np.uint8, (200, 32, 32, 3))
    assert images.min() == 0
    assert images.max() == 255
    assert 90 < images.mean() < 165


def test_no_two_images_are_the_same():
    images, _ = draw_stand_in(400, seed=1)

    assert len(np.unique(images, axis=0)) == 400


@pytest.mark.parametrize("size", [0, 1, 19, 200])
def test_classes_come_equally_often(size):
    _, labels = draw_stand_in(size, seed=1)

    counts = np.bincount(labels, minlength=10)
    assert labels.dtype == np.int64
    assert counts.sum() == size
    assert counts.max() - counts.min() <= 1


def test_classes_come_in_random_order():
    _, labels = draw_stand_in(200, seed=1)

    assert not np.array_equal(labels, np.sort(labels))
    assert set(labels[:100].tolist()) == set(range(10))


def test_the_mean_colour_does_not_give_the_class_away():
    images, labels = draw_stand_in(1000, seed=1)
    colours = images.mean(axis=(1, 2))
    centres = np.stack([colours[:500][labels[:500] == label].mean(axis=0) for label in range(10)])

    nearest = np.square(colours[500:, None] - centres).sum(axis=2).argmin(axis=1)

    assert (nearest == labels[500:]).mean() < 0.3


def test_every_class_has_two_views():
    assert len(FIGURES) == 10
    assert all(len(views) == 2 for views in FIGURES)
