"""A character transformer with a replica dimension: one call computes the losses or the gradients of all ranks.

The weights of a replica are one flat vector, so that a reduction, an optimizer's step and a fault each work on one
array. All replicas may share a vector: it is expanded, not copied.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ml_trainer_env.server.trainer.randomness import Purpose, generator

__all__ = ["CharacterModel"]

_EMBEDDING_DEVIATION = 0.5


@dataclass(frozen=True)
class CharacterModel:
    """A decoder with learned positions, norms before each part, and GELU (Radford et al. 2019, GPT-2), without biases.

    Attributes:
        vocabulary: Number of characters.
        context: Length of a sequence.
        width: Width of the residual stream.
        layers: Number of layers.
        heads: Attention heads of a layer. They divide `width`.
    """

    vocabulary: int
    context: int
    width: int = 32
    layers: int = 2
    heads: int = 4

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each parameter, in the order of the flat vector."""
        width = self.width
        shapes: dict[str, tuple[int, ...]] = {"embedding": (self.vocabulary, width), "position": (self.context, width)}
        for layer in range(self.layers):
            shapes |= {
                f"{layer}.attention_scale": (width,),
                f"{layer}.attention": (width, 3 * width),
                f"{layer}.projection": (width, width),
                f"{layer}.mlp_scale": (width,),
                f"{layer}.expand": (width, 4 * width),
                f"{layer}.contract": (4 * width, width),
            }
        return shapes | {"scale": (width,), "head": (width, self.vocabulary)}

    @cached_property
    def size(self) -> int:
        """Number of parameters."""
        return sum(map(math.prod, self.shapes.values()))

    def draw(self, seed: int) -> Tensor:
        """Draw initial weights: float32 (size,).

        Matrices are normal with variance 1 / inputs; those that write to the residual stream are smaller by
        sqrt(2 * layers). The head is zero, so that training begins at the loss of chance.
        """
        source = generator(Purpose.WEIGHTS, seed, 0)
        return torch.cat([self._drawn(name, shape, source).reshape(-1) for name, shape in self.shapes.items()])

    def losses(self, weights: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the mean loss of each replica, in nats a character.

        Args:
            weights: float32 (replicas, size), or (size,) for all replicas.
            inputs: int64 (replicas, sequences, context).
            targets: Like `inputs`: the character after each.

        Returns:
            float32 (replicas,).
        """
        return self._losses(self._split(weights, len(inputs)), inputs, targets)

    def gradients(self, weights: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Compute losses and gradients. Arguments as of `losses`.

        Returns:
            float32 (replicas,), and float32 (replicas, size).
        """
        leaves = {name: part.detach().requires_grad_() for name, part in self._split(weights, len(inputs)).items()}
        losses = self._losses(leaves, inputs, targets)
        # The sum keeps replicas apart: the loss of one does not depend on the weights of another.
        gradients = torch.autograd.grad(losses.sum(), list(leaves.values()))
        return losses.detach(), torch.cat([gradient.reshape(len(inputs), -1) for gradient in gradients], 1)

    def _split(self, weights: Tensor, replicas: int) -> dict[str, Tensor]:
        """Return the parameters of all replicas by name, (replicas, *shape)."""
        parts = weights.expand(replicas, self.size).split([math.prod(shape) for shape in self.shapes.values()], 1)
        return {name: part.unflatten(1, shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def _losses(self, w: Mapping[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        replicas, sequences, length = inputs.shape
        x = self._embedded(w["embedding"], inputs) + w["position"][:, None, :length]
        x = x.reshape(replicas, sequences * length, self.width)
        for layer in range(self.layers):
            queries_keys_values = torch.bmm(self._normed(x, w[f"{layer}.attention_scale"]), w[f"{layer}.attention"])
            attended = self._attended(queries_keys_values, sequences, length)
            x = x + torch.bmm(attended, w[f"{layer}.projection"])
            expanded = F.gelu(torch.bmm(self._normed(x, w[f"{layer}.mlp_scale"]), w[f"{layer}.expand"]))
            x = x + torch.bmm(expanded, w[f"{layer}.contract"])
        logits = torch.bmm(self._normed(x, w["scale"]), w["head"])
        losses = F.cross_entropy(logits.flatten(0, 1), targets.reshape(-1), reduction="none")
        return losses.reshape(replicas, -1).mean(1)

    def _embedded(self, embedding: Tensor, inputs: Tensor) -> Tensor:
        """Look up each replica's own embedding: (replicas, sequences, length, width)."""
        first = torch.arange(len(inputs))[:, None, None] * self.vocabulary
        return F.embedding(inputs + first, embedding.flatten(0, 1))

    def _attended(self, queries_keys_values: Tensor, sequences: int, length: int) -> Tensor:
        """Attend causally within each sequence: (replicas, sequences * length, width)."""
        replicas = len(queries_keys_values)
        shape = (replicas, sequences, length, 3, self.heads, self.width // self.heads)
        queries, keys, values = queries_keys_values.view(shape).permute(3, 0, 1, 4, 2, 5).flatten(1, 2)
        attended = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return attended.transpose(1, 2).reshape(replicas, sequences * length, self.width)

    def _normed(self, x: Tensor, scale: Tensor) -> Tensor:
        return F.layer_norm(x, (self.width,)) * scale[:, None]

    def _drawn(self, name: str, shape: tuple[int, ...], source: torch.Generator) -> Tensor:
        kind = name.rpartition(".")[2]
        if kind.endswith("scale"):
            return torch.ones(shape)
        if kind == "head":
            return torch.zeros(shape)
        deviation = _EMBEDDING_DEVIATION if kind in {"embedding", "position"} else 1 / math.sqrt(shape[0])
        if kind in {"projection", "contract"}:
            deviation /= math.sqrt(2 * self.layers)
        return torch.randn(shape, generator=source) * deviation
