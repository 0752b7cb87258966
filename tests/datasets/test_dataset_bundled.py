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
PERMUTED = ImageRequest(DatasetName.MNIST, train_size=7000, validation_size=1000, test_size=2000, seed=789)
ALL_OF_MNIST = ImageRequest(DatasetName.MNIST, 55_000, 5_000, 10_000, seed=789, instead=PERMUTED)
ANSWERED = pytest.mark.parametrize("request_", [EASY, MEDIUM, PERMUTED], ids=["easy", "medium", "permuted"])


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
        (PERMUTED, "13890167c001747e6bd849ef9c497a7b61a46602fddea1f217fa753f20ab6261"),
    ],
    ids=["easy", "medium", "permuted"],
)
def test_the_images_of_a_task_never_change(request_, checksum):
    assert load_images(request_, NOWHERE).checksum == checksum


def test_all_of_mnist_is_served_where_it_is_and_never_changes(full_data):
    images = load_images(ALL_OF_MNIST, full_data)

    assert images.source is Source.CACHE
    assert (len(images.train_labels), len(images.validation_labels), len(images.test_labels)) == (55_000, 5_000, 10_000)
    assert images.checksum == "741f3ae3e78accbfdef826ba16197118d447f95a48b5ece36bd42f0f9fbe381e"


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
