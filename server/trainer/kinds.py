"""Closed sets of names that tasks and the trainer share. Needs no torch."""

from enum import StrEnum

__all__ = ["AugmentationKind", "NetworkName"]


class NetworkName(StrEnum):
    """The networks on offer."""

    SIMPLE_MLP = "simple_mlp"
    """Perceptron 784-128-10 for 28 x 28 images: 101,770 parameters."""
    SMALL_CNN = "small_cnn"
    """Two convolutions and a hidden layer for 28 x 28 images: about 200,000 parameters."""
    DEEPER_CNN = "deeper_cnn"
    """Convolutions with batch norm and a hidden layer for 32 x 32 x 3: about 500,000."""
    BATCH_NORM_MLP = "batch_norm_mlp"
    """Perceptron 784-256-256-10 with batch norm for 28 x 28 images in any order of pixels: 269,834 parameters."""


class AugmentationKind(StrEnum):
    """Which family of random transforms suits the images."""

    DIGITS = "digits"
    """Shift, rotation and scale."""
    CLOTHES = "clothes"
    """Horizontal flip and shift."""
    OBJECTS = "objects"
    """Horizontal flip, crop after padding, and colour."""
    SCATTERED = "scattered"
    """Gaussian noise on every pixel: where neighbours mean nothing, neither does a shift or a flip."""
