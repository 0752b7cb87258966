"""A small policy and its PPO update (Schulman et al. 2017). Pure: generators and batches are arguments.

The policy is two perceptrons, one for the logits of all parts of an action, one for the value. It acts on NumPy arrays
in the workers, and learns in torch.
"""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ["Batch", "Hyperparameters", "Learner", "act", "advantages"]

Floats = npt.NDArray[np.float32]
Weights = Mapping[str, Floats]

_IMPOSSIBLE = -1e9


@dataclass(frozen=True)
class Hyperparameters:
    """Settings of the policy and of PPO.

    Attributes:
        width: Width of both hidden layers.
        rate: Learning rate of Adam.
        passes: Passes over the steps of an update.
        minibatches: Minibatches of a pass.
        clip: Clip range of the probability ratio.
        entropy: Weight of the entropy bonus.
        trace: Lambda of generalised advantage estimation (Schulman et al. 2016). Rewards are not discounted.
        keep: Probability with which the untrained policy leaves a part of an action as it is.
        go_on: The same for a part of two choices, such as training on instead of submitting.
    """

    width: int = 64
    rate: float = 1e-3
    passes: int = 6
    minibatches: int = 4
    clip: float = 0.2
    entropy: float = 0.005
    trace: float = 0.95
    keep: float = 0.7
    go_on: float = 0.95


@dataclass(frozen=True)
class Batch:
    """The steps of some episodes, one after another.

    Attributes:
        observations: float32 (steps, features).
        actions: int64 (steps, parts).
        masks: bool (steps, numbers of all parts).
        rewards: float32 (steps,).
        ends: bool (steps,): whether a step was the last of its episode.
    """

    observations: Floats
    actions: npt.NDArray[np.int64]
    masks: npt.NDArray[np.bool_]
    rewards: Floats
    ends: npt.NDArray[np.bool_]


def act(
    weights: Weights,
    parts: Sequence[int],
    observation: Floats,
    mask: npt.NDArray[np.bool_],
    chance: np.random.Generator | None,
) -> npt.NDArray[np.int64]:
    """Choose an action.

    Args:
        weights: The arrays of the policy.
        parts: Number of choices of each part.
        observation: The observation.
        mask: Which numbers are possible, all parts one after another.
        chance: Draws the action. None for the most likely one.
    """
    hidden = np.tanh(weights["actor.0.weight"] @ observation + weights["actor.0.bias"])
    hidden = np.tanh(weights["actor.2.weight"] @ hidden + weights["actor.2.bias"])
    logits = np.where(mask, weights["actor.4.weight"] @ hidden + weights["actor.4.bias"], _IMPOSSIBLE)
    chosen = []
    for part in np.split(logits.astype(np.float64), np.cumsum(parts)[:-1]):
        if chance is None:
            chosen.append(int(part.argmax()))
        else:
            odds = np.exp(part - part.max())
            chosen.append(
                int(np.searchsorted(np.cumsum(odds / odds.sum()), chance.random(), side="right").clip(0, len(part) - 1))
            )
    return np.array(chosen)


def advantages(rewards: Floats, values: Floats, ends: npt.NDArray[np.bool_], trace: float) -> Floats:
    """Return generalised advantage estimates without discount, float32 (steps,)."""
    found = np.zeros_like(rewards)
    following, value_after = 0.0, 0.0
    for step in range(len(rewards) - 1, -1, -1):
        if ends[step]:
            following, value_after = 0.0, 0.0
        following = rewards[step] + value_after - values[step] + trace * following
        value_after = values[step]
        found[step] = following
    return found


class _Policy(nn.Module):
    def __init__(self, features: int, parts: Sequence[int], width: int) -> None:
        super().__init__()
        self.actor, self.critic = _perceptron(features, width, sum(parts)), _perceptron(features, width, 1)
        self.parts = list(parts)

    def evaluate(self, observations: Tensor, masks: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log-probabilities of actions, the entropies and the values, each (steps,)."""
        logits = torch.where(masks, self.actor(observations), _IMPOSSIBLE)
        logs, entropies = [], []
        for part, chosen in zip(logits.split(self.parts, 1), actions.unbind(1), strict=True):
            log = part.log_softmax(1)
            logs.append(log.gather(1, chosen[:, None])[:, 0])
            entropies.append(-(log.exp() * log).sum(1))
        return torch.stack(logs).sum(0), torch.stack(entropies).sum(0), self.critic(observations)[:, 0]


class Learner:
    """A policy and its optimizer.

    Args:
        features: Number of features of an observation.
        parts: Number of choices of each part of an action.
        kept: The action that changes nothing.
        settings: The hyperparameters.
        seed: Seed of the first weights.
    """

    def __init__(
        self, features: int, parts: Sequence[int], kept: Sequence[int], settings: Hyperparameters, seed: int
    ) -> None:
        self._settings = settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._policy = _Policy(features, parts, settings.width)
        with torch.no_grad():
            last = self._policy.actor[4]
            last.weight.mul_(0.01)
            last.bias.zero_()
            for first, count, number in zip(np.cumsum([0, *parts[:-1]]), parts, kept, strict=True):
                odds = settings.keep if count > 2 else settings.go_on
                last.bias[int(first) + number] = math.log(odds * (count - 1) / (1 - odds))
        self._optimizer = torch.optim.Adam(self._policy.parameters(), lr=settings.rate, eps=1e-5)

    @property
    def weights(self) -> Weights:
        """The arrays of the policy."""
        return {name: tensor.detach().numpy().copy() for name, tensor in self._policy.state_dict().items()}

    @property
    def state(self) -> dict[str, object]:
        """All that the next update depends on, besides its arguments."""
        return deepcopy({"policy": self._policy.state_dict(), "optimizer": self._optimizer.state_dict()})

    def restore(self, state: Mapping[str, dict[str, object]]) -> None:
        """Go on from a state."""
        self._policy.load_state_dict(state["policy"])
        self._optimizer.load_state_dict(state["optimizer"])

    def update(self, batch: Batch, seed: int) -> dict[str, float]:
        """Learn from episodes of the present policy.

        Args:
            batch: Their steps.
            seed: Seed of the order of the steps.

        Returns:
            Means over the update: `entropy`, `value_error` (squared), `divergence` (of the policy, in nats).
        """
        given, policy = self._settings, self._policy
        observations, actions = torch.from_numpy(batch.observations), torch.from_numpy(batch.actions)
        masks = torch.from_numpy(batch.masks)
        with torch.no_grad():
            before, _, values = policy.evaluate(observations, masks, actions)
        found = torch.from_numpy(advantages(batch.rewards, values.numpy(), batch.ends, given.trace))
        returns = found + values
        source = torch.Generator().manual_seed(seed)
        told: list[tuple[float, float, float]] = []
        for _ in range(given.passes):
            for chosen in torch.randperm(len(actions), generator=source).chunk(given.minibatches):
                logs, entropies, value = policy.evaluate(observations[chosen], masks[chosen], actions[chosen])
                gain = found[chosen]
                gain = (gain - gain.mean()) / (gain.std() + 1e-8)
                ratio = (logs - before[chosen]).exp()
                clipped = ratio.clamp(1 - given.clip, 1 + given.clip)
                error = (value - returns[chosen]).square().mean()
                loss = (
                    -torch.minimum(ratio * gain, clipped * gain).mean() - given.entropy * entropies.mean() + error / 2
                )
                self._optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
                self._optimizer.step()
                divergence = (before[chosen] - logs).mean()
                told.append((float(entropies.detach().mean()), float(error.detach()), float(divergence.detach())))
        return dict(zip(("entropy", "value_error", "divergence"), np.mean(told, 0).tolist(), strict=True))

    def imitate(self, batch: Batch, advice: npt.NDArray[np.int64], passes: int, seed: int) -> float:
        """Learn to do in each situation what a teacher would do (maximum likelihood).

        Args:
            batch: The situations. Their actions and rewards are not used.
            advice: What the teacher would do, int64 (steps, parts).
            passes: Passes over the steps, in minibatches of 256.
            seed: Seed of the order of the steps.

        Returns:
            The mean loss of the last pass, in nats a step.
        """
        observations, masks = torch.from_numpy(batch.observations), torch.from_numpy(batch.masks)
        actions, source = torch.from_numpy(advice), torch.Generator().manual_seed(seed)
        losses: list[float] = []
        for _ in range(passes):
            losses = []
            for chosen in torch.randperm(len(actions), generator=source).split(256):
                logs, _, _ = self._policy.evaluate(observations[chosen], masks[chosen], actions[chosen])
                loss = -logs.mean()
                self._optimizer.zero_grad()
                loss.backward()
                self._optimizer.step()
                losses.append(float(loss.detach()))
        return float(np.mean(losses))


def _perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, outputs)
    )
