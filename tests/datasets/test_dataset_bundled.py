"""The bundled sets: what they hold, that they are whole, and that they equal the full data sets."""

import hashlib
import json
from importlib.resources import files

import numpy as np
import pytest

from ml_trainer_env.server.datasets import DatasetName, DataSettings, ImageRequest, Source, load_images

BUNDLED = files("ml_trainer_env.server.datasets") / "bundled"
NOWHERE = DataSettings(data_dir=None, download=False)
EASY = ImageRequest(DatasetName.MNIST, train_size=4000, validation_size=1000, test_size=5000, seed=42)
MEDIUM = ImageRequest(DatasetName.FASHION_MNIST, train_size=6500, validation_size=1500, test_size=2000, seed=123)
ANSWERED = pytest.mark.parametrize("request_", [EASY, MEDIUM], ids=["easy", "medium"])


@ANSWERED
def test_a_task_is_served_without_a_data_directory_and_a_network(request_):
    images = load_images(request_, NOWHERE)

    assert images.source is Source.BUNDLED
    assert len(images.train_labels) == request_.train_size
    assert len(images.validation_labels) == request_.validation_size
    assert len(images.test_labels) == request_.test_size
    assert set(images.train_labels.tolist()) == set(range(10))


@ANSWERED
def test_the_full_data_set_gives_the_same_images(request_, full_data):
    whole = load_images(request_, full_data)

    assert whole.source is Source.CACHE
    assert whole.checksum == load_images(request_, NOWHERE).checksum


@pytest.mark.parametrize(
    ("request_", "checksum"),
    [
        (EASY, "074b8b45cee95cafb2a2c7201e31f494b48319f2ad86f989f9089f92cc16050a"),
        (MEDIUM, "6e3b2f5a68c07da43dfec0423bad2541935c9881fe61505479abeaf1d90cd01f"),
    ],
    ids=["easy", "medium"],
)
def test_the_images_of_a_task_never_change(request_, checksum):
    assert load_images(request_, NOWHERE).checksum == checksum


def test_mnist_answers_other_draws_too():
    images = load_images(ImageRequest(DatasetName.MNIST, 100, 50, 30, seed=1), NOWHERE)

    assert (images.source, len(images.train_labels)) == (Source.BUNDLED, 100)


@pytest.mark.parametrize("name", ["mnist.npz", "fashion_mnist.npz"])
def test_a_file_has_the_checksum_that_stands_beside_it(name):
    checksums = json.loads((BUNDLED / "checksums.json").read_text())

    assert hashlib.sha256((BUNDLED / name).read_bytes()).hexdigest() == checksums[name]


@pytest.mark.parametrize("name", ["mnist.npz", "fashion_mnist.npz"])
def test_a_file_holds_10_000_images_that_are_not_blank(name):
    with (BUNDLED / name).open("rb") as stream, np.load(stream) as file:
        images, labels = file["images"], file["labels"]

    assert (images.shape, labels.shape) == ((10_000, 28, 28), (10_000,))
    assert images.reshape(10_000, -1).max(axis=1).min() > 0


@pytest.mark.parametrize(
    ("name", "holder"), [("LICENSE-mnist.txt", "Juan Cazala"), ("LICENSE-fashion-mnist.txt", "Zalando SE")]
)
def test_a_licence_lies_beside_each_file(name, holder):
    text = (BUNDLED / name).read_text()

    assert holder in text
    assert "Permission is hereby granted, free of charge" in text
