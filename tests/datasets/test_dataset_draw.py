"""The draw: the same images whatever order they come in, and none of them twice."""

import pickle

import numpy as np
import pytest

from ml_trainer_env.server.datasets import DatasetError, DatasetName, ImageRequest, ImageSet, Source, TaskExamples
from ml_trainer_env.server.datasets.draw import MNIST_POOL_SIZE, draw_from_set, order_canonically, permute


def shuffle_training_images(images: ImageSet, seed: int) -> ImageSet:
    order = permute(len(images.train_labels), seed)
    return ImageSet(images.train_images[order], images.train_labels[order], images.test_images, images.test_labels)


def all_images(task: TaskExamples) -> np.ndarray:
    return np.concatenate([task.train_inputs, task.validation_inputs, task.test_inputs])


def test_the_order_of_the_file_does_not_change_the_draw(fashion_set, small_fashion_request):
    drawn = draw_from_set(small_fashion_request, fashion_set, Source.CACHE)
    again = draw_from_set(small_fashion_request, shuffle_training_images(fashion_set, seed=3), Source.CACHE)

    assert drawn.checksum == again.checksum
    np.testing.assert_array_equal(drawn.train_inputs, again.train_inputs)


def test_images_that_differ_in_their_label_alone_have_an_order_of_their_own():
    images = np.zeros((2, 28, 28), dtype=np.uint8)

    first = order_canonically(images, np.array([3, 8]))
    second = order_canonically(images, np.array([8, 3]))

    assert first.tolist() != second.tolist()


def test_another_seed_draws_other_images(fashion_set, small_fashion_request):
    request = small_fashion_request
    other = ImageRequest(request.dataset, request.train_size, request.validation_size, request.test_size, seed=8)

    assert (
        draw_from_set(request, fashion_set, Source.CACHE).checksum
        != draw_from_set(other, fashion_set, Source.CACHE).checksum
    )


def test_no_image_is_drawn_twice(fashion_set, small_fashion_request):
    drawn = all_images(draw_from_set(small_fashion_request, fashion_set, Source.CACHE))

    assert len(np.unique(drawn, axis=0)) == len(drawn)


def test_labels_stay_with_their_images(fashion_set, small_fashion_request):
    known = {
        image.tobytes(): label for image, label in zip(fashion_set.train_images, fashion_set.train_labels, strict=True)
    }

    drawn = draw_from_set(small_fashion_request, fashion_set, Source.CACHE)

    assert [known[image.tobytes()] for image in drawn.train_inputs] == drawn.train_labels.tolist()


def test_held_out_images_are_the_first_test_images_of_the_file(fashion_set, small_fashion_request):
    drawn = draw_from_set(small_fashion_request, fashion_set, Source.CACHE)

    np.testing.assert_array_equal(drawn.test_inputs, fashion_set.test_images[:8])
    np.testing.assert_array_equal(drawn.test_labels, fashion_set.test_labels[:8])


def test_mnist_draws_all_of_its_parts_from_the_first_10_000_training_images():
    images = np.zeros((MNIST_POOL_SIZE + 5, 28, 28), dtype=np.uint8)
    images[:, 0, 0] = np.arange(len(images)) % 256
    images[:, 0, 1] = np.arange(len(images)) // 256
    whole = ImageSet(images, np.zeros(len(images), dtype=np.int64), images[:1], np.zeros(1, dtype=np.int64))
    request = ImageRequest(DatasetName.MNIST, 4000, 1000, 5000, seed=42)

    drawn = all_images(draw_from_set(request, whole, Source.CACHE))

    numbers = drawn[:, 0, 0].astype(int) + 256 * drawn[:, 0, 1].astype(int)
    assert sorted(numbers) == list(range(MNIST_POOL_SIZE))


@pytest.mark.parametrize(("train_size", "test_size"), [(51, 8), (20, 21)])
def test_a_request_for_more_than_there_is_says_how_much_there_is(fashion_set, train_size, test_size):
    request = ImageRequest(DatasetName.FASHION_MNIST, train_size, validation_size=10, test_size=test_size, seed=7)

    with pytest.raises(DatasetError, match=r"needs at least .* and there are"):
        draw_from_set(request, fashion_set, Source.CACHE)


def test_a_file_of_mnist_without_the_pool_is_refused():
    images = np.zeros((100, 28, 28), dtype=np.uint8)
    labels = np.zeros(100, dtype=np.int64)
    request = ImageRequest(DatasetName.MNIST, 10, 10, 10, seed=1)

    with pytest.raises(DatasetError, match="needs at least 10,000 training images"):
        draw_from_set(request, ImageSet(images, labels, images, labels), Source.CACHE)


def test_the_permutation_of_a_seed_never_changes():
    assert permute(10, seed=42).tolist() == [4, 8, 1, 9, 3, 6, 0, 7, 2, 5]


def test_the_arrays_are_contiguous_and_read_only(fashion_set, small_fashion_request):
    drawn = draw_from_set(small_fashion_request, fashion_set, Source.CACHE)

    for array in (drawn.train_inputs, drawn.validation_labels, drawn.test_inputs):
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_the_arrays_have_their_documented_types_and_shapes(fashion_set, small_fashion_request):
    drawn = draw_from_set(small_fashion_request, fashion_set, Source.CACHE)

    assert (drawn.train_inputs.dtype, drawn.train_inputs.shape) == (np.uint8, (20, 28, 28))
    assert (drawn.validation_labels.dtype, drawn.validation_labels.shape) == (np.int64, (10,))
    assert (drawn.test_inputs.dtype, drawn.test_inputs.shape) == (np.uint8, (8, 28, 28))


def test_the_examples_of_a_task_pickle(fashion_set, small_fashion_request):
    drawn = draw_from_set(small_fashion_request, fashion_set, Source.CACHE)

    copy = pickle.loads(pickle.dumps(drawn))

    assert copy.checksum == drawn.checksum
    np.testing.assert_array_equal(copy.train_inputs, drawn.train_inputs)


def test_a_request_for_more_of_mnist_than_the_pool_draws_from_all_and_is_tested_on_test_images(random_images):
    whole = random_images(DatasetName.MNIST, train_size=12_000, test_size=30)
    request = ImageRequest(DatasetName.MNIST, 11_000, 1_000, 30, seed=5)

    drawn = draw_from_set(request, whole, Source.CACHE)

    np.testing.assert_array_equal(drawn.test_inputs, whole.test_images)
    drawn_images = np.concatenate([drawn.train_inputs, drawn.validation_inputs])
    assert {image.tobytes() for image in drawn_images} == {image.tobytes() for image in whole.train_images}
