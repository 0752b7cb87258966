"""Sources of a replay's units. One returns the recorded units. The other runs them again and compares them."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from ml_trainer_env.server.episodes.errors import ReplayError
from ml_trainer_env.server.episodes.states import Inquiry, MeasurementPlan, StateRef, Unit, UnitPlan
from ml_trainer_env.server.episodes.units import OnWait, UnitSource
from ml_trainer_env.server.executors.contract import ExecutorError, wait_quietly
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.store import CallRecord, RecordedUnit
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.lineage import unproven_key
from ml_trainer_env.server.trainer.metrics import DIAGNOSTIC_FIGURES, are_recorded

__all__ = ["CallSource", "Difference", "RecordedSource", "VerifyingSource"]


class CallSource(UnitSource, Protocol):
    """A source of units for the calls of a replay."""

    def begin(self, call: CallRecord) -> None:
        """Begin the next recorded call."""
        ...


class _Recorded:
    """The units and the measured figures of the current call."""

    def __init__(self, live: UnitSource) -> None:
        self._live = live
        self._units: list[RecordedUnit] = []
        self._call: CallRecord | None = None

    def begin(self, call: CallRecord) -> None:
        """Begin the next recorded call."""
        self._units = list(call.units)
        self._call = call

    async def identity(self) -> Identity:
        """Return the identity of the live source."""
        return await self._live.identity()

    async def keep(self, ref: StateRef) -> StateRef:
        """Do nothing. The state is stored already, or it can be computed again."""
        return ref

    def _measured(self, plan: MeasurementPlan | Inquiry) -> Figures:
        """Return the figures in the call's reply, or among those that the reply withheld.

        Raises:
            ExecutorError: The call does not have them.
        """
        call = self._call
        reply = {**(call.reply or {}), **(call.withheld or {})} if call else {}
        if any(reply.get(name) is None for name in plan.figures):
            raise ExecutorError("it was not measured")
        return {name: reply[name] for name in plan.figures}


class RecordedSource(_Recorded):
    """Returns recorded units. States keep their recorded keys.

    A state that was recorded without an identity gets another key, so that no stored state is used for it. It is
    computed again when it is needed, and compared with the record.
    """

    async def units(
        self, ref: StateRef, plan: UnitPlan, count: int, on_wait: OnWait = wait_quietly
    ) -> AsyncGenerator[Unit, None]:
        """Yield the call's next units."""
        for _ in range(count):
            if not self._units:
                raise ExecutorError("the call ended here")
            recorded = self._units.pop(0)
            result = recorded.figures
            if not are_recorded(result.figures, plan.figures):
                raise ReplayError(f"a unit was recorded with the figures {sorted(result.figures)}")
            key = result.key if recorded.identity else unproven_key(result.key, result.digest)
            ref = ref.after_unit(plan, key, recorded.identity, result.digest)
            yield Unit(ref, result.figures, result.seconds, recorded.from_cache)
            if plan.ends(result.figures):
                return

    async def measure(self, ref: StateRef, plan: MeasurementPlan) -> Figures:
        """Return the recorded figures."""
        return self._measured(plan)

    async def inquire(self, inquiry: Inquiry) -> Figures:
        """Return the recorded figures."""
        return self._measured(inquiry)


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between a unit that ran again and its record.

    Attributes:
        epoch: Number of the unit in the episode, from 1.
        figure: `weights_hash`, or the name of a figure.
        recorded: The value in the journal.
        now: The value now.
    """

    epoch: int
    figure: str
    recorded: object
    now: object


class VerifyingSource(_Recorded):
    """Runs every recorded unit again and compares it with the record.

    Args:
        live: Runs the units.
        on_unit: Called after each unit.

    Attributes:
        count: Number of units that ran again.
        differences: The differences found.
    """

    def __init__(self, live: UnitSource, on_unit: Callable[[], object] = lambda: None) -> None:
        super().__init__(live)
        self._on_unit = on_unit
        self.count = 0
        self.differences: list[Difference] = []

    async def units(
        self, ref: StateRef, plan: UnitPlan, count: int, on_wait: OnWait = wait_quietly
    ) -> AsyncGenerator[Unit, None]:
        """Run the call's next units again and yield them. They keep their recorded wall time."""
        for _ in range(count):
            if not self._units:
                raise ExecutorError("the call ended here")
            recorded = self._units.pop(0)
            async for unit in self._live.units(ref, plan, 1, on_wait):
                ref = unit.ref
                self._compare(unit, recorded)
                yield replace(unit, seconds=recorded.figures.seconds, from_cache=recorded.from_cache)
                if plan.ends(unit.figures):
                    return

    async def measure(self, ref: StateRef, plan: MeasurementPlan) -> Figures:
        """Measure the state again. Raises ExecutorError if the recorded call did not measure it."""
        self._measured(plan)
        return await self._live.measure(ref, plan)

    async def inquire(self, inquiry: Inquiry) -> Figures:
        """Carry the inquiry out again. Raises ExecutorError if the recorded call has no such figures."""
        self._measured(inquiry)
        return await self._live.inquire(inquiry)

    def _compare(self, unit: Unit, recorded: RecordedUnit) -> None:
        self.count += 1
        self._on_unit()
        now = {"weights_hash": unit.ref.digest, **unit.figures}
        then = {"weights_hash": recorded.figures.digest, **recorded.figures.figures}
        compared = [figure for figure in now if figure in then or figure not in DIAGNOSTIC_FIGURES]
        # Texts are compared, because NaN is not equal to itself.
        self.differences += [
            Difference(self.count, figure, then.get(figure), now[figure])
            for figure in compared
            if repr(now[figure]) != repr(then.get(figure))
        ]
