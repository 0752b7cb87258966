"""A job as a value: units of work for a pure function, and what each of them returned.

Functions are named by object references, as entry points are written (`package.module:function`). They are
resolved only where jobs run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.figures import Figures

__all__ = ["Data", "Job", "Part", "UnitResult"]


class Part(Protocol):
    """A part of some data. It pickles."""

    @property
    def key(self) -> str:
        """Names the content: parts with the same key hold the same."""
        ...

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes."""
        ...


class Data(Part, Protocol):
    """The data of a job. It pickles."""

    @property
    def parts(self) -> Sequence[Part]:
        """The parts that other data may share, perhaps the value itself. Each is sent to a worker once."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Units of work, one after another, each from the state that the one before ended in.

    A unit of work is what may be interrupted, charged and cached.

    Attributes:
        function: Reference of the job function. It is called as `function(state, settings, data, interrupted)`
            for each unit, and returns an `Outcome`. It asks `interrupted()` often, and raises `Interrupted` if
            that is true. The same arguments give the same outcome.
        prepare: Reference of the function that prepares the data. It is called as `prepare(data, options)`, and
            its result is kept in memory under the key of the data.
        state: The state to start from.
        settings: The settings of all units. They pickle.
        data: The data of all units.
        units: How many units, at least 1.
        name: Key of the state after the first unit, for logs.
        unit: What a unit is called in messages.
    """

    function: str
    prepare: str
    state: State
    settings: Any
    data: Data
    units: int = 1
    name: str = ""
    unit: str = "unit"

    @property
    def a_unit(self) -> str:
        """What a unit is called, with an article."""
        return f"{'an' if self.unit[0] in 'aeiou' else 'a'} {self.unit}"

    def after(self, results: "Sequence[UnitResult]") -> Self:
        """The rest of the job, once some of its units are done."""
        state = results[-1].state if results else self.state
        if state is None:
            raise ValueError("a measurement has no further unit")
        return replace(self, state=state, units=self.units - len(results)) if results else self


@dataclass(frozen=True, slots=True, eq=False)
class UnitResult:
    """The outcome of one unit of work.

    Attributes:
        state: The state after it; None for a measurement.
        figures: Its figures.
        digest: Digest (hex) of the state, computed where the unit ran.
        seconds: Wall time of the unit itself where it ran.
        identity: Key of the `Identity` of the process that ran it.
        ends: Whether no further unit may follow.
    """

    state: State | None
    figures: Figures
    digest: str
    seconds: float
    identity: str
    ends: bool = False
