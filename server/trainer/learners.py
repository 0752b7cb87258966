"""Opens the learner of a network: the native kernels where they can, else torch."""

from functools import lru_cache

import torch

from ml_trainer_env.native import Library
from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.devices import CPU
from ml_trainer_env.server.trainer.kinds import NetworkKind, Precision
from ml_trainer_env.server.trainer.learner import Learner
from ml_trainer_env.server.trainer.native_layout import Layout, layout_of
from ml_trainer_env.server.trainer.native_learner import NativeLearner
from ml_trainer_env.server.trainer.network_specs import NetworkSpec
from ml_trainer_env.server.trainer.networks import build_network
from ml_trainer_env.server.trainer.optimizers import build_optimizer
from ml_trainer_env.server.trainer.state import TrainingState
from ml_trainer_env.server.trainer.torch_learner import TorchLearner

__all__ = ["open_learner"]


def open_learner(
    spec: NetworkSpec,
    state: TrainingState,
    config: TrainingConfig,
    rate: float,
    kernels: Library | None,
    source: torch.Generator | None = None,
    precision: Precision = Precision.FP32,
    device: torch.device = CPU,
) -> Learner:
    """Open a learner that begins with copies of a state's weights and buffers.

    Args:
        spec: The state's network.
        state: The state. Its buffers are not loaded if they belong to another kind of optimizer.
        config: The settings.
        rate: The learning rate.
        kernels: The native kernels. None for torch. Torch also computes what the kernels lack.
        source: The generator of dropout's masks. None if nothing is dropped.
        precision: The precision that torch computes in.
        device: Where torch computes, and where the examples are.
    """
    drops = source is not None and config.dropout > 0
    layout = _layout(spec, kernels, drops) if kernels else None
    if kernels and layout:
        return NativeLearner(kernels, layout, state, config, rate, source)
    dropout = config.dropout if drops else 0.0
    network = build_network(spec, state.weights, dropout=dropout, source=source, device=device)
    return TorchLearner(network, build_optimizer(network, config, rate, state), _unit_dimension(spec), precision)


@lru_cache(maxsize=64)
def _layout(spec: NetworkSpec, kernels: Library, drops: bool) -> Layout | None:
    return layout_of(spec, kernels, drops=drops)


def _unit_dimension(spec: NetworkSpec) -> int:
    """Return the dimension of the units in the outputs of a network's activations."""
    return -1 if spec.kind is NetworkKind.TRANSFORMER else 1
