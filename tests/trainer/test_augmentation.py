"""Augmentation of whole batches: what it keeps, what it moves, where its randomness comes from."""

import pytest
import torch
import torch.nn.functional as F

from ml_trainer_env.server.trainer.augmentation import _similarity_grid, augment
from ml_trainer_env.server.trainer.kinds import AugmentationKind
from ml_trainer_env.server.trainer.randomness import Purpose, generator

CHANNELS = {AugmentationKind.DIGITS: 1, AugmentationKind.CLOTHES: 1, AugmentationKind.OBJECTS: 3}
kinds = pytest.mark.parametrize("kind", list(AugmentationKind))


def batch(kind: AugmentationKind, count: int = 64) -> torch.Tensor:
    side = 32 if kind is AugmentationKind.OBJECTS else 28
    images = torch.rand(count, CHANNELS[kind], side, side, generator=torch.Generator().manual_seed(0))
    return images.contiguous(memory_format=torch.channels_last)


def black(kind: AugmentationKind) -> torch.Tensor:
    return torch.full((CHANNELS[kind],), -0.5)


def run(kind: AugmentationKind, strength: float, epoch: int = 0) -> torch.Tensor:
    return augment(kind, batch(kind), black(kind), strength, generator(Purpose.AUGMENTATION, 1, epoch))


@kinds
def test_strength_zero_gives_the_images_back_bit_for_bit(kind: AugmentationKind) -> None:
    assert torch.equal(run(kind, 0.0), batch(kind))


@kinds
def test_the_images_given_are_left_as_they_are(kind: AugmentationKind) -> None:
    images, before = batch(kind), batch(kind)

    augment(kind, images, black(kind), 1.0, generator(Purpose.AUGMENTATION, 1, 0))

    assert torch.equal(images, before)


@kinds
def test_the_same_generator_gives_the_same_images_and_another_epoch_others(kind: AugmentationKind) -> None:
    assert torch.equal(run(kind, 1.0), run(kind, 1.0))
    assert not torch.equal(run(kind, 1.0, epoch=0), run(kind, 1.0, epoch=1))


@kinds
def test_a_stronger_setting_moves_images_further(kind: AugmentationKind) -> None:
    moved = [(run(kind, strength) - batch(kind)).abs().mean().item() for strength in (0.2, 1.0)]

    assert 0.0 < moved[0] < moved[1]


@kinds
def test_shape_type_and_memory_order_are_kept(kind: AugmentationKind) -> None:
    out, images = run(kind, 1.0), batch(kind)

    assert out.shape == images.shape
    assert out.dtype == images.dtype
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_clothes_are_only_flipped_and_shifted_so_every_pixel_is_an_old_one_or_black() -> None:
    kind = AugmentationKind.CLOTHES
    out, images = run(kind, 1.0), batch(kind)

    for before, after in zip(images, out, strict=True):
        known = torch.cat([before.flatten(), black(kind)])
        assert torch.isin(after.flatten(), known).all()


def test_a_shift_stays_within_its_bound() -> None:
    kind = AugmentationKind.CLOTHES
    dot = torch.full((200, 1, 28, 28), -0.5)
    dot[:, :, 14, 14] = 1.0

    out = augment(
        kind, dot.contiguous(memory_format=torch.channels_last), black(kind), 1.0, generator(Purpose.ORDER, 0, 0)
    )

    places = (out == 1.0).nonzero()[:, 2:]
    assert len(places) == 200
    assert ((places[:, 0] - 14).abs() <= 3).all()
    assert ((places[:, 1] - 13.5).abs() <= 3.5).all()  # a flip takes column 14 to 13
    assert len(places.unique(dim=0)) > 20


def test_about_half_of_the_images_are_mirrored_at_full_strength() -> None:
    kind = AugmentationKind.OBJECTS
    left = torch.zeros(2000, 3, 32, 32)
    left[..., :8] = 100.0  # far above anything that colour can do

    out = augment(
        kind, left.contiguous(memory_format=torch.channels_last), black(kind), 1.0, generator(Purpose.ORDER, 0, 0)
    )

    mirrored = (out[:, 0, 16].argmax(1) >= 16).float().mean().item()
    assert 0.4 < mirrored < 0.6


def test_the_grid_of_a_similarity_is_that_of_its_matrix() -> None:
    angle, shift = torch.linspace(-1, 1, 5)[:, None], torch.rand(5, 2)
    cosine, sine = angle.cos(), angle.sin()
    matrices = torch.stack([cosine, -sine, shift[:, :1], sine, cosine, shift[:, 1:]], 1).view(5, 2, 3)

    grid = _similarity_grid(cosine, sine, shift, 28)

    torch.testing.assert_close(grid, F.affine_grid(matrices, [5, 1, 28, 28], align_corners=False))
