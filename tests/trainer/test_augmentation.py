"""Augmentation of whole batches: what it keeps, what it moves, where its randomness comes from."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ml_trainer_env.native import Library
from ml_trainer_env.server.trainer.augmentation import augmented
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.trainer.kinds import AugmentationKind
from ml_trainer_env.server.trainer.randomness import Purpose, generator
from ml_trainer_env.server.trainer.turning import _similarity_grid

kinds = pytest.mark.parametrize("kind", [kind for kind in AugmentationKind if kind is not AugmentationKind.NONE])


Tensors = Callable[..., TensorData]


def tensors_of(
    kernels: Library | None, kind: AugmentationKind, images: np.ndarray | None = None, scale: float = 1.0
) -> TensorData:
    """Training images of a family: noise, unless given as uint8."""
    if images is None:
        shape = (64, 32, 32, 3) if kind is AugmentationKind.OBJECTS else (64, 28, 28)
        images = np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8)
    labels = np.zeros(len(images), np.int64)
    return TensorData(Examples("images", kind, *[images, labels] * 3, input_scale=scale), kernels=kernels)


@pytest.fixture
def tensors(kernels: Library | None) -> Tensors:
    """Creates training images, for either kernels."""
    return partial(tensors_of, kernels)


def run(data: TensorData, strength: float, epoch: int = 0) -> torch.Tensor:
    everyone = torch.arange(len(data.train_labels))
    return augmented(data, everyone, strength, generator(Purpose.AUGMENTATION, 1, epoch))


@kinds
def test_strength_zero_gives_the_images_back_bit_for_bit(tensors: Tensors, kind: AugmentationKind) -> None:
    data = tensors(kind)

    assert torch.equal(run(data, 0.0), data.train_inputs)


def test_no_transforms_give_the_images_back_at_any_strength(tensors: Tensors) -> None:
    data = tensors(AugmentationKind.NONE)

    assert torch.equal(run(data, 1.0), data.train_inputs)


@kinds
def test_the_images_of_the_task_are_left_as_they_are(tensors: Tensors, kind: AugmentationKind) -> None:
    data = tensors(kind)
    before = data.train_inputs.clone()

    for epoch in range(2):
        run(data, 1.0, epoch)

    assert torch.equal(data.train_inputs, before)


@kinds
def test_the_same_generator_gives_the_same_images_and_another_epoch_others(
    tensors: Tensors, kind: AugmentationKind
) -> None:
    data = tensors(kind)

    assert torch.equal(run(data, 1.0), run(tensors(kind), 1.0))
    assert not torch.equal(run(data, 1.0, epoch=0), run(data, 1.0, epoch=1))


@kinds
def test_a_stronger_setting_moves_images_further(tensors: Tensors, kind: AugmentationKind) -> None:
    data = tensors(kind)

    moved = [(run(data, strength) - data.train_inputs).abs().mean().item() for strength in (0.1, 1.0)]

    assert moved[0] < moved[1]


@kinds
def test_shape_type_and_memory_order_are_kept(tensors: Tensors, kind: AugmentationKind) -> None:
    data = tensors(kind)

    out = run(data, 1.0)

    assert out.shape == data.train_inputs.shape
    assert out.dtype == data.train_inputs.dtype
    assert out.is_contiguous(memory_format=torch.channels_last)


@kinds
def test_scaled_images_are_transformed_as_those_that_are_not_scaled(tensors: Tensors, kind: AugmentationKind) -> None:
    plain, scaled = run(tensors(kind), 1.0), run(tensors(kind, scale=0.25), 1.0)

    torch.testing.assert_close(scaled, plain * 0.25)


def test_clothes_are_only_flipped_and_shifted_so_every_pixel_is_an_old_one_or_black(tensors: Tensors) -> None:
    data = tensors(AugmentationKind.CLOTHES)

    for before, after in zip(data.train_inputs, run(data, 1.0), strict=True):
        known = torch.cat([before.flatten(), data.black])
        assert torch.isin(after.flatten(), known).all()


def test_a_shift_stays_within_its_bound(tensors: Tensors) -> None:
    dots = np.zeros((200, 28, 28), np.uint8)
    dots[:, 14, 14] = 255
    data = tensors(AugmentationKind.CLOTHES, dots)

    places = (run(data, 1.0) > data.black).nonzero()[:, 2:]

    assert len(places) == 200
    assert ((places[:, 0] - 14).abs() <= 3).all()
    assert ((places[:, 1] - 13.5).abs() <= 3.5).all()  # a flip takes column 14 to 13
    assert len(places.unique(dim=0)) > 20


def test_scattered_pixels_get_noise_as_strong_as_the_signal_each_by_itself(tensors: Tensors) -> None:
    data = tensors(AugmentationKind.SCATTERED)

    noise = run(data, 1.0) - data.train_inputs

    assert noise.std().item() == pytest.approx(1.0, abs=0.02)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.02)
    assert noise.flatten().unique().numel() > 0.9 * noise.numel()


def test_about_half_of_the_images_are_mirrored_at_full_strength(tensors: Tensors) -> None:
    left = np.zeros((2000, 32, 32, 3), np.uint8)
    left[:, :, :8] = 255

    out = run(tensors(AugmentationKind.OBJECTS, left), 1.0)

    mirrored = (out[:, 0, 16].argmax(1) >= 16).float().mean().item()
    assert 0.4 < mirrored < 0.6


def test_the_grid_of_a_similarity_is_that_of_its_matrix() -> None:
    angle, shift = torch.linspace(-1, 1, 5)[:, None], torch.rand(5, 2)
    cosine, sine = angle.cos(), angle.sin()
    matrices = torch.stack([cosine, -sine, shift[:, :1], sine, cosine, shift[:, 1:]], 1).view(5, 2, 3)

    grid = _similarity_grid(cosine, sine, shift, 28)

    torch.testing.assert_close(grid, F.affine_grid(matrices, [5, 1, 28, 28], align_corners=False))
