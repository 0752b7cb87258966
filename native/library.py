"""Finds the compiled kernels for this processor, and calls them through ctypes.

The library is compiled once for each instruction set. The best one that the processor has is loaded.
"""

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import c_double, c_float, c_int, c_int64, c_long, c_void_p
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

__all__ = ["SOURCES", "VERSION", "Function", "Kind", "Library", "Network", "Shape", "find_library", "processor_flags"]

VERSION = 3
"""Version of the kernels. It is raised, here and in `interface.cpp`, with every change that may change a bit of a
result. A library of another version is not used."""

SOURCES = "d52ffc74ab0edfaa"
"""Digest of the C++ sources of this version. A test compares it, so that no change is forgotten."""

_INSTRUCTION_SETS: Mapping[str, frozenset[str]] = {
    "avx512": frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"}),
    "avx2": frozenset({"avx2", "fma"}),
}
"""Instruction sets, best first, and the flags of processors that have them."""

_FOLDER = Path(__file__).parent

_ABSENT = -1
"""A place of parameters that a layer does not have."""

_SIGNATURES: Mapping[str, tuple[Any, Sequence[Any]]] = {
    "version": (c_int, ()),
    "lanes": (c_int, ()),
    "network_new": (c_void_p, (c_void_p, c_int, c_int, c_int, c_void_p, c_void_p, c_void_p)),
    "network_delete": (None, (c_void_p,)),
    "network_loss": (c_float, (c_void_p, c_void_p, c_void_p, c_int, c_void_p)),
    "network_evaluate": (None, (c_void_p, c_void_p, c_int, c_void_p, c_void_p)),
    "network_sgd": (None, (c_void_p, c_void_p, c_long, c_float, c_float, c_float)),
    "network_adam": (None, (c_void_p,) * 3 + (c_long,) + (c_double,) * 3 + (c_int,) + (c_double,) * 3),
    "turn": (None, (c_void_p,) * 3 + (c_int, c_int, c_float, c_void_p)),
    "cut": (None, (c_void_p,) + (c_int,) * 4 + (c_void_p,) * 6 + (c_int, c_void_p)),
    "squared_norm": (c_double, (c_void_p, c_long)),
}


class Kind(IntEnum):
    """What a layer computes first, numbered as in `layers.hpp`."""

    LINEAR = 0
    """A matrix product."""
    CONVOLUTION = 1
    """A convolution whose padding is half of its kernel."""
    AVERAGE = 2
    """The mean over all pixels."""
    EMBEDDING = 3
    """A row of a table for each token."""


class Function(IntEnum):
    """Activation functions, numbered as in `layers.hpp`."""

    NONE = 0
    """x."""
    RELU = 1
    """max(x, 0)."""
    TANH = 2
    """tanh(x)."""


@dataclass(slots=True)
class Shape:
    """A layer as the kernels see it: what it computes first, and what follows.

    Channels are padded to a multiple of `Library.lanes`, except those of the network's inputs. A vector is an image of
    one pixel, a sequence an image of one row.

    Attributes:
        kind: What it computes first.
        inputs: Number of values or channels that it reads; of an embedding, the number of tokens that there are.
        height: Height of what it reads.
        width: Width of what it reads.
        outputs: Number of values or channels that it writes, padded.
        units: The same without padding.
        kernel_height: Height of a convolution's kernel, odd.
        kernel_width: Its width.
        stride: Its stride.
        pool_height: Height of the pixels of which the largest is kept. 1 for all.
        pool_width: Their width, 1 or 2.
        has_norm: Whether batch norm follows instead of a shift.
        activation: Its activation function.
        drops: Whether dropout follows.
        weights: Place of the weights in the parameters.
        shift: Place of the shifts. -1 if there are none.
        scale: Place of batch norm's scales.
        statistics: Place of its running means and variances in the statistics.
    """

    kind: Kind
    inputs: int
    height: int
    width: int
    outputs: int
    units: int
    kernel_height: int = 1
    kernel_width: int = 1
    stride: int = 1
    pool_height: int = 1
    pool_width: int = 1
    has_norm: int = 0
    activation: Function = Function.NONE
    drops: int = 0
    weights: int = _ABSENT
    shift: int = _ABSENT
    scale: int = _ABSENT
    statistics: int = _ABSENT

    @property
    def pixels(self) -> int:
        """Number of pixels of the outputs; 1 for vectors."""
        if self.kind not in (Kind.CONVOLUTION, Kind.EMBEDDING):
            return 1
        height, width = (-(-side // self.stride) for side in (self.height, self.width))
        return (height // self.pool_height) * (width // self.pool_width)

    @property
    def values(self) -> int:
        """Number of values of the outputs of an example, padding included."""
        return self.pixels * self.outputs


class Library:
    """Compiled kernels.

    Args:
        path: The shared library.
        instructions: Its instruction set.

    Attributes:
        name: Name and version of the kernels.
        version: The version that was compiled.
        lanes: Number of floats of a register. Channels are padded to a multiple of it.
        panel: Number of columns of weights that are kept together. The last panel has what is left, up to half as
            many again.
    """

    def __init__(self, path: Path, instructions: str) -> None:
        functions = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(functions, name)
            function.restype, function.argtypes = result, arguments
        self.functions = functions
        self.version: int = functions.version()
        self.name = f"native-{self.version}-{instructions}"
        self.lanes: int = functions.lanes()
        self.panel = 2 * self.lanes

    def padded(self, channels: int) -> int:
        """Return a number of channels, rounded up to whole registers."""
        return -(-channels // self.lanes) * self.lanes


class Network:
    """A network in the library. It reads and writes arrays of its caller, who keeps them alive.

    All arrays are float32, and addresses are those of their first elements.

    Args:
        library: The library.
        layers: The layers, inputs first.
        largest_batch: Largest number of examples at a time.
        threads: Number of threads. It does not change results.
        parameters: Address of the parameters.
        gradients: Address of as many gradients.
        statistics: Address of the running statistics of batch norm.

    Raises:
        MemoryError: There is no memory for its buffers.
    """

    def __init__(
        self,
        library: Library,
        layers: Sequence[Shape],
        largest_batch: int,
        threads: int,
        parameters: int,
        gradients: int,
        statistics: int,
    ) -> None:
        values = [int(getattr(layer, field.name)) for layer in layers for field in fields(Shape)]
        shapes = (c_int64 * len(values))(*values)
        self._functions = library.functions
        self._handle = self._functions.network_new(
            shapes, len(layers), largest_batch, threads, parameters, gradients, statistics
        )
        if not self._handle:
            raise MemoryError(f"no memory for a network of {len(layers)} layers and batches of {largest_batch}")

    def __del__(self) -> None:
        if self._handle:
            self._functions.network_delete(self._handle)

    def loss(self, inputs: int, labels: int, count: int, masks: Sequence[int]) -> float:
        """Return the mean cross entropy of a batch in nats, compute its gradients, and update the statistics.

        Args:
            inputs: Address of the examples, float32, pixel by pixel and channel by channel; or of tokens, int64.
            labels: Address of their labels, int64.
            count: Number of examples, at most `largest_batch`.
            masks: Address of the factors of dropout (count, padded values) for each layer; 0 if it does not drop.
        """
        addresses = (c_void_p * len(masks))(*masks)
        loss: float = self._functions.network_loss(self._handle, inputs, labels, count, addresses)
        return loss

    def evaluate(self, inputs: int, count: int, logits: int, extremes: int = 0) -> None:
        """Compute logits (count, classes) without dropout, by the running statistics.

        Args:
            inputs: As in `loss`.
            count: As in `loss`.
            logits: Address of the logits.
            extremes: Address of one float for each padded channel of each layer with an activation. It becomes the
                largest output of a relu, or the smallest magnitude of a tanh, if that goes beyond what is there. 0 for
                none.
        """
        self._functions.network_evaluate(self._handle, inputs, count, logits, extremes or None)

    def sgd(self, momenta: int, count: int, *, rate: float, decay: float, momentum: float) -> None:
        """Make a step of gradient descent with momentum on the gradients of the last `loss`.

        Args:
            momenta: Address of the momenta, which change.
            count: Number of parameters, padding included.
            rate: The learning rate.
            decay: Weight decay, an L2 term.
            momentum: Share of the momenta that stays.
        """
        self._functions.network_sgd(self._handle, momenta, count, rate, decay, momentum)

    def adam(
        self,
        means: int,
        squares: int,
        count: int,
        *,
        step: float,
        rate: float,
        decay: float,
        is_decoupled: bool,
        betas: tuple[float, float],
        epsilon: float,
    ) -> None:
        """Make a step of Adam on the gradients of the last `loss`.

        Args:
            means: Address of the means of the gradients, which change.
            squares: Address of those of their squares, which change.
            count: Number of parameters, padding included.
            step: Number of this step, from 1.
            rate: The learning rate.
            decay: Weight decay.
            is_decoupled: Whether the decay is apart from the gradients, as in AdamW.
            betas: Shares of the means and of the squares that stay.
            epsilon: Added to the root of the squares.
        """
        rest = step, rate, decay, is_decoupled, *betas, epsilon
        self._functions.network_adam(self._handle, means, squares, count, *rest)


@cache
def find_library() -> Library | None:
    """Return the kernels for this processor, or None if none of this version were compiled that it can run."""
    flags = processor_flags()
    for instructions, needed in _INSTRUCTION_SETS.items():
        paths = [_FOLDER / f"_{instructions}{suffix}" for suffix in EXTENSION_SUFFIXES]
        for path in filter(Path.exists, paths if needed <= flags else ()):
            if _version_of(path) == VERSION:
                return Library(path, instructions)
    return None


def _version_of(path: Path) -> int:
    """Return the version of a compiled library. One of another version may lack functions."""
    version: int = ctypes.CDLL(str(path)).version()
    return version


def processor_flags() -> frozenset[str]:
    """Return the flags of the processor as Linux names them (of ARM, the features). Empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    flags = next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(flags.split())
