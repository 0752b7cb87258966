"""Random transforms of whole batches by tensor operations, after standardisation.

`strength` scales every transform: 0 returns the examples bit for bit, 1 is the usual strength of the family. All
randomness comes from the given generator, which is the processor's: a seed transforms alike on every device.
"""

import math

import torch
from torch import Tensor

from ml_trainer_env.server.trainer.cutting import Cuts, cut
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
        return _gathered(data, chosen)
    if data.augmentation is AugmentationKind.DIGITS:
        return _turned(data, chosen, strength, _share_of_full_side(data), source)
    if data.augmentation is AugmentationKind.SCATTERED:
        return _noisy(_gathered(data, chosen), strength * data.input_scale, source)
    return _shifted(data, chosen, strength, strength * _share_of_full_side(data), source)


def _gathered(data: TensorData, chosen: Tensor) -> Tensor:
    """Return copies of training examples. Those of images are whole runs of memory, (H, W, C), which is fast."""
    if data.train_inputs.dim() == 4:
        return data.train_inputs.permute(0, 2, 3, 1).index_select(0, chosen).permute(0, 3, 1, 2)
    return data.train_inputs.index_select(0, chosen)


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


def _shifted(data: TensorData, chosen: Tensor, strength: float, reach: float, source: torch.Generator) -> Tensor:
    """Return training images (N, C, H, W), shifted, and some flipped. Those of objects change their colours, too.

    Black moves in at the edges. `reach` is the factor of the shifts. Colours are changed by a random gain and offset of
    each channel: contrast, light, tint. The offsets are multiplied by the examples' scale, like the images before.
    """
    is_clothes, count = data.augmentation is AugmentationKind.CLOTHES, len(chosen)
    distance = round((CLOTHES_SHIFT_PIXELS if is_clothes else OBJECT_SHIFT_PIXELS) * reach)
    rows, columns = torch.randint(BORDER - distance, BORDER + distance + 1, (2, count), generator=source)
    flips = torch.rand(count, generator=source) < FLIP_PROBABILITY * strength
    cuts = Cuts(rows, columns, flips)
    if not is_clothes:
        shape = (count, data.input_shape[0])
        gains = 1.0 + _uniform(shape, COLOUR * strength, source)
        offsets = _uniform(shape, COLOUR * strength * data.input_scale, source)
        cuts = Cuts(rows, columns, flips, gains, offsets)
    images = cut(data.bordered_train_images, BORDER, chosen, cuts, data.kernels)
    return images.permute(0, 3, 1, 2)  # (N, H, W, C) is the order of images in memory
