"""A state as plain arrays and text, for other processes and for storage.

Every engine has its own typed state and converts it. Torch is not imported.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ml_trainer_env.server.trainer.figures import Figures

__all__ = ["Outcome", "State"]


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Named arrays, and facts about them. Immutable.

    A state without arrays is an initial state. The job function draws its arrays from the facts.

    Attributes:
        arrays: Read-only arrays by name. Their order matters to their engine.
        facts: Texts that describe the arrays, by name.
    """

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, str]

    def __post_init__(self) -> None:
        for array in self.arrays.values():
            array.setflags(write=False)

    @property
    def nbytes(self) -> int:
        """Size of all arrays, in bytes."""
        return sum(array.nbytes for array in self.arrays.values())


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The return value of a job function for one unit of work.

    Attributes:
        state: The state after the unit. None for a measurement.
        figures: The figures of the unit.
        digest: Returns a digest (hex) of the state. It is called once, after the unit was timed.
        ends: Whether no further unit may follow.
    """

    state: State | None
    figures: Figures
    digest: Callable[[], str]
    ends: bool = False
