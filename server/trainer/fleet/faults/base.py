"""What a fault is: hooks that get a place and a value and return a value. Torch is not imported.

A fault belongs to what it belongs to: a shard, a node, a rank, a position in the data, or a moment of virtual time. So
moving things is an experiment that tells causes apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ml_trainer_env.server.trainer.fleet.faults.kinds import FaultKind
from ml_trainer_env.server.trainer.fleet.state import FleetState

__all__ = ["Batch", "Fault", "Notice", "Place", "Scenario", "Stop"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where and when a hook is called.

    Attributes:
        seed: Seed of weights, data and noise.
        position: Position in the data.
        rank: The rank.
        node: Its node.
        shard: The shard that it reads. -1 where no shard is meant.
        incarnation: Number of restarts so far.
        clock_us: Virtual time at the beginning of the step, in microseconds.
        begun_us: Virtual time at which the job was started last.
        steps_since_save: Steps since this job saved its last checkpoint. None if it has saved none.
        loss_scale: Factor of the loss.
        records_activations: Whether the ranks record activations for a profile.
    """

    seed: int
    position: int
    rank: int
    node: int
    shard: int = -1
    incarnation: int = 0
    clock_us: int = 0
    begun_us: int = 0
    steps_since_save: int | None = None
    loss_scale: float = 1.0
    records_activations: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The sequences that a rank reads from one shard in one step.

    Attributes:
        inputs: int64 (sequences, context).
        targets: Like `inputs`.
        weight: Factor of its gradient.
    """

    inputs: np.ndarray
    targets: np.ndarray
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Stop:
    """What keeps a step from its end.

    Attributes:
        clock_us: The moment, in microseconds of virtual time.
        rank: The rank.
        hangs: Whether it hangs. Else it dies.
    """

    clock_us: int
    rank: int
    hangs: bool


@dataclass(frozen=True, slots=True)
class Notice:
    """A line that the cluster's monitoring shows.

    Attributes:
        clock_us: The moment from which on it is shown, in microseconds of virtual time.
        text: The line.
    """

    clock_us: int
    text: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. The hooks of this class change nothing.

    Attributes:
        kind: Its kind.
        is_harmless: Whether it does no harm, or none that could be prevented.
        is_half_precision: Whether gradients are half precision, so that a step that overflows is left out.
        is_sampler_wrong: Whether the run begins with a setting of the sampler that does not suit the loader.
    """

    kind: ClassVar[FaultKind]
    is_harmless: ClassVar[bool] = False
    is_half_precision: ClassVar[bool] = False
    is_sampler_wrong: ClassVar[bool] = False

    @property
    def first_settings(self) -> Mapping[str, float | bool]:
        """The settings that the run begins with, where they are not the reference's."""
        return {}

    @property
    def repeats_positions(self) -> int | None:
        """How many positions in the data are read again and again after a restart. None for no such thing."""
        return None

    @property
    def notices(self) -> Sequence[Notice]:
        """What monitoring shows of it."""
        return ()

    def batch(self, batch: Batch, place: Place) -> Batch:
        """Return the batch that is read."""
        return batch

    def gradient(self, gradient: np.ndarray, place: Place) -> np.ndarray:
        """Return the gradient that a rank sends: float32 (size,). The argument must not be changed."""
        return gradient

    def learning_rate(self, rate: float) -> float:
        """Return the learning rate that is used."""
        return rate

    def applied_share(self, share: float, place: Place) -> float:
        """Return the share of this step's update that the rank's replica applies. 1 is as it should be."""
        return share

    def compute_us(self, microseconds: int, place: Place) -> int:
        """Return the time that a rank computes."""
        return microseconds

    def data_us(self, microseconds: int, place: Place, *, mirrored: bool) -> int:
        """Return the time that a rank waits for its data."""
        return microseconds

    def reduce_us(self, microseconds: int, places: Sequence[Place]) -> int:
        """Return the time of the reduction over the ranks at these places."""
        return microseconds

    def dies_at_us(self, place: Place) -> int | None:
        """Return the moment at which the rank dies next, if it does after the beginning of the step."""
        return None

    def hangs_at_us(self, place: Place) -> int | None:
        """Return the moment at which the rank hangs next, if it does after the beginning of the step."""
        return None

    def memory_mb(self, megabytes: int, place: Place) -> int:
        """Return the memory that a rank uses."""
        return megabytes

    def restored(self, state: FleetState, saved_us: int) -> FleetState:
        """Return what a restart reads from the checkpoint that was saved at this moment."""
        return state

    def self_test(self, found: dict[str, float], node: int, clock_us: int) -> dict[str, float]:
        """Return what a self-test of a node finds: figures by name, of which some may be changed."""
        return found


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that goes wrong in an episode, and how its job was set up. Its faults apply one after another.

    Attributes:
        faults: The faults.
        loader_offsets: Whether the loader gives each rank batches of its own, so that the sampler must not.
        records_activations: Whether the run begins with a recording of activations. Most do no harm.
    """

    faults: tuple[Fault, ...] = ()
    loader_offsets: bool = False
    records_activations: bool = False

    @property
    def is_harmless(self) -> bool:
        """Whether nothing is wrong."""
        return all(fault.is_harmless for fault in self.faults)

    @property
    def without_harm(self) -> "Scenario":
        """The scenario in which nothing is wrong, though it may look so."""
        return replace(self, faults=tuple(fault for fault in self.faults if fault.is_harmless))

    @property
    def repeats_positions(self) -> int | None:
        """How many positions in the data are read again and again after a restart. None for no such thing."""
        return next((found for fault in self.faults if (found := fault.repeats_positions) is not None), None)

    @property
    def first_settings(self) -> dict[str, float | bool]:
        """The settings that the run begins with, where they are not the reference's."""
        is_sampler_wrong = any(fault.is_sampler_wrong for fault in self.faults)
        setup = {
            "sampler_offset": self.loader_offsets == is_sampler_wrong,
            "record_activations": self.records_activations,
        }
        return setup | {name: value for fault in self.faults for name, value in fault.first_settings.items()}

    @property
    def notices(self) -> list[Notice]:
        """What monitoring shows, in the order of time."""
        return sorted((one for fault in self.faults for one in fault.notices), key=lambda one: (one.clock_us, one.text))

    @property
    def is_half_precision(self) -> bool:
        """Whether gradients are half precision."""
        return any(fault.is_half_precision for fault in self.faults)

    def batch(self, batch: Batch, place: Place) -> Batch:
        """Return the batch that is read."""
        for fault in self.faults:
            batch = fault.batch(batch, place)
        return batch

    def gradient(self, gradient: np.ndarray, place: Place) -> np.ndarray:
        """Return the gradient that a rank sends."""
        for fault in self.faults:
            gradient = fault.gradient(gradient, place)
        return gradient

    def learning_rate(self, rate: float) -> float:
        """Return the learning rate that is used."""
        for fault in self.faults:
            rate = fault.learning_rate(rate)
        return rate

    def applied_share(self, place: Place) -> float:
        """Return the share of this step's update that the rank's replica applies. 1 is as it should be."""
        share = 1.0
        for fault in self.faults:
            share = fault.applied_share(share, place)
        return share

    def compute_us(self, microseconds: int, place: Place) -> int:
        """Return the time that a rank computes."""
        for fault in self.faults:
            microseconds = fault.compute_us(microseconds, place)
        return microseconds

    def data_us(self, microseconds: int, place: Place, *, mirrored: bool) -> int:
        """Return the time that a rank waits for its data."""
        for fault in self.faults:
            microseconds = fault.data_us(microseconds, place, mirrored=mirrored)
        return microseconds

    def reduce_us(self, microseconds: int, places: Sequence[Place]) -> int:
        """Return the time of the reduction over the ranks at these places."""
        for fault in self.faults:
            microseconds = fault.reduce_us(microseconds, places)
        return microseconds

    def memory_mb(self, megabytes: int, place: Place) -> int:
        """Return the memory that a rank uses."""
        for fault in self.faults:
            megabytes = fault.memory_mb(megabytes, place)
        return megabytes

    def restored(self, state: FleetState, saved_us: int) -> FleetState:
        """Return what a restart reads from the checkpoint that was saved at this moment."""
        for fault in self.faults:
            state = fault.restored(state, saved_us)
        return state

    def self_test(self, found: dict[str, float], node: int, clock_us: int) -> dict[str, float]:
        """Return what a self-test of a node finds: figures by name."""
        for fault in self.faults:
            found = fault.self_test(found, node, clock_us)
        return found

    def stop_between(self, begin_us: int, end_us: int, places: Sequence[Place]) -> Stop | None:
        """Return the first death or hang after `begin_us`, up to `end_us`. None for none."""
        stops = (stop for stop in self._stops(places) if begin_us < stop.clock_us <= end_us)
        return min(stops, key=lambda stop: (stop.clock_us, stop.rank), default=None)

    def _stops(self, places: Sequence[Place]) -> Iterator[Stop]:
        for place in places:
            for fault in self.faults:
                if (moment := fault.dies_at_us(place)) is not None:
                    yield Stop(moment, place.rank, hangs=False)
                if (moment := fault.hangs_at_us(place)) is not None:
                    yield Stop(moment, place.rank, hangs=True)
