"""A job and its results, as values. A job is a number of units of work for a pure function.

Functions are named by object references in the format of entry points (`package.module:function`). They are
resolved only where jobs run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.figures import Figures

__all__ = ["Data", "Job", "Part", "UnitResult"]


class Part(Protocol):
    """A part of a job's data. It can be pickled."""

    @property
    def key(self) -> str:
        """Key of the content. Parts with the same key have the same content."""
        ...

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes."""
        ...


class Data(Part, Protocol):
    """The data of a job. It can be pickled."""

    @property
    def parts(self) -> Sequence[Part]:
        """The parts that other data may share. The value itself may be one. Each is sent to a worker once."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Units of work that run one after another. Each starts from the state after the previous one.

    A unit can be interrupted, charged and cached.

    Attributes:
        function: Reference of the job function. It is called as `function(state, settings, data, interrupted)`
            for each unit, and returns an `Outcome`. It calls `interrupted()` often, and raises `Interrupted` if
            that returns true. The same arguments give the same outcome.
        prepare: Reference of the function that prepares the data. It is called as `prepare(data, options)`. Its
            result is kept in memory under the key of the data.
        state: The state to start from.
        settings: The settings of all units. They can be pickled.
        data: The data of all units.
        units: Number of units, at least 1.
        name: Key of the state after the first unit, for logs.
        unit: The noun for a unit in messages.
        is_background: Whether it waits behind all jobs that are not.
    """

    function: str
    prepare: str
    state: State
    settings: Any
    data: Data
    units: int = 1
    name: str = ""
    unit: str = "unit"
    is_background: bool = False

    @property
    def a_unit(self) -> str:
        """The noun for a unit, with its article."""
        return f"{'an' if self.unit[0] in 'aeiou' else 'a'} {self.unit}"

    def after(self, results: "Sequence[UnitResult]") -> Self:
        """Return the rest of the job after these results.

        Raises:
            ValueError: The last result is a measurement, which has no state.
        """
        state = results[-1].state if results else self.state
        if state is None:
            raise ValueError("a measurement has no further unit")
        return replace(self, state=state, units=self.units - len(results)) if results else self


@dataclass(frozen=True, slots=True, eq=False)
class UnitResult:
    """The result of one unit of work.

    Attributes:
        state: The state after it. None for a measurement.
        figures: Its figures.
        digest: Digest (hex) of the state, computed where the unit ran.
        seconds: Wall time of the unit where it ran.
        identity: Key of the `Identity` of the process that ran it.
        ends: Whether no further unit may follow.
    """

    state: State | None
    figures: Figures
    digest: str
    seconds: float
    identity: str
    ends: bool = False
