"""Closed sets of names that tasks and the trainer share. Torch is not imported."""

from enum import StrEnum

__all__ = ["Activation", "AugmentationKind", "Device", "Kernels", "NetworkKind", "Precision"]


class NetworkKind(StrEnum):
    """The kinds of networks that can be built."""

    MLP = "mlp"
    """Perceptron: hidden layers of equal width, with dropout after each."""
    CNN = "cnn"
    """3 x 3 convolutions for images. Block `i`, counted from 1, has `i` times the width as channels."""
    CNN_1D = "cnn_1d"
    """Convolutions of length 5 over sequences and tokens, then the mean over positions. Each block has the width as
    channels. Tokens are embedded first."""
    TRANSFORMER = "transformer"
    """Pre-norm transformer for sequences and tokens, with learned positions. It predicts classes or the next token."""


class Device(StrEnum):
    """Where epochs are computed."""

    CPU = "cpu"
    """The processor."""
    CUDA = "cuda"
    """A GPU of NVIDIA, the first one that the worker sees. Torch computes."""


class Kernels(StrEnum):
    """What can be asked to compute epochs."""

    AUTO = "auto"
    """The native kernels where they work and have all parts of a network, else torch."""
    NATIVE = "native"
    """The same, but it is an error if the native kernels do not work."""
    TORCH = "torch"
    """Torch."""


class Precision(StrEnum):
    """The numbers that epochs are computed in. Weights, gradients and losses are float32 in either."""

    FP32 = "fp32"
    """float32."""
    BF16 = "bf16"
    """Products and activations are bfloat16, by torch's automatic casts. For processors with instructions for it."""


class Activation(StrEnum):
    """Activation functions."""

    RELU = "relu"
    """max(x, 0)."""
    TANH = "tanh"
    """tanh(x)."""


class AugmentationKind(StrEnum):
    """Families of random transforms. Each suits some examples."""

    DIGITS = "digits"
    """Images: shift, rotation and scale."""
    CLOTHES = "clothes"
    """Images: horizontal flip and shift."""
    OBJECTS = "objects"
    """Images: horizontal flip, crop after padding, and colour."""
    SCATTERED = "scattered"
    """Gaussian noise on every value, for examples whose neighbouring values are unrelated."""
    NONE = "none"
    """No transforms. The only family for tokens."""
