"""A state by its lineage: what it was drawn from and what it was made by. A light value.

The arrays are held only while they are needed; they can be made again from the lineage.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from ml_trainer_env.server.executors.job import Data
from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.figures import Figures

__all__ = ["MeasurementPlan", "StateRef", "Unit", "UnitPlan"]


class UnitPlan(Protocol):
    """What units of work are run with. A value of a game.

    Attributes:
        function: Reference of the job function; see `executors.job`.
        prepare: Reference of the function that prepares the data.
        data: The data.
        settings: The settings.
        unit: What a unit is called in messages.
        figures: The names of a unit's figures.
        label: The label of its units in the metrics.
    """

    @property
    def function(self) -> str: ...
    @property
    def prepare(self) -> str: ...
    @property
    def data(self) -> Data: ...
    @property
    def settings(self) -> Any: ...
    @property
    def unit(self) -> str: ...
    @property
    def figures(self) -> Sequence[str]: ...
    @property
    def label(self) -> str: ...

    def key(self, identity: str, before: str, position: int) -> str:
        """Name the state after a unit.

        Args:
            identity: Key of the identity that the unit runs under.
            before: Key of the state that it starts from.
            position: Position of that state.
        """
        ...

    def digest(self, state: State) -> str:
        """The digest of a state, as the job function computes it."""
        ...

    def ends(self, figures: Figures) -> bool:
        """Whether no unit may follow one with these figures."""
        ...


class MeasurementPlan(Protocol):
    """How a state is measured. Attributes as of `UnitPlan`; `figures` are named as in a call's reply."""

    @property
    def function(self) -> str: ...
    @property
    def prepare(self) -> str: ...
    @property
    def data(self) -> Data: ...
    @property
    def settings(self) -> Any: ...
    @property
    def unit(self) -> str: ...
    @property
    def figures(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True, eq=False)
class StateRef:
    """A state that may not be in memory.

    Attributes:
        key: Names it; see `trainer.lineage`.
        position: How many units it is away from the beginning.
        digest: Its digest (hex); None for an initial state.
        initial: The initial state, None for a state that a unit made.
        parent: The state that the unit started from.
        plan: The plan of the unit.
        state: The arrays, if they are held.
        identity: Key of the `Identity` that the unit ran under, "" if that was not recorded or no unit made it.
    """

    key: str
    position: int
    digest: str | None = None
    initial: State | None = None
    parent: "StateRef | None" = None
    plan: UnitPlan | None = None
    state: State | None = None
    identity: str = ""

    def after_unit(self, plan: UnitPlan, key: str, identity: str, digest: str | None = None) -> Self:
        """The state that a unit makes of this one."""
        parent = replace(self, state=None)  # a chain of states must not hold all their arrays
        return replace(
            self,
            key=key,
            position=self.position + 1,
            digest=digest,
            initial=None,
            parent=parent,
            plan=plan,
            state=None,
            identity=identity,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """The result of a unit of work.

    Attributes:
        ref: The state after it.
        figures: Its figures.
        seconds: Wall time of the unit where it ran.
        from_cache: Whether it had run before.
    """

    ref: StateRef
    figures: Figures
    seconds: float
    from_cache: bool

    def without_state(self) -> Self:
        """The same without the arrays of its state, to be kept in large numbers."""
        return replace(self, ref=replace(self.ref, state=None))
