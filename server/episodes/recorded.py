"""Units of a recorded call: given as they were written down, or run again and compared."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from ml_trainer_env.server.episodes.errors import ReplayError
from ml_trainer_env.server.episodes.states import MeasurementPlan, StateRef, Unit, UnitPlan
from ml_trainer_env.server.episodes.units import OnWait, UnitSource
from ml_trainer_env.server.executors.contract import ExecutorError, wait_quietly
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.store import CallRecord, RecordedUnit
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.lineage import unproven_key

__all__ = ["CallSource", "Difference", "RecordedSource", "VerifyingSource"]


class CallSource(UnitSource, Protocol):
    """A source that is told which recorded call comes next."""

    def begin(self, call: CallRecord) -> None:
        """Go on to the next call."""
        ...


class _Recorded:
    """The units and the figures of the present call."""

    def __init__(self, live: UnitSource) -> None:
        self._live = live
        self._units: list[RecordedUnit] = []
        self._call: CallRecord | None = None

    def begin(self, call: CallRecord) -> None:
        """Go on to the next call."""
        self._units = list(call.units)
        self._call = call

    async def identity(self) -> Identity:
        """That of the live source."""
        return await self._live.identity()

    async def keep(self, ref: StateRef) -> StateRef:
        """Change nothing: the state is kept already, or can be made again."""
        return ref

    def _measured(self, plan: MeasurementPlan) -> Figures:
        """The figures in the call's reply.

        Raises:
            ExecutorError: They were not measured.
        """
        reply = (self._call and self._call.reply) or {}
        if any(reply.get(name) is None for name in plan.figures):
            raise ExecutorError("it was not measured")
        return {name: reply[name] for name in plan.figures}


class RecordedSource(_Recorded):
    """Gives the units of one recorded call after another. States keep the names they were recorded under.

    Those that were recorded without the identity that they ran under get names of their own, so that nothing that is
    stored is taken for them: they are made again when they are needed, and compared with what was recorded.
    """

    async def units(
        self, ref: StateRef, plan: UnitPlan, count: int, on_wait: OnWait = wait_quietly
    ) -> AsyncGenerator[Unit, None]:
        """The call's next units."""
        for _ in range(count):
            if not self._units:
                raise ExecutorError("the call ended here")
            recorded = self._units.pop(0)
            result = recorded.figures
            if set(result.figures) != set(plan.figures):
                raise ReplayError(f"a unit was recorded with the figures {sorted(result.figures)}")
            key = result.key if recorded.identity else unproven_key(result.key, result.digest)
            ref = ref.after_unit(plan, key, recorded.identity, result.digest)
            yield Unit(ref, result.figures, result.seconds, recorded.from_cache)
            if plan.ends(result.figures):
                return

    async def measure(self, ref: StateRef, plan: MeasurementPlan) -> Figures:
        """The figures that were recorded."""
        return self._measured(plan)


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure that came out different when a unit ran again.

    Attributes:
        epoch: Which unit of the episode, from 1.
        figure: `weights_hash`, or the name of a figure.
        recorded: What is in the journal.
        now: What it is now.
    """

    epoch: int
    figure: str
    recorded: object
    now: object


class VerifyingSource(_Recorded):
    """Runs every recorded unit again, and notes what comes out different.

    Args:
        live: Runs them.
        on_unit: Called after each unit that ran again.

    Attributes:
        count: How many units ran again.
        differences: What came out different.
    """

    def __init__(self, live: UnitSource, on_unit: Callable[[], object] = lambda: None) -> None:
        super().__init__(live)
        self._on_unit = on_unit
        self.count = 0
        self.differences: list[Difference] = []

    async def units(
        self, ref: StateRef, plan: UnitPlan, count: int, on_wait: OnWait = wait_quietly
    ) -> AsyncGenerator[Unit, None]:
        """The call's next units, run again. They keep the recorded wall time, which may differ each time."""
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
        """Measured again, if it was measured."""
        self._measured(plan)
        return await self._live.measure(ref, plan)

    def _compare(self, unit: Unit, recorded: RecordedUnit) -> None:
        self.count += 1
        self._on_unit()
        now = {"weights_hash": unit.ref.digest, **unit.figures}
        then = {"weights_hash": recorded.figures.digest, **recorded.figures.figures}
        # By their text, since a loss that is not a number is not equal to itself.
        self.differences += [
            Difference(self.count, figure, then.get(figure), now[figure])
            for figure in now
            if repr(now[figure]) != repr(then.get(figure))
        ]
