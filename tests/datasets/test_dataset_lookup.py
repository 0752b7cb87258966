"""The look-up: which source serves a request, and what is said when one cannot."""

import logging

import numpy as np
import pytest

from ml_trainer_env.server.datasets import (
    DatasetError,
    DatasetName,
    DataSettings,
    ImageRequest,
    Mirror,
    Source,
    load_images,
)
from ml_trainer_env.server.datasets.npz import write_image_set

MNIST_REQUEST = ImageRequest(DatasetName.MNIST, train_size=40, validation_size=20, test_size=20, seed=5)
PART = ImageRequest(DatasetName.MNIST, train_size=7_000, validation_size=1_000, test_size=2_000, seed=3)
WHOLE = ImageRequest(DatasetName.MNIST, 11_000, 1_000, 20, seed=3, instead=PART)
REFUSED = "http://127.0.0.1:9/"  # the discard port: nothing listens, so the connection is refused at once


def test_a_file_in_the_data_directory_comes_first(offline, fashion_set, small_fashion_request):
    write_image_set(offline.data_dir / "fashion_mnist.npz", fashion_set)

    images = load_images(small_fashion_request, offline)

    assert images.source is Source.CACHE
    np.testing.assert_array_equal(images.test_inputs, fashion_set.test_images[:8])


def test_the_bundled_set_comes_second(offline):
    assert load_images(MNIST_REQUEST, offline).source is Source.BUNDLED


def test_the_bundled_set_needs_no_leave_to_download(tmp_path):
    settings = DataSettings(data_dir=tmp_path, download=True, mirrors=(Mirror(DatasetName.MNIST, REFUSED),))

    assert load_images(MNIST_REQUEST, settings).source is Source.BUNDLED


def test_fashion_images_other_than_the_bundled_ones_are_an_error_that_says_what_to_do(offline, small_fashion_request):
    with pytest.raises(DatasetError, match=r"nowhere to be had.*fashion_mnist\.npz into the data directory"):
        load_images(small_fashion_request, offline)


def test_the_stand_in_serves_cifar_and_says_so(offline, small_cifar_request, caplog):
    with caplog.at_level(logging.WARNING):
        images = load_images(small_cifar_request, offline)

    assert images.source is Source.SYNTHETIC
    assert images.train_inputs.shape == (20, 32, 32, 3)
    assert "stand-in" in caplog.text
    assert "synthetic" in caplog.text
    assert "download=False" in caplog.text


def test_a_file_of_cifar_comes_before_the_stand_in(offline, cifar_set, small_cifar_request, caplog):
    write_image_set(offline.data_dir / "cifar10.npz", cifar_set)

    assert load_images(small_cifar_request, offline).source is Source.CACHE
    assert caplog.text == ""


def test_a_failed_download_is_said_and_the_stand_in_serves(tmp_path, small_cifar_request, caplog):
    settings = DataSettings(tmp_path, download=True, mirrors=(Mirror(DatasetName.CIFAR10, REFUSED),))

    images = load_images(small_cifar_request, settings)

    assert images.source is Source.SYNTHETIC
    assert "cannot be reached" in caplog.text
    assert not list(tmp_path.glob("*.npz"))


def test_a_failed_download_is_tried_once_a_process(tmp_path, small_cifar_request, caplog):
    settings = DataSettings(tmp_path, download=True, mirrors=(Mirror(DatasetName.CIFAR10, REFUSED),))
    other = ImageRequest(DatasetName.CIFAR10, 10, 10, 10, seed=8)

    load_images(small_cifar_request, settings)
    load_images(other, settings)

    failures = [record for record in caplog.records if "stand-in" not in record.getMessage()]
    assert len(failures) == 1


def test_the_same_request_is_answered_from_memory(offline):
    assert load_images(MNIST_REQUEST, offline) is load_images(MNIST_REQUEST, offline)


def test_a_data_directory_that_does_not_exist_is_no_error(tmp_path):
    settings = DataSettings(data_dir=tmp_path / "nothing" / "here", download=False)

    assert load_images(MNIST_REQUEST, settings).source is Source.BUNDLED


def test_the_hard_task_is_served_by_a_full_data_set(full_data):
    images = load_images(ImageRequest(DatasetName.CIFAR10, 8000, 2000, 2000, seed=456), full_data)

    assert images.source is Source.CACHE
    assert images.train_inputs.shape == (8000, 32, 32, 3)
    assert np.bincount(images.train_labels, minlength=10).min() > 600


def test_a_request_for_more_than_is_bundled_makes_do_with_less_and_says_so(tmp_path, caplog):
    settings = DataSettings(data_dir=tmp_path, download=True, mirrors=(Mirror(DatasetName.MNIST, REFUSED),))

    images = load_images(WHOLE, settings)

    assert images.source is Source.BUNDLED
    assert (len(images.train_labels), len(images.validation_labels), len(images.test_labels)) == (7_000, 1_000, 2_000)
    assert "All of mnist is not there" in caplog.text
    assert "7000 images to train on and 2000 held out" in caplog.text


def test_a_request_for_more_than_is_bundled_is_answered_by_the_file(offline, random_images, caplog):
    write_image_set(offline.data_dir / "mnist.npz", random_images(DatasetName.MNIST, train_size=12_000))

    images = load_images(WHOLE, offline)

    assert images.source is Source.CACHE
    assert (len(images.train_labels), len(images.validation_labels), len(images.test_labels)) == (11_000, 1_000, 20)
    assert caplog.text == ""


def test_a_file_with_too_few_images_is_an_error_and_nothing_else_is_taken(offline, random_images):
    write_image_set(offline.data_dir / "mnist.npz", random_images(DatasetName.MNIST, train_size=11_000))

    with pytest.raises(DatasetError, match=r"needs at least 12,000 training images .* there are 11,000"):
        load_images(WHOLE, offline)
