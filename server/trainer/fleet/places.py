"""Where the batches of a step are read and computed. Torch is not imported."""

from ml_trainer_env.server.trainer.fleet.faults import Place
from ml_trainer_env.server.trainer.fleet.settings import RANKS, StepSettings

__all__ = ["BATCHES", "places_of"]

BATCHES = RANKS
"""Batches of a step. The number does not change with the number of ranks: fewer ranks compute several each."""


def places_of(seed: int, step: int, clock_us: int, loss_scale: float, settings: StepSettings) -> list[list[Place]]:
    """Return, for each rank, the place of each batch that it computes in a step.

    Args:
        seed: Seed of weights, data and noise.
        step: Number of steps before it.
        clock_us: Virtual time of the steps before it, in microseconds, without the time of actions.
        loss_scale: Factor of the loss.
        settings: The settings.
    """
    cluster, training = settings.cluster, settings.training
    position = cluster.data_position(step)
    shards, ranks = cluster.shards, len(cluster.nodes)
    places: list[list[Place]] = [[] for _ in range(ranks)]
    for batch in range(BATCHES):
        rank = batch % ranks
        read = batch if training.sampler_offset != settings.scenario.loader_offsets else 0
        places[rank].append(
            Place(
                seed=seed,
                position=position,
                rank=rank,
                node=cluster.nodes[rank],
                shard=shards[(position * BATCHES + read) % len(shards)],
                incarnation=cluster.incarnation,
                clock_us=clock_us + settings.offset_us,
                begun_us=cluster.begun_us,
                steps_since_save=None if cluster.saved_at_step is None else step - cluster.saved_at_step,
                loss_scale=loss_scale,
                records_activations=training.record_activations,
            )
        )
    return places
