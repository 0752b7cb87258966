"""Random transforms of whole batches by tensor operations, after standardisation.

`strength` scales every transform: 0 returns the examples bit for bit, 1 is the usual strength of the family. All
randomness comes from the given generator, which is the processor's: a seed transforms alike on every device.
"""

import math

import torch
from torch import Tensor

from ml_trainer_env.server.trainer.data import BORDER, TensorData
from ml_trainer_env.server.trainer.kinds import AugmentationKind
from ml_trainer_env.server.trainer.turning import Similarity, turned

__all__ = ["augmented"]

ROTATION_DEGREES = 15.0
DIGIT_SHIFT_PIXELS = 3.0
DIGIT_SCALE = 0.15
CLOTHES_SHIFT_PIXELS = 3
OBJECT_SHIFT_PIXELS = 4
FLIP_PROBABILITY = 0.5
COLOUR = 0.15
_FULL_SIDE = 28
"""Shifts are in pixels of images of at least this side. In smaller images they shrink with the side."""
NOISE_DEVIATION = 1.0
"""In standardised units: the noise has the deviation of the inputs."""


def augmented(data: TensorData, chosen: Tensor, strength: float, source: torch.Generator) -> Tensor:
    """Return some of the training examples, each transformed at random.

    Args:
        data: The task's examples and their family of transforms.
        chosen: int64 (N,), indices of training examples, on the device of the examples.
        strength: 0 to 1.
        source: The random generator.

    Returns:
        N examples with the dtype and layout of `data.train_inputs`. Images are float32 (N, C, H, W), channels last in
        memory.
    """
    if strength == 0.0 or data.augmentation is AugmentationKind.NONE:
        return data.train_inputs[chosen]
    if data.augmentation is AugmentationKind.DIGITS:
        return _turned(data, chosen, strength, _share_of_full_side(data), source)
    if data.augmentation is AugmentationKind.SCATTERED:
        return _noisy(data.train_inputs[chosen], strength * data.input_scale, source)
    # (N, H, W, C) is the order of images in memory. Plain operations keep it.
    reach = strength * _share_of_full_side(data)
    if data.augmentation is AugmentationKind.CLOTHES:
        pixels = _cropped(data, chosen, round(CLOTHES_SHIFT_PIXELS * reach), source)
        pixels = _flipped(pixels, strength, source)
    else:
        pixels = _cropped(data, chosen, round(OBJECT_SHIFT_PIXELS * reach), source)
        pixels = _coloured(_flipped(pixels, strength, source), strength, data.input_scale, source)
    return pixels.permute(0, 3, 1, 2)


def _uniform(shape: tuple[int, ...], bound: float, source: torch.Generator) -> Tensor:
    return torch.empty(shape).uniform_(-bound, bound, generator=source)


def _noisy(inputs: Tensor, strength: float, source: torch.Generator) -> Tensor:
    """Add Gaussian noise to every value of float examples of any shape, in place."""
    noise = torch.empty_like(inputs, device="cpu").normal_(0.0, NOISE_DEVIATION * strength, generator=source)
    return inputs.add_(noise.to(inputs.device))


def _share_of_full_side(data: TensorData) -> float:
    return min(1.0, data.input_shape[-1] / _FULL_SIDE)


def _turned(data: TensorData, chosen: Tensor, strength: float, share: float, source: torch.Generator) -> Tensor:
    """Return training images (N, C, H, W), rotated, scaled and shifted by random similarities, sampled bilinearly.

    `share` is the factor of the shifts.
    """
    count, side = len(chosen), data.input_shape[-1]
    angle = _uniform((count, 1), math.radians(ROTATION_DEGREES) * strength, source)
    zoom = 1.0 + _uniform((count, 1), DIGIT_SCALE * strength, source)
    # The image is 2 wide in these coordinates.
    shift = _uniform((count, 2), 2.0 * DIGIT_SHIFT_PIXELS * share * strength / side, source)
    cosine, sine = angle.cos() / zoom, angle.sin() / zoom
    similarity = Similarity(*(numbers.to(data.device) for numbers in (cosine, sine, shift)))
    return turned(data.train_inputs, chosen, data.black, similarity, data.kernels)


def _cropped(data: TensorData, chosen: Tensor, distance: int, source: torch.Generator) -> Tensor:
    """Return training images (N, H, W, C), each shifted by up to `distance` pixels. Black moves in at the edges.

    One gather cuts the shifted images out of the bordered ones.
    """
    bordered = data.bordered_train_images
    count, height, width, channels = bordered.shape
    height, width, places = height - 2 * BORDER, width - 2 * BORDER, 2 * BORDER + 1
    by_image, by_row, by_column, _ = bordered.stride()
    windows = bordered.as_strided(
        (count, places, places, height, width * channels),
        (by_image, by_row, by_column, by_row, 1),
    )
    offsets = torch.randint(BORDER - distance, BORDER + distance + 1, (2, len(chosen)), generator=source)
    offsets = offsets.to(bordered.device)
    return windows[chosen, offsets[0], offsets[1]].view(-1, height, width, channels)


def _flipped(images: Tensor, strength: float, source: torch.Generator) -> Tensor:
    """Flip some of the images, (N, H, W, C), horizontally."""
    chance = torch.rand(images.shape[0], generator=source)
    chosen = (chance < FLIP_PROBABILITY * strength).nonzero().squeeze(1).to(images.device)
    return images.index_copy(0, chosen, images[chosen].flip(2))


def _coloured(images: Tensor, strength: float, scale: float, source: torch.Generator) -> Tensor:
    """Change each channel of each image, (N, H, W, C), by a random gain and offset: contrast, light, tint.

    The offsets are multiplied by `scale`, like the standardised images before.
    """
    shape = (images.shape[0], 1, 1, images.shape[3])
    gain = (1.0 + _uniform(shape, COLOUR * strength, source)).to(images.device)
    offset = _uniform(shape, COLOUR * strength * scale, source).to(images.device)
    return torch.addcmul(offset, images, gain)
