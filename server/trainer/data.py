"""The examples of a task as tensors. They are standardised once."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ml_trainer_env.native import Library
from ml_trainer_env.server.datasets import ExampleKind
from ml_trainer_env.server.trainer.changes import ChangedExamples, Drift, TrainingData
from ml_trainer_env.server.trainer.devices import CPU, opened_device
from ml_trainer_env.server.trainer.examples import Examples, PermutedExamples
from ml_trainer_env.server.trainer.kernels import check_precision, chosen_kernels
from ml_trainer_env.server.trainer.kinds import Device, Kernels, Precision

__all__ = ["BORDER", "EVALUATION_BATCH", "TensorData", "prepare"]

BORDER = 4
"""Width of the border of `bordered_train_images`, in pixels. No shift exceeds it."""

EVALUATION_BATCH = 64
"""Default number of examples evaluated together. Batches of 500 took three times as long for each image on some
processors, because their activations do not fit the cache. `ml-trainer-measure` finds the best number."""

_TRAIN_SAMPLE = 1_000

_CONSTANT = 1e-6
"""A column whose deviation is below this share of its mean counts as constant, and is only shifted."""


def prepare(data: TrainingData, options: Mapping[str, int | str]) -> "TensorData":
    """Convert examples to tensors. An executor calls this once for each `data.key`, where its jobs run.

    Args:
        data: The examples.
        options: `evaluation_batch` is the number of examples evaluated together, `kernels` one of `Kernels`,
            `precision` one of `Precision`, `device` one of `Device`. Other options are ignored.

    Raises:
        KernelError: The options ask for what this processor lacks.
        DeviceError: The options ask for a device that is not there.
    """
    batch = int(options.get("evaluation_batch", EVALUATION_BATCH))
    wanted = Kernels(str(options.get("kernels", Kernels.AUTO)))
    precision = Precision(str(options.get("precision", Precision.FP32)))
    device = opened_device(Device(str(options.get("device", Device.CPU))))
    check_precision(precision, device)
    is_native = precision is Precision.FP32 and device.type == Device.CPU  # nothing else is what the kernels compute
    return TensorData(data, batch, chosen_kernels(wanted if is_native else Kernels.TORCH), precision, device)


class TensorData:
    """`Examples` as tensors.

    Images become float32 (N, C, H, W), channels last in memory, standardised by channel. Tables become float32
    (N, columns), standardised by column. Sequences become float32 (N, length, channels), standardised by channel.
    Mean and deviation are those of the training examples. Standardised values are then multiplied by `input_scale`.
    Tokens become int64 (N, length).

    Drift applies to standardised values, before they are multiplied by `input_scale`. Images are then shifted, and
    black moves in at the edges.

    Args:
        data: The examples.
        evaluation_batch: Number of examples evaluated together, at least 1. It may change the bits of accuracies and
            losses.
        kernels: The native kernels that train on these examples and evaluate them. None for torch.
        precision: The precision that torch computes in. The native kernels compute in float32.
        device: Where all tensors are, and where torch computes.

    Attributes:
        train_sample: The train accuracy is measured on this many first training examples.
        kind: That of `Examples`. So are `augmentation`, `input_shape`, `input_scale`, `outputs` and `target`.
        train_labels: int64, like the other labels.

    Raises:
        ValueError: `evaluation_batch` is below 1.
    """

    def __init__(
        self,
        data: TrainingData,
        evaluation_batch: int = EVALUATION_BATCH,
        kernels: Library | None = None,
        precision: Precision = Precision.FP32,
        device: torch.device = CPU,
    ) -> None:
        if evaluation_batch < 1:
            raise ValueError(f"evaluation_batch must be at least 1, got {evaluation_batch}")
        examples = data if isinstance(data, Examples) else data.base
        self._data, self.device = data, device
        self._base = examples
        self._change = data if isinstance(data, ChangedExamples) else None
        self._drift = self._change.drift() if self._change else None
        self._permutation = data.permutation if isinstance(data, PermutedExamples) else None
        self.evaluation_batch, self.kernels, self.precision = evaluation_batch, kernels, precision
        self.kind, self.target, self.outputs = examples.kind, examples.target, examples.outputs
        self.augmentation, self.input_shape = examples.augmentation, examples.input_shape
        self.input_scale = examples.input_scale
        self._mean, self._deviation = _statistics(examples)
        train_labels = self._change.train_labels() if self._change else examples.train_labels
        self.train_inputs, self.train_labels = self._part(examples.train_inputs, train_labels)
        self.validation_inputs, self.validation_labels = self._part(
            examples.validation_inputs, self._held_out_labels(examples.validation_labels)
        )
        self.test_inputs, self.test_labels = self._part(
            examples.test_inputs, self._held_out_labels(examples.test_labels)
        )
        self.train_sample = min(len(self.train_labels), _TRAIN_SAMPLE)

    @cached_property
    def bordered_train_images(self) -> Tensor:
        """The training images with a black border, (N, H + 8, W + 8, C). Shifted images are cut out of them."""
        images = self.train_inputs.permute(0, 2, 3, 1)
        count, height, width, channels = images.shape
        bordered = self.black.expand(count, height + 2 * BORDER, width + 2 * BORDER, channels).contiguous()
        bordered[:, BORDER:-BORDER, BORDER:-BORDER] = images
        return bordered

    @cached_property
    def unchanged(self) -> "TensorData":
        """The examples before a change on the way. Without a change, these examples."""
        if self._change is None:
            return self
        return TensorData(self._base, self.evaluation_batch, self.kernels, self.precision, self.device)

    @cached_property
    def on_cpu(self) -> "TensorData":
        """The same on the processor, in fp32."""
        if self.device.type == Device.CPU and self.precision is Precision.FP32:
            return self
        return TensorData(self._data, self.evaluation_batch, self.kernels)

    @property
    def black(self) -> Tensor:
        """The standardised value of a black pixel, (C,), on the device."""
        return self._black.to(self.device)

    @property
    def _black(self) -> Tensor:
        black = -self._mean / self._deviation
        return (black if self._drift is None else _drifted(black, self._drift)) * self.input_scale

    def _held_out_labels(self, labels: np.ndarray) -> np.ndarray:
        return labels if self._change is None else self._change.held_out_labels(labels)

    def _part(self, inputs: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        labels = labels.astype(np.int64)
        if self._permutation is not None:
            inputs, labels = self._permutation.of_images(inputs), self._permutation.of_labels(labels)
        return self._prepared(inputs).to(self.device), torch.from_numpy(labels).to(self.device)

    def _prepared(self, inputs: np.ndarray) -> Tensor:
        if self.kind is ExampleKind.TOKENS:
            tokens = inputs if self._change is None else self._change.tokens(inputs)
            return torch.from_numpy(tokens.astype(np.int64))
        if self.kind is ExampleKind.IMAGES:
            numbers = torch.from_numpy(_nhwc(inputs).astype(np.float32)).div_(255.0)
        else:
            numbers = torch.from_numpy(inputs.astype(np.float32))
        numbers.sub_(self._mean).div_(self._deviation)
        if self._drift is not None:
            numbers = _drifted(numbers, self._drift)
        if self.input_scale != 1.0:
            numbers.mul_(self.input_scale)
        if self.kind is not ExampleKind.IMAGES:
            return numbers
        if self._drift is not None:
            numbers = _shifted(numbers, self._drift, self._black)
        return numbers.permute(0, 3, 1, 2)


def _statistics(examples: Examples) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the training examples by channel or column, float32. Empty for tokens."""
    if examples.kind is ExampleKind.TOKENS:
        return torch.empty(0), torch.empty(0)
    if examples.kind is ExampleKind.IMAGES:
        pixels = _nhwc(examples.train_inputs).reshape(-1, examples.input_shape[0])
        return _float32(pixels.mean(0, np.float64) / 255.0), _float32(pixels.std(0, np.float64) / 255.0 + 1e-6)
    columns = examples.train_inputs.reshape(-1, examples.input_shape[-1])
    mean, deviation = columns.mean(0, np.float64), columns.std(0, np.float64)
    constant = deviation <= _CONSTANT * np.abs(mean)
    return _float32(mean), _float32(np.where(constant, 1.0, deviation))


def _float32(numbers: Any) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32)


def _nhwc(images: np.ndarray) -> np.ndarray:
    return images if images.ndim == 4 else images[..., None]


def _drifted(numbers: Tensor, drift: Drift) -> Tensor:
    """Multiply and move the channels or columns of standardised values (..., channels)."""
    return numbers * torch.from_numpy(drift.gain) + torch.from_numpy(drift.offset)


def _shifted(images: Tensor, drift: Drift, black: Tensor) -> Tensor:
    """Shift images (N, H, W, C). Black moves in at the edges."""
    shifted = images.roll((drift.rows, drift.columns), (1, 2))
    for axis, distance in ((1, drift.rows), (2, drift.columns)):
        if distance:
            start = 0 if distance > 0 else images.shape[axis] + distance
            shifted.narrow(axis, start, abs(distance)).copy_(black)
    return shifted
