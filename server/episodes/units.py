"""Where an episode gets its units of work: the cache, a session that runs the same units, or the executor."""

import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Protocol

from ml_trainer_env.server.episodes.flights import Flight, Seat
from ml_trainer_env.server.episodes.states import MeasurementPlan, StateRef, Unit, UnitPlan
from ml_trainer_env.server.executors.contract import Executor, ExecutorError, OnWait, wait_quietly
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.job import Job, UnitResult
from ml_trainer_env.server.operations.metrics import Telemetry
from ml_trainer_env.server.store import StateStore, StoreError, UnitFigures, UnitStore
from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.figures import Figures

__all__ = ["LiveSource", "OnWait", "UnitSource"]

_LOG = logging.getLogger(__name__)

RECENT_UNITS = 4096
"""Limit for the figures kept in memory, for sessions that run the same units soon after another one."""


class UnitSource(Protocol):
    """Gives an episode its states and units."""

    async def identity(self) -> Identity:
        """What its results depend on besides their plans. Waits until a worker has reported it.

        Raises:
            ExecutorError: No worker can be started.
        """
        ...

    def units(
        self, ref: StateRef, plan: UnitPlan, count: int, on_wait: OnWait = wait_quietly
    ) -> AsyncGenerator[Unit, None]:
        """Run units from a state on, or find them in the cache.

        Closing the iterator, or cancelling the task that waits for it, stops the unit that is running.

        Args:
            ref: The state.
            plan: What they are run with.
            count: How many units. They are fewer if one of them ends the run.
            on_wait: Receives the position in the queue.

        Raises:
            ExecutorError: A unit could not be run.
        """
        ...

    async def measure(self, ref: StateRef, plan: MeasurementPlan) -> Figures:
        """Measure a state that a unit made.

        Raises:
            ExecutorError: It could not be measured.
        """
        ...

    async def keep(self, ref: StateRef) -> StateRef:
        """Store the arrays of a state, to be found after a restart. Returns it without them if that went well."""
        ...


class LiveSource:
    """Runs units for all sessions of a server.

    Args:
        executor: Where they run.
        states: Where states are kept; None keeps them in the episode.
        units: The figures of units that ran before; None runs every unit.
        telemetry: Counts units.
        unit_timeout_s: How long a unit may take once it has begun.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        states: StateStore | None = None,
        units: UnitStore | None = None,
        telemetry: Telemetry | None = None,
        unit_timeout_s: float = 120.0,
    ) -> None:
        self._executor = executor
        self._identity_key: str | None = None
        self._states = states
        self._units = units
        self._telemetry = telemetry
        self._unit_timeout_s = unit_timeout_s
        self._recent: OrderedDict[str, UnitFigures] = OrderedDict()
        self._flights: dict[str, Flight] = {}

    async def identity(self) -> Identity:
        """What its results depend on besides their plans."""
        return await self._executor.identity()

    async def units(
        self, ref: StateRef, plan: UnitPlan, count: int, on_wait: OnWait = wait_quietly
    ) -> AsyncGenerator[Unit, None]:
        """Run units from a state on, or find them in the cache."""
        following = await self._following(ref, plan, count)
        known = await self._known(following, plan)
        while following:
            after = following[0]
            if (figures := known.get(after.key) or self._known_recently(after)) is None:
                break
            unit = self._unit(following.pop(0), plan, figures, from_cache=True)
            ref = unit.ref
            yield unit
            if plan.ends(unit.figures):
                return
        while following:
            seat = self._seat(following, ref, plan, on_wait)
            try:
                while following and not seat.is_through:
                    result, is_first = await seat.next()
                    figures = _figures(following[0].key, result)
                    unit = self._unit(following.pop(0), plan, figures, from_cache=not is_first, state=result.state)
                    ref = unit.ref
                    yield unit
                    if plan.ends(unit.figures):
                        return
            finally:
                seat.leave()

    async def measure(self, ref: StateRef, plan: MeasurementPlan) -> Figures:
        """Measure a state that a unit made."""
        if ref.initial is not None:
            raise ExecutorError("a model that has not been trained is not measured")
        state = await self._state(ref, wait_quietly)
        job = Job(plan.function, plan.prepare, state, plan.settings, plan.data, name=ref.key, unit=plan.unit)
        (result,) = await self._executor.run(job, self._unit_timeout_s)
        return result.figures

    async def keep(self, ref: StateRef) -> StateRef:
        """Store the arrays of a state."""
        if self._states is None or ref.state is None:
            return ref
        try:
            await self._states.save(ref.key, ref.state)
        except (OSError, StoreError) as error:
            # Nothing is lost: the arrays are still held here, and elsewhere they can be made again.
            _LOG.warning("a model cannot be kept: %s", error)
            return ref
        return replace(ref, state=None)

    async def _following(self, ref: StateRef, plan: UnitPlan, count: int) -> list[StateRef]:
        """The states that units of `plan` make, from `ref` on: their names are known before they are made."""
        identity = await self._own_identity()
        following: list[StateRef] = []
        for _ in range(count):
            ref = ref.after_unit(plan, plan.key(identity, ref.key, ref.position), identity)
            following.append(ref)
        return following

    async def _known(self, following: Sequence[StateRef], plan: UnitPlan) -> dict[str, UnitFigures]:
        if self._units is None:
            return {}
        return await self._units.find([ref.key for ref in following], plan.figures)

    def _known_recently(self, after: StateRef) -> UnitFigures | None:
        return None if self._units is None else self._recent.get(after.key)

    async def _own_identity(self) -> str:
        """The key of the executor's identity."""
        if self._identity_key is None:
            self._identity_key = (await self._executor.identity()).key
        return self._identity_key

    def _unit(
        self, after: StateRef, plan: UnitPlan, figures: UnitFigures, *, from_cache: bool, state: State | None = None
    ) -> Unit:
        if self._telemetry is not None:
            self._telemetry.epoch(plan.label, figures.seconds, from_cache)
        ref = replace(after, digest=figures.digest, state=state)
        return Unit(ref, figures.figures, figures.seconds, from_cache)

    def _seat(self, following: Sequence[StateRef], ref: StateRef, plan: UnitPlan, on_wait: OnWait) -> Seat:
        """Take part in the flight that runs the next unit; start one if there is none."""
        key = following[0].key
        flight = None if self._units is None else self._flights.get(key)
        if flight is None:
            states = tuple(following)
            flight = Flight([state.key for state in states], lambda flight: self._run(flight, states, ref, plan))
            if self._units is not None:
                self._flights |= dict.fromkeys(flight.keys, flight)
                flight.on_end(lambda: self._forget(flight))
        return flight.join(key, len(following), on_wait)

    def _forget(self, flight: Flight) -> None:
        for key in flight.keys:
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def _run(self, flight: Flight, following: Sequence[StateRef], ref: StateRef, plan: UnitPlan) -> None:
        """Run the units that end in `following`, from `ref` on."""
        state = await self._state(ref, flight.tell)
        own_identity = await self._own_identity()

        def landed(result: UnitResult) -> None:
            after = following[len(flight.results)]
            if result.identity != own_identity:
                raise ExecutorError(f"the {plan.unit} was trained by a worker of another identity, and is not used")
            if after.identity == result.identity:  # else it is made again, and what it is named by must not name this
                self._remember(_figures(after.key, result), result.state)
            flight.land(result)

        while flight.left:
            name = following[len(flight.results)].key
            job = Job(
                plan.function, plan.prepare, state, plan.settings, plan.data, flight.left, name=name, unit=plan.unit
            )
            results = await self._executor.run(job, self._unit_timeout_s, flight.tell, landed)
            last = results[-1]
            if last.ends or last.state is None:
                return
            state = last.state

    def _remember(self, figures: UnitFigures, state: State | None) -> None:
        self._recent[figures.key] = figures
        if len(self._recent) > RECENT_UNITS:
            self._recent.popitem(last=False)
        if self._states is not None and state is not None:
            self._states.keep_in_memory(figures.key, state)

    async def _state(self, ref: StateRef, on_wait: OnWait) -> State:
        """The arrays of a state: held, stored, or made again. In each case they have the digest that was recorded.

        Raises:
            ExecutorError: They could not be made again, or came out different.
        """
        if ref.state is not None:
            return ref.state
        if ref.initial is not None:
            return ref.initial
        assert ref.plan is not None
        assert ref.parent is not None
        found = None if self._states is None else await self._states.find(ref.key)
        if found is not None and ref.plan.digest(found) == ref.digest:
            return found
        seat = self._seat([ref], ref.parent, ref.plan, on_wait)
        try:
            result, _ = await seat.next()
        finally:
            seat.leave()
        if result.digest != ref.digest or result.state is None:
            raise ExecutorError(
                "a lost model was trained again and came out different: the program or the machine has "
                "changed since; restore a checkpoint or reinitialize"
            )
        if self._states is not None:
            self._states.keep_in_memory(ref.key, result.state)
        return result.state


def _figures(key: str, result: UnitResult) -> UnitFigures:
    return UnitFigures(key, result.figures, result.digest, result.seconds)
