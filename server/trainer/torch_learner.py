"""Trains and evaluates any network with torch."""

import contextlib
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ml_trainer_env.server.trainer.diagnostics import StepNorms, watch_units
from ml_trainer_env.server.trainer.kinds import Precision
from ml_trainer_env.server.trainer.learner import Evaluation
from ml_trainer_env.server.trainer.optimizers import Optimizer

__all__ = ["TorchLearner", "arrays_of", "loss_and_accuracy", "mean_loss"]


class TorchLearner:
    """A `Learner` of a torch module.

    Args:
        network: The network. Its weights change.
        optimizer: Changes them.
        unit_dimension: The dimension of the units in the outputs of activations.
        precision: The precision that it computes in.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        unit_dimension: int,
        precision: Precision = Precision.FP32,
    ) -> None:
        self._network, self._optimizer, self._unit_dimension = network, optimizer, unit_dimension
        self._precision = precision
        self._norms = StepNorms(network)

    @property
    def rate(self) -> float:
        """The learning rate."""
        return self._optimizer.rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._optimizer.rate = rate

    def computing(self) -> contextlib.AbstractContextManager[None]:
        """Change nothing; see `Learner`."""
        return contextlib.nullcontext()

    def step(self, inputs: Tensor, labels: Tensor, *, is_measured: bool) -> Tensor:
        """Make a step; see `Learner`. The loss is a scalar tensor, so reading it can wait."""
        self._network.train()
        self._network.zero_grad()
        with self._casts():
            logits = self._network(inputs)
        loss = mean_loss(logits.float(), labels)
        loss.backward()
        if is_measured:
            self._norms.before_step()
        self._optimizer.step()
        if is_measured:
            self._norms.after_step()
        return loss.detach()

    def evaluate(self, inputs: Tensor, labels: Tensor, together: int, *, watches_units: bool = False) -> Evaluation:
        """Evaluate; see `Learner`."""
        with self._casts():
            if not watches_units:
                return Evaluation(*loss_and_accuracy(self._network, inputs, labels, together))
            with watch_units(self._network, self._unit_dimension) as dead:
                loss, accuracy = loss_and_accuracy(self._network, inputs, labels, together)
        return Evaluation(loss, accuracy, dead.share)

    def _casts(self) -> torch.autocast:
        """Return a context in which the network computes in its precision."""
        device = next(self._network.parameters()).device.type
        return torch.autocast(device, torch.bfloat16, enabled=self._precision is Precision.BF16)

    @property
    def gradient_norm(self) -> float:
        """See `Learner`."""
        return self._norms.gradient_norm

    @property
    def update_ratio(self) -> float:
        """See `Learner`."""
        return self._norms.update_ratio

    def weights(self) -> Mapping[str, np.ndarray]:
        """Return the weights; see `Learner`."""
        return arrays_of(self._network)

    def optimizer_arrays(self) -> Mapping[str, np.ndarray]:
        """Return the optimizer's buffers; see `Learner`."""
        return self._optimizer.arrays()


def loss_and_accuracy(network: nn.Module, inputs: Tensor, labels: Tensor, together: int) -> tuple[float, float]:
    """Return the mean cross entropy in nats and the accuracy, in evaluation mode, `together` examples at a time.

    Both are means over all examples and positions.
    """
    network.eval()
    with torch.inference_mode():
        if labels.dim() > 1:
            return _sequence_loss_and_accuracy(network, inputs, labels, together)
        logits = torch.cat([network(part).float() for part in inputs.split(together)])
        loss = float(F.cross_entropy(logits, labels))
        return loss, int((logits.argmax(1) == labels).sum()) / len(labels)


def _sequence_loss_and_accuracy(
    network: nn.Module, inputs: Tensor, labels: Tensor, together: int
) -> tuple[float, float]:
    """As `loss_and_accuracy`, for labels (N, length). It does not keep the logits, which may be large."""
    losses, right = [], 0
    for part, wanted in zip(inputs.split(together), labels.split(together), strict=True):
        logits = network(part).float()
        losses.append(mean_loss(logits, wanted) * len(wanted))
        right += int((logits.argmax(-1) == wanted).sum())
    return float(torch.stack(losses).sum()) / len(labels), right / labels.numel()


def mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy in nats of logits (N, outputs) or (N, length, outputs). Labels lack the last."""
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten())


def arrays_of(network: nn.Module) -> dict[str, np.ndarray]:
    """Return the parameters and buffers of a network by name, without copies where that is possible."""
    return {key: tensor.contiguous().cpu().numpy() for key, tensor in network.state_dict().items()}
