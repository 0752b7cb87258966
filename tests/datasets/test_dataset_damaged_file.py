"""A damaged file in the data directory: it was put there to be used, so it is an error and never passed over."""

from pathlib import Path

import numpy as np
import pytest

from ml_trainer_env.server.datasets import DatasetError, DatasetName, DataSettings, ImageRequest, load_images
from ml_trainer_env.server.datasets.npz import read_image_set, write_image_set

IMAGES = np.zeros((3, 28, 28), dtype=np.uint8)
LABELS = np.zeros(3, dtype=np.uint8)
GOOD = {"train_images": IMAGES, "train_labels": LABELS, "test_images": IMAGES, "test_labels": LABELS}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mnist.npz"


def read_error(file: Path) -> str:
    """Returns what the look-up says of a file, after checking that it names it."""
    request = ImageRequest(DatasetName.MNIST, 10, 10, 10, seed=1)
    with pytest.raises(DatasetError) as caught:
        load_images(request, DataSettings(data_dir=file.parent))
    assert str(file) in str(caught.value)
    assert "Replace it, or remove it" in str(caught.value)
    return str(caught.value)


def test_what_is_written_is_read_back(file, fashion_set):
    write_image_set(file, fashion_set)

    again = read_image_set(file, DatasetName.FASHION_MNIST)

    np.testing.assert_array_equal(again.train_images, fashion_set.train_images)
    np.testing.assert_array_equal(again.test_labels, fashion_set.test_labels)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut short"], ids=["empty", "text", "cut"])
def test_a_file_that_is_no_archive_is_named(file, content):
    file.write_bytes(content)

    assert "numpy cannot read it" in read_error(file)


def test_an_archive_cut_short_is_named(file):
    np.savez(file, **GOOD)
    file.write_bytes(file.read_bytes()[:-100])

    assert "numpy cannot read it" in read_error(file)


def test_a_flipped_byte_is_noticed(file):
    np.savez_compressed(file, **GOOD | {"train_images": np.arange(3 * 784, dtype=np.uint8).reshape(3, 28, 28)})
    content = bytearray(file.read_bytes())
    content[200] ^= 0xFF
    file.write_bytes(content)

    assert "numpy cannot read it" in read_error(file)


def test_a_single_array_is_not_a_data_set(file):
    with file.open("wb") as stream:
        np.save(stream, IMAGES)

    assert "numpy cannot read it" in read_error(file)


def test_a_missing_key_is_named(file):
    np.savez(file, train_images=IMAGES, train_labels=LABELS)

    assert "it has no test_images, test_labels" in read_error(file)


@pytest.mark.parametrize(
    ("key", "array", "message"),
    [
        ("train_images", IMAGES.astype(np.float32), "train_images should be uint8 .* and is float32"),
        ("train_images", np.zeros((3, 784), dtype=np.uint8), r"should be uint8 \(N, 28, 28\) and is uint8 \(3, 784\)"),
        ("test_labels", LABELS.astype(np.int64), "test_labels should be uint8 .* and is int64"),
        ("test_labels", LABELS[:2], r"should be uint8 \(3,\) and is uint8 \(2,\)"),
        ("train_labels", np.full(3, 10, dtype=np.uint8), "should lie in 0 to 9 and go up to 10"),
    ],
    ids=["image type", "image shape", "label type", "label count", "label range"],
)
def test_an_array_that_does_not_fit_is_named(file, key, array, message):
    np.savez(file, **GOOD | {key: array})

    with pytest.raises(DatasetError, match=message):
        read_image_set(file, DatasetName.MNIST)


def test_pickled_objects_are_never_loaded(file):
    np.savez(file, **GOOD | {"train_labels": np.array([{}, {}, {}], dtype=object)})

    assert "numpy cannot read it" in read_error(file)


def test_a_directory_in_the_place_of_the_file_is_named(file):
    file.mkdir()

    assert "numpy cannot read it" in read_error(file)
