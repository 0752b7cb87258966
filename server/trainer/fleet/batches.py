"""The batches that ranks read. Torch is not imported."""

from ml_trainer_env.server.datasets.random_stream import RandomStream
from ml_trainer_env.server.trainer.fleet.faults import Batch, Place, Scenario
from ml_trainer_env.server.trainer.fleet.settings import SHARDS
from ml_trainer_env.server.trainer.fleet.text import Text, windows_at

__all__ = ["CONTEXT", "SEQUENCES", "read_batch"]

CONTEXT = 32
"""Length of a sequence, in characters."""

SEQUENCES = 8
"""Sequences of a batch."""

_DATA = 10
"""Stream of random numbers of the data."""


def read_batch(text: Text, scenario: Scenario, place: Place, sequences: int = SEQUENCES) -> Batch:
    """Return the batch that is read at a place: sequences that begin at random places of the shard."""
    length = text.shards.shape[1] - CONTEXT
    starts = RandomStream((place.seed, _DATA, place.position)).below(length, SHARDS, sequences)
    windows = windows_at(text.shards[place.shard], starts[place.shard], CONTEXT + 1)
    return scenario.batch(Batch(windows[:, :-1], windows[:, 1:]), place)
