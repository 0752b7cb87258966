"""Closed sets of names that tasks and the trainer share. Needs no torch."""

from enum import StrEnum

__all__ = ["Activation", "AugmentationKind", "NetworkKind"]


class NetworkKind(StrEnum):
    """The kinds of networks that can be built."""

    MLP = "mlp"
    """Perceptron: hidden layers of equal width, dropout after each of them."""
    CNN = "cnn"
    """3 x 3 convolutions for images. Block `i`, counted from 1, has `i` times the width as channels."""


class Activation(StrEnum):
    """The function between two layers."""

    RELU = "relu"
    """max(x, 0)."""
    TANH = "tanh"
    """The hyperbolic tangent."""


class AugmentationKind(StrEnum):
    """Which family of random transforms suits the examples."""

    DIGITS = "digits"
    """Images: shift, rotation and scale."""
    CLOTHES = "clothes"
    """Images: horizontal flip and shift."""
    OBJECTS = "objects"
    """Images: horizontal flip, crop after padding, and colour."""
    SCATTERED = "scattered"
    """Gaussian noise on every value, for examples in which neighbouring values have nothing in common."""
    NONE = "none"
    """No transforms: the examples stay as they are. The only family for tokens."""
