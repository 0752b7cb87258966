"""A step of the fleet: every rank's gradient on its own data, reduced in rank order, and one update.

A step is a function of (state, settings, text) alone. The ranks are logical: one call computes the gradients of all of
them. The bits are those of ranks that are processes of their own, with one thread each, and reduce in rank order. With
several threads they are the same in every run, but a product may be split otherwise than in a process of one rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ml_trainer_env.server.trainer.fleet.batches import CONTEXT, SEQUENCES, read_batch
from ml_trainer_env.server.trainer.fleet.clock import StepTimes, step_times
from ml_trainer_env.server.trainer.fleet.faults import Place, Stop
from ml_trainer_env.server.trainer.fleet.model import CharacterModel
from ml_trainer_env.server.trainer.fleet.places import BATCHES, places_of
from ml_trainer_env.server.trainer.fleet.settings import StepSettings
from ml_trainer_env.server.trainer.fleet.state import FIRST_LOSS_SCALE, FleetState, FreshFleet
from ml_trainer_env.server.trainer.fleet.text import VOCABULARY, Text, windows_at

__all__ = [
    "BETAS",
    "MODEL",
    "SEQUENCES",
    "Step",
    "adjusted",
    "evaluate",
    "first_state",
    "rank_gradients",
    "reduce_in_order",
    "take_step",
    "updated",
]

MODEL = CharacterModel(VOCABULARY, CONTEXT)

BETAS = (0.7, 0.95)
_EPSILON = 1e-8
_EVALUATED_TOGETHER = 256
"""Sequences that are evaluated at once."""

_GROWTH_STEPS = 100
"""The dynamic loss scale doubles after this many steps without an overflow."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The outcome of a step.

    Attributes:
        state: The state after it. If a rank stopped: the state before it, at that moment.
        loss: Mean loss of the batches, in nats a character. None if a rank stopped.
        gradient_norm: L2 norm of the reduced gradient. None if a rank stopped.
        learning_rate: The learning rate.
        skipped: Whether the update was left out.
        batch_losses: Loss of each batch, in the order of the ranks.
        rank_norms: L2 norm of each rank's gradient, a mean over its batches.
        times: How long it took.
        stop: The rank that died or hung in it. None for none.
    """

    state: FleetState
    loss: float | None
    gradient_norm: float | None
    learning_rate: float
    skipped: bool
    batch_losses: tuple[float, ...]
    rank_norms: tuple[float, ...]
    times: StepTimes
    stop: Stop | None = None


def first_state(fresh: FreshFleet) -> FleetState:
    """Draw the weights of the state before the first step."""
    weights = MODEL.draw(fresh.seed).numpy()
    zeros = np.zeros_like(weights)
    return FleetState(weights, zeros, zeros, 0, 0, 0, FIRST_LOSS_SCALE, 0, 0, fresh.seed)


def take_step(state: FleetState, settings: StepSettings, text: Text) -> Step:
    """Train for one step, unless a rank dies or hangs in it.

    Args:
        state: The state to start from. It is not changed.
        settings: The settings.
        text: The text.
    """
    before = adjusted(state, settings)
    places = places_of(before.seed, before.step, before.clock_us, before.loss_scale, settings)
    times = step_times(settings, places)
    begin_us = before.clock_us + settings.offset_us
    rate = settings.scenario.learning_rate(settings.training.rate_at(before.schedule, begin_us))
    firsts = [own[0] for own in places]
    stop = settings.scenario.stop_between(begin_us, begin_us + times.step_us, firsts)
    if stop is not None:
        stopped = replace(state, clock_us=stop.clock_us - settings.offset_us)
        return Step(stopped, None, None, rate, False, (), (), times, stop)
    losses, gradients = rank_gradients(before, settings, places, text)
    total = reduce_in_order(gradients) / BATCHES
    after, skipped = updated(before, total, settings, rate)
    if not skipped:
        after = replace(after, replicas=_replicas(before, after, settings, firsts))
    after = replace(
        after,
        step=before.step + 1,
        schedule=before.schedule + 1,
        clock_us=before.clock_us + times.step_us,
    )
    counts = [len(own) for own in places]
    norms = gradients.norm(dim=1).tolist()
    return Step(
        state=after,
        loss=float(np.mean(losses)),
        gradient_norm=float(total.norm()),
        learning_rate=rate,
        skipped=skipped,
        batch_losses=tuple(losses),
        rank_norms=tuple(norm / count for norm, count in zip(norms, counts, strict=True)),
        times=times,
    )


def evaluate(state: FleetState, tokens: np.ndarray, sequences: int = 2_048) -> float:
    """Return the mean loss of the model on a text (n,), in nats a character, over sequences spread evenly."""
    length = MODEL.context + 1
    starts = np.linspace(0, len(tokens) - length, sequences).astype(np.int64)
    windows = torch.from_numpy(windows_at(tokens, starts, length))
    weights, total = torch.tensor(state.weights), 0.0
    with torch.inference_mode():
        for part in windows.split(_EVALUATED_TOGETHER):
            total += float(MODEL.losses(weights, part[None, :, :-1], part[None, :, 1:])) * len(part)
    return total / sequences


def reduce_in_order(gradients: Tensor) -> Tensor:
    """Return the sum of gradients (ranks, size), added in the order of the ranks: (size,)."""
    total = gradients[0].clone()
    for gradient in gradients[1:]:
        total += gradient
    return total


def adjusted(state: FleetState, settings: StepSettings) -> FleetState:
    """Return the state with the adjustment, if there is one for this step."""
    adjustment = settings.adjustment
    if adjustment is None or adjustment.step != state.step:
        return state
    if adjustment.restored_us is not None:
        state = replace(settings.scenario.restored(state, adjustment.restored_us), replicas={})
    if adjustment.schedule is not None:
        state = replace(state, schedule=adjustment.schedule)
    if adjustment.fresh_optimizer:
        zeros = np.zeros_like(state.weights)
        state = replace(state, first_moment=zeros, second_moment=zeros, updates=0)
    if adjustment.loss_scale is not None:
        state = replace(state, loss_scale=adjustment.loss_scale, good_steps=0)
    if adjustment.copied_node is not None:
        weights = state.replicas.get(adjustment.copied_node, state.weights)
        state = replace(state, weights=weights, replicas={})
    return state


def rank_gradients(
    state: FleetState, settings: StepSettings, places: Sequence[Sequence[Place]], text: Text
) -> tuple[list[float], Tensor]:
    """Return the loss of each batch, in the order of the ranks, and the gradient of each rank, (ranks, size)."""
    flat = [place for own in places for place in own]
    batches = [read_batch(text, settings.scenario, place, SEQUENCES) for place in flat]
    weights = torch.tensor(state.weights)
    if state.replicas:
        own = [torch.tensor(state.replicas.get(place.node, state.weights)) for place in flat]
        weights = torch.stack(own)
    inputs = torch.from_numpy(np.stack([batch.inputs for batch in batches]))
    targets = torch.from_numpy(np.stack([batch.targets for batch in batches]))
    losses, by_batch = MODEL.gradients(weights, inputs, targets)
    by_batch *= torch.tensor([[batch.weight] for batch in batches])
    gradients, begin = [], 0
    for own_places in places:
        gradient = reduce_in_order(by_batch[begin : begin + len(own_places)])
        gradients.append(torch.from_numpy(settings.scenario.gradient(gradient.numpy(), own_places[0])))
        begin += len(own_places)
    return losses.tolist(), torch.stack(gradients)


def updated(state: FleetState, gradient: Tensor, settings: StepSettings, rate: float) -> tuple[FleetState, bool]:
    """Return the state after Adam's update (Kingma and Ba, 2015), and whether the update was left out."""
    training, half = settings.training, settings.scenario.is_half_precision
    norm = float(gradient.norm())
    finite = bool(np.isfinite(norm))
    if half and training.dynamic_loss_scale:
        state = _rescaled(state, finite=finite)
    if not finite and (half or training.skip_nonfinite):
        return state, True
    if training.clip_norm and norm > training.clip_norm:
        gradient = gradient * (training.clip_norm / norm)
    updates = state.updates + 1
    first = torch.tensor(state.first_moment).lerp(gradient, 1 - BETAS[0])
    second = torch.tensor(state.second_moment) * BETAS[1]
    second.addcmul_(gradient, gradient, value=1 - BETAS[1])
    step = (first / (1 - BETAS[0] ** updates)).div_((second / (1 - BETAS[1] ** updates)).sqrt_().add_(_EPSILON))
    weights = torch.tensor(state.weights) - rate * step
    after = replace(
        state,
        weights=weights.numpy(),
        first_moment=first.numpy(),
        second_moment=second.numpy(),
        updates=updates,
    )
    return after, False


def _rescaled(state: FleetState, *, finite: bool) -> FleetState:
    """Return the state with the next loss scale (Micikevicius et al. 2018)."""
    if not finite:
        return replace(state, loss_scale=state.loss_scale / 2, good_steps=0)
    if state.good_steps + 1 == _GROWTH_STEPS:
        return replace(state, loss_scale=state.loss_scale * 2, good_steps=0)
    return replace(state, good_steps=state.good_steps + 1)


def _replicas(
    before: FleetState, after: FleetState, settings: StepSettings, places: Sequence[Place]
) -> dict[int, np.ndarray]:
    """Return the replicas that differ after an update: those that did before, and those that apply it wrongly."""
    update = after.weights - before.weights
    replicas = {}
    for place in places:
        own, share = before.replicas.get(place.node), np.float32(settings.scenario.applied_share(place))
        if own is not None or share != 1:
            replicas[place.node] = (before.weights if own is None else own) + share * update
    return replicas
