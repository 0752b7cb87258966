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

from ml_trainer_env.server.datasets.random_stream import RandomStream
from ml_trainer_env.server.trainer.fleet.clock import StepTimes, step_times
from ml_trainer_env.server.trainer.fleet.faults import Batch, Place
from ml_trainer_env.server.trainer.fleet.model import CharacterModel
from ml_trainer_env.server.trainer.fleet.settings import RANKS, SHARDS, Adjustment, StepSettings
from ml_trainer_env.server.trainer.fleet.state import FIRST_LOSS_SCALE, FleetState, FreshFleet
from ml_trainer_env.server.trainer.fleet.text import VOCABULARY, Text, windows_at

__all__ = [
    "BATCHES",
    "BETAS",
    "MODEL",
    "SEQUENCES",
    "Step",
    "evaluate",
    "first_state",
    "places_of",
    "rank_gradients",
    "reduce_in_order",
    "take_step",
    "updated",
]

MODEL = CharacterModel(VOCABULARY)

BATCHES = RANKS
"""Batches of a step. The number does not change with the number of ranks: fewer ranks compute several each."""

SEQUENCES = 8
"""Sequences of a batch."""

BETAS = (0.9, 0.99)
_EPSILON = 1e-8
_EVALUATED_TOGETHER = 256
"""Sequences that are evaluated at once."""

_GROWTH_STEPS = 100
"""The dynamic loss scale doubles after this many steps without an overflow."""

_DATA = 10
"""Stream of random numbers of the data."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The outcome of a step.

    Attributes:
        state: The state after it. If a rank died: the state before it, at the moment of the death.
        loss: Mean loss of the batches, in nats a character. None if a rank died.
        gradient_norm: L2 norm of the reduced gradient. None if a rank died.
        learning_rate: The learning rate.
        skipped: Whether the update was left out.
        rank_losses: Mean loss of each rank.
        rank_norms: L2 norm of each rank's gradient, a mean over its batches.
        times: How long it took.
        died: The rank that died. None for none.
    """

    state: FleetState
    loss: float | None
    gradient_norm: float | None
    learning_rate: float
    skipped: bool
    rank_losses: tuple[float, ...]
    rank_norms: tuple[float, ...]
    times: StepTimes
    died: int | None = None


def first_state(fresh: FreshFleet) -> FleetState:
    """Draw the weights of the state before the first step."""
    weights = MODEL.draw(fresh.seed).numpy()
    zeros = np.zeros_like(weights)
    return FleetState(weights, zeros, zeros, 0, 0, 0, FIRST_LOSS_SCALE, 0, 0, fresh.seed)


def take_step(state: FleetState, settings: StepSettings, text: Text) -> Step:
    """Train for one step, unless a rank dies in it.

    Args:
        state: The state to start from. It is not changed.
        settings: The settings.
        text: The text.
    """
    before = _adjusted(state, settings.adjustment)
    places = places_of(before, settings)
    times = step_times(settings, places)
    rate = settings.optimization.rate_at(before.schedule)
    begin_us = before.clock_us + settings.offset_us
    firsts = [own[0] for own in places]
    death = settings.scenario.death_between(begin_us, begin_us + times.step_us, firsts)
    if death is not None:
        moment_us, place = death
        stopped = replace(state, clock_us=moment_us - settings.offset_us)
        return Step(stopped, None, None, rate, False, (), (), times, died=place.rank)
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
        rank_losses=tuple(_mean_by_rank(losses, counts)),
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


def _adjusted(state: FleetState, adjustment: Adjustment | None) -> FleetState:
    """Return the state with an adjustment, if it is for this step."""
    if adjustment is None or adjustment.step != state.step:
        return state
    if adjustment.schedule is not None:
        state = replace(state, schedule=adjustment.schedule)
    if adjustment.fresh_optimizer:
        zeros = np.zeros_like(state.weights)
        state = replace(state, first_moment=zeros, second_moment=zeros, updates=0)
    if adjustment.loss_scale is not None:
        state = replace(state, loss_scale=adjustment.loss_scale, good_steps=0)
    if adjustment.copied_rank is not None:
        weights = state.replicas.get(adjustment.copied_rank, state.weights)
        state = replace(state, weights=weights, replicas={})
    return state


def places_of(state: FleetState, settings: StepSettings) -> list[list[Place]]:
    """Return, for each rank, the place of each batch that it computes in this step."""
    cluster = settings.cluster
    position = cluster.data_position(state.step)
    shards, ranks = cluster.shards, len(cluster.nodes)
    places: list[list[Place]] = [[] for _ in range(ranks)]
    for batch in range(BATCHES):
        rank = batch % ranks
        places[rank].append(
            Place(
                seed=state.seed,
                position=position,
                rank=rank,
                node=cluster.nodes[rank],
                shard=shards[(position * BATCHES + batch) % len(shards)],
                incarnation=cluster.incarnation,
                clock_us=state.clock_us + settings.offset_us,
                begun_us=cluster.begun_us,
                steps_since_save=state.step - cluster.saved_at_step,
                loss_scale=state.loss_scale,
            )
        )
    return places


def rank_gradients(
    state: FleetState, settings: StepSettings, places: Sequence[Sequence[Place]], text: Text
) -> tuple[list[float], Tensor]:
    """Return the loss of each batch, in the order of the ranks, and the gradient of each rank, (ranks, size)."""
    flat = [place for own in places for place in own]
    starts = _starts(state.seed, flat[0].position, text)
    batches = [settings.scenario.batch(_read(text, starts, place), place) for place in flat]
    weights = torch.tensor(state.weights)
    if state.replicas:
        own = [torch.tensor(state.replicas.get(place.rank, state.weights)) for place in flat]
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


def _starts(seed: int, position: int, text: Text) -> np.ndarray:
    """Return where the sequences of each shard begin: int64 (shards, sequences)."""
    length = text.shards.shape[1] - MODEL.context
    return RandomStream((seed, _DATA, position)).below(length, SHARDS, SEQUENCES)


def _read(text: Text, starts: np.ndarray, place: Place) -> Batch:
    windows = windows_at(text.shards[place.shard], starts[place.shard], MODEL.context + 1)
    return Batch(windows[:, :-1], windows[:, 1:])


def updated(state: FleetState, gradient: Tensor, settings: StepSettings, rate: float) -> tuple[FleetState, bool]:
    """Return the state after Adam's update (Kingma and Ba, 2015), and whether the update was left out."""
    optimization, half = settings.optimization, settings.scenario.is_half_precision
    norm = float(gradient.norm())
    finite = bool(np.isfinite(norm))
    if half and optimization.dynamic_loss_scale:
        state = _rescaled(state, finite=finite)
    if not finite and (half or optimization.skip_nonfinite):
        return state, True
    if optimization.clip_norm and norm > optimization.clip_norm:
        gradient = gradient * (optimization.clip_norm / norm)
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
    """Return the replicas that differ from the weights after an update: the ones behind, and the ones that miss it."""
    update = after.weights - before.weights
    replicas = {}
    for place in places:
        own = before.replicas.get(place.rank)
        if settings.scenario.keeps_replica(place):
            replicas[place.rank] = before.weights if own is None else own
        elif own is not None:
            replicas[place.rank] = own + update
    return replicas


def _mean_by_rank(losses: Sequence[float], counts: Sequence[int]) -> list[float]:
    means, begin = [], 0
    for count in counts:
        means.append(float(np.mean(losses[begin : begin + count])))
        begin += count
    return means
