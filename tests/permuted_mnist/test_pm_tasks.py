"""A task is a value: one permutation of pixels and one of labels, the same for the same seed, new for each task."""

from pathlib import Path

import numpy as np
import pytest

from ml_trainer_env.server.datasets import DatasetError
from permuted_mnist.hardening import DrawnDigits
from permuted_mnist.mnist import Mnist, load_mnist
from permuted_mnist.tasks import PIXELS, Variant, draw_task, load_digits


@pytest.fixture(scope="module")
def mnist() -> Mnist:
    full = load_mnist()
    return Mnist(
        full.train_images[:2000], full.train_labels[:2000], full.test_images[:500], full.test_labels[:500], full.source
    )


def test_undoing_the_permutations_gives_the_digits_back(mnist: Mnist) -> None:
    task = draw_task(mnist, seed=3, number=1)
    place = np.argsort(task.pixel_permutation)
    digit = np.argsort(task.label_permutation)

    for images, labels, digits, numerals in (
        (task.train_images, task.train_labels, mnist.train_images, mnist.train_labels),
        (task.test_images, task.test_labels, mnist.test_images, mnist.test_labels),
    ):
        restored = np.rint(images.reshape(-1, PIXELS)[:, place] * 255).astype(np.uint8)
        known = {(image.tobytes(), int(label)) for image, label in zip(digits, numerals, strict=True)}
        assert len(restored) == len(digits)
        assert {(image.tobytes(), int(digit[y])) for image, y in zip(restored, labels, strict=True)} == known


def test_samples_are_shuffled(mnist: Mnist) -> None:
    task = draw_task(mnist, seed=3, number=1)

    assert not np.array_equal(np.argsort(task.label_permutation)[task.train_labels], mnist.train_labels)
    assert not np.array_equal(np.argsort(task.label_permutation)[task.test_labels], mnist.test_labels)


def test_images_are_float32_from_0_to_1(mnist: Mnist) -> None:
    for variant in Variant:
        task = draw_task(mnist, seed=0, number=0, variant=variant)
        for images in (task.train_images, task.test_images):
            assert (images.dtype, images.shape[1:]) == (np.float32, (28, 28))
            assert (images.min(), images.max()) == (0.0, 1.0) or variant is Variant.HARDENED
            assert images.min() >= 0
            assert images.max() <= 1


@pytest.mark.parametrize("variant", list(Variant))
def test_the_same_seed_and_number_give_the_same_task(mnist: Mnist, variant: Variant) -> None:
    one, other = (draw_task(mnist, seed=7, number=4, variant=variant) for _ in range(2))

    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        assert np.array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize(("seed", "number"), [(7, 5), (8, 4)])
def test_another_seed_or_number_gives_other_permutations(mnist: Mnist, seed: int, number: int) -> None:
    one, other = draw_task(mnist, seed=7, number=4), draw_task(mnist, seed=seed, number=number)

    assert (one.pixel_permutation != other.pixel_permutation).mean() > 0.9
    assert not np.array_equal(one.train_images, other.train_images)


# --- The hardened variant


SMALL = DrawnDigits(600, 200)


def test_a_hardened_task_has_the_sizes_of_mnist() -> None:
    digits = load_digits(Variant.HARDENED)

    assert (digits.train_size, digits.test_size) == (60_000, 10_000)


def test_a_hardened_task_does_not_depend_on_the_images_of_mnist(mnist: Mnist) -> None:
    blank = Mnist(
        np.zeros_like(mnist.train_images), mnist.train_labels, np.zeros_like(mnist.test_images), mnist.test_labels,
        mnist.source,
    )  # fmt: skip
    with_mnist = draw_task(mnist, 3, 1, Variant.HARDENED)

    for other in (draw_task(blank, 3, 1, Variant.HARDENED), draw_task(DrawnDigits(2000, 500), 3, 1, Variant.HARDENED)):
        for name in ("train_images", "train_labels", "test_images", "test_labels"):
            assert np.array_equal(getattr(with_mnist, name), getattr(other, name))


def test_mnist_is_not_looked_for_where_it_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mnist.npz").write_bytes(b"damaged")
    monkeypatch.setenv("ML_TRAINER_DATA_DIR", str(tmp_path))

    assert load_digits(Variant.HARDENED).source == "synthetic"
    with pytest.raises(DatasetError):
        load_digits(Variant.STANDARD)


def test_the_standard_variant_needs_images() -> None:
    with pytest.raises(TypeError, match="MNIST"):
        draw_task(SMALL, 0, 0, Variant.STANDARD)


def test_no_image_of_a_hardened_task_is_in_another_or_in_mnist(mnist: Mnist) -> None:
    """Its sorted values, which no permutation changes, are those of no other image."""
    tasks = [draw_task(SMALL, seed, number, Variant.HARDENED) for seed, number in ((0, 0), (0, 1), (1, 0))]
    images = [images for task in tasks for images in (task.train_images, task.test_images)]
    seen = [np.sort(np.rint(image.ravel() * 255).astype(np.uint8)).tobytes() for part in images for image in part]
    published = {np.sort(image.ravel()).tobytes() for image in (*mnist.train_images, *mnist.test_images)}

    assert len(set(seen)) == len(seen)
    assert not published & set(seen)


def test_a_hardened_task_has_all_ten_digits_and_says_nothing_by_their_order() -> None:
    task = draw_task(SMALL, 0, 0, Variant.HARDENED)

    assert set(task.train_labels.tolist()) == set(range(10))
    assert not np.array_equal(task.train_labels, np.sort(task.train_labels))


def test_images_are_whole_bytes(mnist: Mnist) -> None:
    for variant in Variant:
        bytes_ = draw_task(mnist, 0, 0, variant).train_images * np.float32(255)
        assert np.abs(bytes_ - np.rint(bytes_)).max() < 1e-3


def test_a_digit_has_another_shape_in_each_task() -> None:
    """The mean image of a digit, its pixels put back, is unlike that of another task, and like that of the test."""
    means = []
    for number in range(2):
        task = draw_task(DrawnDigits(3000, 3000), 5, number, Variant.HARDENED)
        place, digit = np.argsort(task.pixel_permutation), np.argsort(task.label_permutation)
        for images, labels in ((task.train_images, task.train_labels), (task.test_images, task.test_labels)):
            restored = images.reshape(-1, PIXELS)[:, place]
            means.append(np.stack([restored[digit[labels] == d].mean(0) for d in range(10)]))
    first, first_test, second, _ = (mean - mean.mean(0) for mean in means)

    within = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, first_test, strict=True)]
    between = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]
    assert min(within) > 0.5
    assert np.mean(between) < np.mean(within) - 0.4
