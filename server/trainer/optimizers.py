"""Between torch's optimizers and the arrays in which a training state keeps their buffers."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from ml_trainer_env.server.trainer.config import OptimizerKind, TrainingConfig
from ml_trainer_env.server.trainer.networks import owned_tensor
from ml_trainer_env.server.trainer.state import TrainingState

__all__ = ["build_optimizer", "optimizer_arrays"]

MOMENTUM = 0.9


def build_optimizer(
    network: nn.Module, config: TrainingConfig, rate: float, state: TrainingState
) -> torch.optim.Optimizer:
    """Make the optimizer that `config` asks for, with the state's buffers in it.

    Args:
        network: Holds the parameters to optimise.
        config: Kind of optimizer and weight decay.
        rate: The learning rate of the epoch.
        state: Holds the buffers; those of another kind of optimizer are left out.
    """
    optimizer = _new(network, config, rate)
    if state.optimizer_kind == config.optimizer:
        for name, parameter in network.named_parameters():
            buffers = {
                key.removeprefix(f"{name}/"): owned_tensor(array)
                for key, array in state.optimizer.items()
                if key.startswith(f"{name}/")
            }
            if buffers:
                optimizer.state[parameter] = buffers
    return optimizer


def optimizer_arrays(network: nn.Module, optimizer: torch.optim.Optimizer) -> Mapping[str, np.ndarray]:
    """The optimizer's buffers as "<parameter>/<buffer>"."""
    return {
        f"{name}/{key}": buffer.contiguous().numpy()
        for name, parameter in network.named_parameters()
        for key, buffer in optimizer.state[parameter].items()
        if isinstance(buffer, torch.Tensor)
    }


def _new(network: nn.Module, config: TrainingConfig, rate: float) -> torch.optim.Optimizer:
    parameters, decay = network.parameters(), config.weight_decay
    if config.optimizer is OptimizerKind.SGD:
        return torch.optim.SGD(parameters, lr=rate, momentum=MOMENTUM, weight_decay=decay, fused=True)
    adam = torch.optim.AdamW if config.optimizer is OptimizerKind.ADAMW else torch.optim.Adam
    return adam(parameters, lr=rate, weight_decay=decay, fused=True)
