"""A task is a value: one permutation of pixels and one of labels, the same for the same seed, new for each task."""

import numpy as np
import pytest

from permuted_mnist.mnist import Mnist, load_mnist
from permuted_mnist.tasks import PIXELS, Variant, draw_task


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


def test_a_hardened_image_is_none_that_was_published(mnist: Mnist) -> None:
    """Its sorted values, which no permutation changes, are those of no image that there is."""
    task = draw_task(mnist, seed=0, number=0, variant=Variant.HARDENED)
    published = {np.sort(image.ravel()).tobytes() for image in mnist.test_images}
    seen = {np.sort(np.rint(image.ravel() * 255).astype(np.uint8)).tobytes() for image in task.test_images}

    assert not published & seen
