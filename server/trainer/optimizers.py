"""Optimizers, and their buffers as arrays of a training state.

They call the functional forms of torch's optimizers. The classes, such as `torch.optim.SGD`, import torch's compiler,
which is not used. That would cost three seconds and 150 MB in each worker process.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from ml_trainer_env.server.trainer.config import OptimizerKind, TrainingConfig
from ml_trainer_env.server.trainer.networks import owned_tensor
from ml_trainer_env.server.trainer.state import TrainingState

__all__ = ["Optimizer", "build_optimizer"]

MOMENTUM = 0.9
BETA1, BETA2 = 0.9, 0.999
EPSILON = 1e-8


class Optimizer(ABC):
    """Changes a network's parameters in place.

    Args:
        network: The network to optimise.
        rate: The learning rate.
        weight_decay: Share of a parameter that is subtracted from it or added to its gradient.
    """

    BUFFERS: ClassVar[tuple[str, ...]]
    """Names of the buffers of each parameter. They are torch's."""

    def __init__(self, network: nn.Module, rate: float, weight_decay: float) -> None:
        self._names = [name for name, _ in network.named_parameters()]
        self._parameters: list[Tensor] = list(network.parameters())
        self.rate = rate
        self._weight_decay = weight_decay
        self._buffers: dict[str, list[Tensor]] = {}

    def step(self) -> None:
        """Make one step with the gradients of the parameters. Every parameter must have one."""
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        with torch.no_grad():
            self._update(gradients)

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Load copies of the buffers that `arrays` returned. An empty mapping changes nothing."""
        if arrays:
            self._buffers = {
                buffer: [
                    owned_tensor(arrays[f"{name}/{buffer}"]).to(parameter.device)
                    for name, parameter in zip(self._names, self._parameters, strict=True)
                ]
                for buffer in self.BUFFERS
            }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the buffers under the names "<parameter>/<buffer>"."""
        return {
            f"{name}/{buffer}": self._buffers[buffer][index].contiguous().cpu().numpy()
            for index, name in enumerate(self._names)
            for buffer in self._buffers
        }

    @abstractmethod
    def _update(self, gradients: list[Tensor]) -> None:
        """Make a step. The first step creates the buffers."""


class _Sgd(Optimizer):
    """Stochastic gradient descent with momentum (Sutskever et al. 2013). Weight decay is an L2 term."""

    BUFFERS = ("momentum_buffer",)

    def _update(self, gradients: list[Tensor]) -> None:
        momenta: list[Tensor | None] = [*self._buffers.get("momentum_buffer", [None] * len(gradients))]
        sgd(
            self._parameters,
            gradients,
            momenta,
            fused=True,
            weight_decay=self._weight_decay,
            momentum=MOMENTUM,
            lr=self.rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        self._buffers = {"momentum_buffer": [momentum for momentum in momenta if momentum is not None]}


class _Adam(Optimizer):
    """Adam (Kingma and Ba 2015). Weight decay is an L2 term."""

    BUFFERS = ("step", "exp_avg", "exp_avg_sq")
    DECOUPLED: ClassVar[bool] = False

    def _update(self, gradients: list[Tensor]) -> None:
        if not self._buffers:
            self._buffers = {
                "step": [torch.zeros((), device=parameter.device) for parameter in self._parameters],
                "exp_avg": [torch.zeros_like(parameter) for parameter in self._parameters],
                "exp_avg_sq": [torch.zeros_like(parameter) for parameter in self._parameters],
            }
        adam(
            self._parameters,
            gradients,
            self._buffers["exp_avg"],
            self._buffers["exp_avg_sq"],
            [],
            self._buffers["step"],
            fused=True,
            decoupled_weight_decay=self.DECOUPLED,
            amsgrad=False,
            beta1=BETA1,
            beta2=BETA2,
            lr=self.rate,
            weight_decay=self._weight_decay,
            eps=EPSILON,
            maximize=False,
        )


class _AdamW(_Adam):
    """AdamW (Loshchilov and Hutter 2019). Weight decay is separate from the gradient."""

    DECOUPLED = True


_KINDS: Mapping[OptimizerKind, type[Optimizer]] = {
    OptimizerKind.SGD: _Sgd,
    OptimizerKind.ADAM: _Adam,
    OptimizerKind.ADAMW: _AdamW,
}


def build_optimizer(network: nn.Module, config: TrainingConfig, rate: float, state: TrainingState) -> Optimizer:
    """Create the optimizer of a configuration and load the state's buffers.

    Args:
        network: The network to optimise.
        config: Kind of optimizer and weight decay.
        rate: The learning rate of the epoch.
        state: The training state. Its buffers are not loaded if they belong to another kind of optimizer.
    """
    optimizer = _KINDS[config.optimizer](network, rate, config.weight_decay)
    if state.optimizer_kind == config.optimizer:
        optimizer.load(state.optimizer)
    return optimizer
