"""What looks like a fault and is none. Whoever acts on it loses time. Both references of a score have it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ml_trainer_env.server.trainer.fleet.faults.base import Batch, Fault, Notice, Place
from ml_trainer_env.server.trainer.fleet.faults.deaths import Crash
from ml_trainer_env.server.trainer.fleet.faults.kinds import FaultKind

__all__ = ["BenignSpike", "HarmlessAlert", "LoneDeath"]


@dataclass(frozen=True, slots=True)
class BenignSpike(Fault):
    """One batch whose characters are in reverse order: its loss is high, and training forgets it.

    Attributes:
        shard: The shard of the batch.
        position: Its position in the data.
    """

    kind: ClassVar[FaultKind] = FaultKind.BENIGN_SPIKE
    is_harmless: ClassVar[bool] = True

    shard: int
    position: int

    def batch(self, batch: Batch, place: Place) -> Batch:
        """Reverse the batch."""
        if (place.shard, place.position) != (self.shard, self.position):
            return batch
        return Batch(np.ascontiguousarray(batch.targets[:, ::-1]), np.ascontiguousarray(batch.inputs[:, ::-1]))


@dataclass(frozen=True, slots=True)
class HarmlessAlert(Fault):
    """A warning that means nothing.

    Attributes:
        clock_us: The moment from which on it is shown.
        text: The warning.
    """

    kind: ClassVar[FaultKind] = FaultKind.HARMLESS_ALERT
    is_harmless: ClassVar[bool] = True

    clock_us: int
    text: str

    @property
    def notices(self) -> Sequence[Notice]:
        """The warning."""
        return (Notice(self.clock_us, self.text),)


@dataclass(frozen=True, slots=True)
class LoneDeath(Crash):
    """A node that dies once, as nodes do. The launcher sees to it, and nobody could have prevented it."""

    kind: ClassVar[FaultKind] = FaultKind.LONE_DEATH
    is_harmless: ClassVar[bool] = True
