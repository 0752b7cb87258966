"""Chooses what computes: the native kernels, or torch.

The kernels are used if they were compiled for this processor and agree with torch on a few small networks.
"""

import logging
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor

from ml_trainer_env.native import Library, find_library, processor_flags
from ml_trainer_env.server.datasets import ExampleKind
from ml_trainer_env.server.trainer.config import OptimizerKind, TrainingConfig
from ml_trainer_env.server.trainer.cutting import Cuts, cut
from ml_trainer_env.server.trainer.errors import KernelError
from ml_trainer_env.server.trainer.kinds import Activation, Device, Kernels, NetworkKind, Precision
from ml_trainer_env.server.trainer.learners import open_learner
from ml_trainer_env.server.trainer.network_specs import NetworkSpec
from ml_trainer_env.server.trainer.networks import draw_weights
from ml_trainer_env.server.trainer.state import TrainingState
from ml_trainer_env.server.trainer.turning import Similarity, turned

__all__ = ["check_precision", "chosen_kernels", "kernels_name"]

_TOLERANCE = 1e-4
"""Largest allowed difference from torch, relative to the largest number of each array."""

_EXAMPLES = 19
"""Number of examples of the comparison: a whole group of the kernels, and a part of one."""

_ABSENT = "they were not compiled for this processor, or are of another version"

_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Flags of processors that have instructions for bfloat16."""

_LOG = logging.getLogger(__name__)


@cache
def chosen_kernels(wanted: Kernels) -> Library | None:
    """Return the kernels that this process uses, or None for torch. It says once why torch is used.

    Args:
        wanted: What was asked for.

    Raises:
        KernelError: `wanted` is native, and the kernels are absent or wrong.
    """
    if wanted is Kernels.TORCH:
        return None
    library = find_library()
    problem = _problem(library) if library else _ABSENT
    if problem is None:
        return library
    if wanted is Kernels.NATIVE:
        raise KernelError(f"the native kernels cannot be used: {problem}")
    _LOG.warning("Torch computes everything, without the faster native kernels: %s.", problem)
    return None


def check_precision(precision: Precision, device: torch.device) -> None:
    """Check that a device has instructions for a precision.

    Raises:
        KernelError: It has none, so training would be slower than in float32.
    """
    if precision is Precision.FP32:
        return
    if device.type != Device.CPU:
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            raise KernelError("this GPU has no instructions for bf16")
    elif not _BF16_FLAGS & processor_flags():
        raise KernelError(f"this processor has no instructions for bf16 (one of {', '.join(sorted(_BF16_FLAGS))})")


def kernels_name(kernels: Library | None) -> str:
    """Return the name of the kernels in the identity."""
    return kernels.name if kernels else Kernels.TORCH.value


def _problem(library: Library) -> str | None:
    """Compare the kernels with torch. Returns what is wrong, or None."""
    for spec in _compared_networks():
        difference = _difference(library, spec)
        if not difference <= _TOLERANCE:
            return f"they differ from torch by {difference:.1e} on the network {spec.name}"
    for transform, difference_of in (("turned", _difference_of_turns), ("cut", _difference_of_cuts)):
        difference = difference_of(library)
        if not difference <= _TOLERANCE:
            return f"they differ from torch by {difference:.1e} on {transform} images"
    return None


def _compared_networks() -> Iterator[NetworkSpec]:
    yield NetworkSpec(NetworkKind.MLP, (1, 5, 5), 3, depth=2, width=20, norm=True)
    yield NetworkSpec(NetworkKind.CNN, (3, 9, 8), 4, depth=3, width=9, norm=True, first_stride=2, hidden=10)
    yield NetworkSpec(NetworkKind.CNN, (1, 8, 9), 4, depth=2, width=17, activation=Activation.TANH)
    yield NetworkSpec(NetworkKind.CNN_1D, (9, 5), 4, depth=2, width=9, norm=True, examples=ExampleKind.TOKENS)


def _difference(library: Library, spec: NetworkSpec) -> float:
    """Largest relative difference of losses and gradients on random examples, of the first step and after it."""
    source = torch.Generator().manual_seed(0)
    state = TrainingState(spec.name, draw_weights(spec, source), {}, "", 0, 0)
    if spec.examples is ExampleKind.TOKENS:
        inputs = torch.randint(0, spec.inputs[1], (_EXAMPLES, spec.inputs[0]), generator=source)
    else:
        inputs = torch.empty(_EXAMPLES, *spec.inputs).normal_(generator=source)
    labels = torch.randint(0, spec.outputs, (_EXAMPLES,), generator=source)
    found, wanted = (_step(spec, state, inputs, labels, kernels) for kernels in (library, None))
    return max(float((found[name] - wanted[name]).abs().max() / wanted[name].abs().max()) for name in wanted)


def _difference_of_turns(library: Library) -> float:
    """Largest difference of turned images, relative to the largest number."""
    source = torch.Generator().manual_seed(0)
    images = torch.empty(_EXAMPLES, 1, 9, 9).normal_(generator=source)
    angle, shift = torch.linspace(-2.0, 2.0, _EXAMPLES)[:, None], torch.rand(_EXAMPLES, 2, generator=source)
    chosen = torch.randperm(_EXAMPLES, generator=source)
    found, wanted = (
        turned(images, chosen, torch.tensor([-0.5]), Similarity(angle.cos(), angle.sin(), shift), kernels)
        for kernels in (library, None)
    )
    return float((found - wanted).abs().max() / wanted.abs().max())


def _difference_of_cuts(library: Library) -> float:
    """The same of images that were cut out, flipped and coloured."""
    source = torch.Generator().manual_seed(0)
    bordered = torch.empty(_EXAMPLES, 9, 8, 3).normal_(generator=source)
    rows, columns = torch.randint(0, 5, (2, _EXAMPLES), generator=source)
    flips = torch.rand(_EXAMPLES, generator=source) < 0.5
    cuts = Cuts(rows, columns, flips, *torch.rand(2, _EXAMPLES, 3, generator=source))
    chosen = torch.randperm(_EXAMPLES, generator=source)
    found, wanted = (cut(bordered, 2, chosen, cuts, kernels) for kernels in (library, None))
    return float((found - wanted).abs().max() / wanted.abs().max())


def _step(
    spec: NetworkSpec, state: TrainingState, inputs: Tensor, labels: Tensor, kernels: Library | None
) -> dict[str, Tensor]:
    """Make a step of sgd, whose first momenta are the gradients. Returns them and the losses, by name."""
    config = TrainingConfig(optimizer=OptimizerKind.SGD, weight_decay=0.0)
    learner = open_learner(spec, state, config, 0.01, kernels)
    before = learner.step(inputs, labels, is_measured=False)
    after = learner.evaluate(inputs, labels, _EXAMPLES).loss
    gradients = {name: torch.from_numpy(array) for name, array in learner.optimizer_arrays().items()}
    return gradients | {"loss before": torch.as_tensor(before), "loss after": torch.tensor(after)}
