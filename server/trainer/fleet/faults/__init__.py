"""What goes wrong in a fleet: one small pure class for each kind of fault."""

from ml_trainer_env.server.trainer.fleet.faults.base import Batch, Fault, FaultKind, Place, Scenario
from ml_trainer_env.server.trainer.fleet.faults.data import BadShard, NonfiniteBatch, PoisonedBatch
from ml_trainer_env.server.trainer.fleet.faults.deaths import Crash, MemoryLeak, StickyNode
from ml_trainer_env.server.trainer.fleet.faults.delays import LoaderStall, SlowLink, SlowStorage, Straggler
from ml_trainer_env.server.trainer.fleet.faults.gradients import DriftingReplica, HalfPrecision, SilentCorruption

__all__ = [
    "BadShard",
    "Batch",
    "Crash",
    "DriftingReplica",
    "Fault",
    "FaultKind",
    "HalfPrecision",
    "LoaderStall",
    "MemoryLeak",
    "NonfiniteBatch",
    "Place",
    "PoisonedBatch",
    "Scenario",
    "SilentCorruption",
    "SlowLink",
    "SlowStorage",
    "StickyNode",
    "Straggler",
]
