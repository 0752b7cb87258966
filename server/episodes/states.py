"""References to states by their lineage: the initial state and the units that followed.

A reference holds arrays only while they are needed. They can be computed again from the lineage.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from ml_trainer_env.server.executors.job import Data
from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.figures import Figures

__all__ = ["Inquiry", "MeasurementPlan", "StateRef", "Unit", "UnitPlan"]


class UnitPlan(Protocol):
    """The inputs of units of work, besides their states. A value of a game.

    Attributes:
        function: Reference of the job function; see `executors.job`.
        prepare: Reference of the function that prepares the data.
        data: The data.
        settings: The settings.
        unit: The noun for a unit in messages.
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
        """Return the key of the state after a unit.

        Args:
            identity: Key of the identity of the executor.
            before: Key of the state before the unit.
            position: Position of the state before the unit.
        """
        ...

    def digest(self, state: State) -> str:
        """Compute the digest of a state, as the job function does."""
        ...

    def ends(self, figures: Figures) -> bool:
        """Whether a unit with these figures ends the run."""
        ...


class MeasurementPlan(Protocol):
    """The inputs of a measurement. Attributes as of `UnitPlan`. The call's reply has the `figures` by these names."""

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


class Inquiry(Protocol):
    """What an episode asks for besides its own calls: figures of other runs. The call's reply has them by these names.

    It is hashable. Equal inquiries have the same figures, and a source may carry them out once.

    Attributes:
        figures: The names of the figures.
    """

    @property
    def figures(self) -> Sequence[str]: ...

    def __hash__(self) -> int: ...

    async def carry_out(self, source: Any) -> Figures:
        """Return the figures, with units of a source."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class StateRef:
    """A reference to a state that may not be in memory.

    Attributes:
        key: Its key; see `trainer.lineage`.
        position: Number of units before it.
        digest: Its digest (hex). None for an initial state.
        initial: The initial state. None for a state after a unit.
        parent: The state before the unit. None for an initial state.
        plan: The plan of the unit. None for an initial state.
        state: The arrays. None if they are not in memory.
        identity: Key of the `Identity` of the unit's executor. "" if there is none or it was not recorded.
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
        """Return a reference to the state after a unit that starts from this state."""
        parent = replace(self, state=None)  # a chain of references must not hold all the arrays
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
        from_cache: Whether the result is from the cache or from another session's run.
    """

    ref: StateRef
    figures: Figures
    seconds: float
    from_cache: bool

    def without_state(self) -> Self:
        """Return a copy without the arrays of its state."""
        return replace(self, ref=replace(self.ref, state=None))
