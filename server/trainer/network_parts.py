"""Modules that networks are built of: dropout, norms, embeddings, and the layers of a transformer.

None of them draws its weights; see `networks.draw_weights`.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ml_trainer_env.server.trainer.kinds import Activation
from ml_trainer_env.server.trainer.network_specs import NetworkSpec

__all__ = [
    "ACTIVATIONS",
    "BatchNorm1d",
    "BatchNorm2d",
    "Dropout",
    "Embedding",
    "MeanOverPositions",
    "Positions",
    "Swapped",
    "TransformerLayer",
]


class Dropout(nn.Module):
    """Inverted dropout (Srivastava et al. 2014) with its own generator.

    Args:
        probability: Probability that a unit is zeroed in training. The other units are scaled up.
        source: The generator of the masks. None for a network that is only evaluated.
    """

    def __init__(self, probability: float, source: torch.Generator | None) -> None:
        super().__init__()
        self.probability = probability
        self.source = source

    def forward(self, units: Tensor) -> Tensor:
        """Drop units of a float tensor of any shape. Returns the same shape."""
        if not self.training or self.probability == 0.0:
            return units
        keep = 1.0 - self.probability
        # The generator is the processor's, wherever the units are: a seed drops the same ones.
        mask = torch.empty_like(units, device="cpu").bernoulli_(keep, generator=self.source)
        return units * mask.div_(keep).to(units.device)


class BatchNorm1d(nn.BatchNorm1d):
    """Batch norm that also accepts a batch of one example; see `_normalised`."""

    def forward(self, units: Tensor) -> Tensor:
        """Normalise (N, channels) or (N, channels, length)."""
        return _normalised(self, units) if _is_single(self, units) else super().forward(units)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm that also accepts a single pixel of a single image; see `_normalised`."""

    def forward(self, units: Tensor) -> Tensor:
        """Normalise (N, channels, height, width)."""
        return _normalised(self, units) if _is_single(self, units) else super().forward(units)


def _is_single(norm: nn.BatchNorm1d | nn.BatchNorm2d, units: Tensor) -> bool:
    """Whether a training batch has only one value for each unit. Then it has no variance."""
    return norm.training and units.numel() == norm.num_features


def _normalised(norm: nn.BatchNorm1d | nn.BatchNorm2d, units: Tensor) -> Tensor:
    """Normalise by the running mean and variance, as in evaluation. They are not updated."""
    return F.batch_norm(units, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


ACTIVATIONS: Mapping[Activation, Callable[[], nn.Module]] = {
    Activation.RELU: partial(nn.ReLU, inplace=True),
    Activation.TANH: nn.Tanh,
}
"""Constructors of the activation functions."""


class Swapped(nn.Module):
    """Swaps (N, length, channels) and (N, channels, length)."""

    def forward(self, units: Tensor) -> Tensor:
        """Return a view with the last two dimensions swapped."""
        return units.transpose(1, 2)


class MeanOverPositions(nn.Module):
    """Mean over the positions.

    Args:
        dimension: The dimension of the positions.
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension

    def forward(self, units: Tensor) -> Tensor:
        """Return the mean, without the dimension of the positions."""
        return units.mean(self.dimension)


class Embedding(nn.Embedding):
    """An embedding whose weights are set later. Torch's own initialisation on the meta device imports its compiler."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__(count, width, _weight=torch.empty(count, width))


class Positions(Embedding):
    """Adds a learned vector for each position (Gehring et al. 2017). Its weight is (length, width)."""

    def forward(self, units: Tensor) -> Tensor:
        """Add the vectors to units (N, length, width)."""
        return units + self.weight


class _Attention(nn.Module):
    """Multi-head attention of each position to all, or to itself and those before (Vaswani et al. 2017, section 3.2).

    It consists of plain matrix products and a softmax, whose bits depend only on shapes and the number of threads.
    """

    def __init__(self, spec: NetworkSpec, causal: bool) -> None:
        super().__init__()
        self._heads, self._size, self._causal = spec.heads, spec.head_size, causal
        inner = spec.heads * spec.head_size
        self.query_key_value = nn.Linear(spec.width, 3 * inner)
        self.output = nn.Linear(inner, spec.width)

    def forward(self, units: Tensor) -> Tensor:
        """Map (N, length, width) to the same shape."""
        count, length, _ = units.shape
        split = self.query_key_value(units).view(count, length, 3, self._heads, self._size).permute(2, 0, 3, 1, 4)
        query, key, value = split.reshape(3, count * self._heads, length, self._size).unbind(0)
        weights = torch.bmm(query * self._size**-0.5, key.transpose(1, 2))
        if self._causal:
            weights = weights.masked_fill_(_later(length, units.device), -torch.inf)
        mixed = torch.bmm(weights.softmax(-1), value).view(count, self._heads, length, self._size)
        joined: Tensor = self.output(mixed.transpose(1, 2).reshape(count, length, -1))
        return joined


def _later(length: int, device: torch.device) -> Tensor:
    """Return a mask (length, length) that is true where the column is a later position than the row."""
    return torch.ones(length, length, dtype=torch.bool, device=device).triu_(1)


class TransformerLayer(nn.Module):
    """Attention and a perceptron of twice the width, each added to its input (Xiong et al. 2020: pre-norm).

    Args:
        spec: The network.
        dropout: Drops units of what is added.
        causal: Whether a position sees only itself and those before.
    """

    def __init__(self, spec: NetworkSpec, dropout: nn.Module, causal: bool) -> None:
        super().__init__()
        self.attention_norm: nn.Module = nn.LayerNorm(spec.width) if spec.norm else nn.Identity()
        self.attention = _Attention(spec, causal)
        self.perceptron_norm: nn.Module = nn.LayerNorm(spec.width) if spec.norm else nn.Identity()
        self.perceptron = nn.Sequential(
            nn.Linear(spec.width, 2 * spec.width),
            ACTIVATIONS[spec.activation](),
            nn.Linear(2 * spec.width, spec.width),
        )
        self.dropout = dropout

    def forward(self, units: Tensor) -> Tensor:
        """Map (N, length, width) to the same shape."""
        units = units + self.dropout(self.attention(self.attention_norm(units)))
        added: Tensor = self.dropout(self.perceptron(self.perceptron_norm(units)))
        return units + added
