"""What goes wrong in a fleet: one small pure class for each kind of fault."""

from ml_trainer_env.server.trainer.fleet.faults.base import Batch, Fault, Notice, Place, Scenario, Stop
from ml_trainer_env.server.trainer.fleet.faults.checkpoints import (
    CorruptCheckpoint,
    LostCursor,
    LostSchedule,
    MissingOptimizer,
)
from ml_trainer_env.server.trainer.fleet.faults.data import BadShard, NonfiniteBatch, PoisonedBatch
from ml_trainer_env.server.trainer.fleet.faults.deaths import (
    MEMORY_LIMIT_MB,
    Crash,
    Hang,
    Maintenance,
    MemoryLeak,
    StickyNode,
)
from ml_trainer_env.server.trainer.fleet.faults.delays import LoaderStall, SlowLink, SlowStorage, Straggler
from ml_trainer_env.server.trainer.fleet.faults.gradients import DriftingReplica, HalfPrecision, SilentCorruption
from ml_trainer_env.server.trainer.fleet.faults.harmless import BenignSpike, HarmlessAlert, LoneDeath
from ml_trainer_env.server.trainer.fleet.faults.kinds import FaultKind
from ml_trainer_env.server.trainer.fleet.faults.settings import HighRate, RareCheckpoints, SharedSampler

__all__ = [
    "MEMORY_LIMIT_MB",
    "BadShard",
    "Batch",
    "BenignSpike",
    "CorruptCheckpoint",
    "Crash",
    "DriftingReplica",
    "Fault",
    "FaultKind",
    "HalfPrecision",
    "Hang",
    "HarmlessAlert",
    "HighRate",
    "LoaderStall",
    "LoneDeath",
    "LostCursor",
    "LostSchedule",
    "Maintenance",
    "MemoryLeak",
    "MissingOptimizer",
    "NonfiniteBatch",
    "Notice",
    "Place",
    "PoisonedBatch",
    "RareCheckpoints",
    "Scenario",
    "SharedSampler",
    "SilentCorruption",
    "SlowLink",
    "SlowStorage",
    "StickyNode",
    "Stop",
    "Straggler",
]
