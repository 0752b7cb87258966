"""Sources of units of work: the cache, another session's run of the same units, or the executor."""

import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from ml_trainer_env.server.episodes.shared_inquiries import SharedInquiries
from ml_trainer_env.server.episodes.shared_runs import SharedRun, Subscription
from ml_trainer_env.server.episodes.states import Inquiry, MeasurementPlan, StateRef, Unit, UnitPlan
from ml_trainer_env.server.executors.background import BackgroundExecutor
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
"""Number of units whose figures are kept in memory, for sessions that run the same units soon after."""


class UnitSource(Protocol):
    """A source of an episode's units and states."""

    async def identity(self) -> Identity:
        """Wait until a worker is ready, and return what results depend on besides their plans.

        Raises:
            ExecutorError: No worker can be started.
        """
        ...

    def units(
        self, ref: StateRef, plan: UnitPlan, count: int, on_wait: OnWait = wait_quietly
    ) -> AsyncGenerator[Unit, None]:
        """Run units from a state on, or find them in the cache.

        The running unit stops if the iterator is closed or the task that waits for it is cancelled.

        Args:
            ref: The state.
            plan: The inputs of the units.
            count: Number of units. Fewer are yielded if one of them ends the run.
            on_wait: Receives the position in the queue.

        Raises:
            ExecutorError: A unit could not be run.
        """
        ...

    async def measure(self, ref: StateRef, plan: MeasurementPlan) -> Figures:
        """Measure the state after a unit.

        Raises:
            ExecutorError: The state could not be measured.
        """
        ...

    async def inquire(self, inquiry: Inquiry) -> Figures:
        """Carry out an inquiry, behind the work of all calls.

        Raises:
            MLTrainerError: It failed.
        """
        ...

    async def keep(self, ref: StateRef) -> StateRef:
        """Store the arrays of a state. Returns the reference without them if they were stored."""
        ...


class LiveSource:
    """Runs units for all sessions of a server.

    Args:
        executor: Runs units.
        states: Stores states. None keeps them in the episode.
        units: The cache of units' figures. None runs every unit.
        telemetry: Counts units.
        unit_timeout_s: Time limit of a unit, in seconds, without the time in the queue.
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
        self._shared_runs: dict[str, SharedRun] = {}
        self._inquiries = SharedInquiries()
        self._of_lane: dict[Executor, LiveSource] = {}

    async def identity(self) -> Identity:
        """Return the identity of the executor."""
        return await self._executor.identity()

    def of_episode(self, key: str | None = None) -> UnitSource:
        """Return the source of an episode. It runs all units under one identity, and needs no worker until the first.

        Args:
            key: Key of the identity under which the episode was trained. None for a new episode. If no worker has had
                it, the source is that of a new one.
        """
        return _EpisodeSource(self, key)

    async def of_identity(self, key: str | None) -> "LiveSource":
        """Return the source that runs units under an identity. Waits until a worker is ready if there may be several.

        Args:
            key: As for `of_episode`.

        Raises:
            ExecutorError: No worker can be started.
        """
        lane = await self._executor.lane(key)
        if lane is self._executor:
            return self
        if lane not in self._of_lane:
            self._of_lane[lane] = LiveSource(
                lane,
                states=self._states,
                units=self._units,
                telemetry=self._telemetry,
                unit_timeout_s=self._unit_timeout_s,
            )
        return self._of_lane[lane]

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
            unit = self._unit(following.pop(0), ref, plan, figures, from_cache=True)
            ref = unit.ref
            yield unit
            if plan.ends(unit.figures):
                return
        while following:
            subscription = self._subscribe(following, ref, plan, on_wait)
            try:
                while following and not subscription.is_complete:
                    result, is_first = await subscription.next()
                    figures = _figures(following[0].key, result)
                    unit = self._unit(following.pop(0), ref, plan, figures, from_cache=not is_first, state=result.state)
                    ref = unit.ref
                    yield unit
                    if plan.ends(unit.figures):
                        return
            finally:
                subscription.close()

    async def measure(self, ref: StateRef, plan: MeasurementPlan) -> Figures:
        """Measure the state after a unit."""
        if ref.initial is not None:
            raise ExecutorError("a model that has not been trained is not measured")
        state = await self._state(ref, wait_quietly)
        job = Job(plan.function, plan.prepare, state, plan.settings, plan.data, name=ref.key, unit=plan.unit)
        (result,) = await self._executor.run(job, self._unit_timeout_s)
        return result.figures

    async def inquire(self, inquiry: Inquiry) -> Figures:
        """Carry out an inquiry, behind the work of all calls. With a cache, equal ones are carried out once."""
        if self._units is None:
            return await inquiry.carry_out(_BackgroundSource(self))
        return await self._inquiries.figures(inquiry, lambda: inquiry.carry_out(_BackgroundSource(self)))

    async def keep(self, ref: StateRef) -> StateRef:
        """Store the arrays of a state."""
        if self._states is None or ref.state is None:
            return ref
        try:
            await self._states.save(ref.key, ref.state)
        except (OSError, StoreError) as error:
            # Nothing is lost: this reference has the arrays, and they can be computed again.
            _LOG.warning("a model cannot be kept: %s", error)
            return ref
        return replace(ref, state=None)

    async def _following(self, ref: StateRef, plan: UnitPlan, count: int) -> list[StateRef]:
        """Return references to the states after the next units. Their keys are known before they are computed."""
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
        self,
        after: StateRef,
        before: StateRef,
        plan: UnitPlan,
        figures: UnitFigures,
        *,
        from_cache: bool,
        state: State | None = None,
    ) -> Unit:
        if self._telemetry is not None:
            self._telemetry.epoch(plan.label, figures.seconds, from_cache)
        # The parent of `after` was made before its digest was known, and a state without one cannot be computed again.
        parent = replace(before, state=None)
        ref = replace(after, digest=figures.digest, state=state, parent=parent)
        return Unit(ref, figures.figures, figures.seconds, from_cache)

    def _subscribe(self, following: Sequence[StateRef], ref: StateRef, plan: UnitPlan, on_wait: OnWait) -> Subscription:
        """Subscribe to the run of the next unit. Starts a run if there is none."""
        key = following[0].key
        shared = None if self._units is None else self._shared_runs.get(key)
        if shared is None:
            states = tuple(following)
            shared = SharedRun([state.key for state in states], lambda shared: self._run(shared, states, ref, plan))
            if self._units is not None:
                self._shared_runs |= dict.fromkeys(shared.keys, shared)
                shared.on_end(lambda: self._forget(shared))
        return shared.subscribe(key, len(following), on_wait)

    def _forget(self, shared: SharedRun) -> None:
        for key in shared.keys:
            if self._shared_runs.get(key) is shared:
                del self._shared_runs[key]

    async def _run(self, shared: SharedRun, following: Sequence[StateRef], ref: StateRef, plan: UnitPlan) -> None:
        """Run the units from `ref` on. The states after them are `following`."""
        state = await self._state(ref, shared.report_position)
        own_identity = await self._own_identity()

        def on_unit(result: UnitResult) -> None:
            after = following[len(shared.results)]
            if result.identity != own_identity:
                raise ExecutorError(f"the {plan.unit} was trained by a worker of another identity, and is not used")
            if (
                after.identity == result.identity
            ):  # else the state is computed again, and its key belongs to the old one
                self._remember(_figures(after.key, result), result.state)
            shared.publish(result)

        while shared.remaining:
            name = following[len(shared.results)].key
            job = Job(
                plan.function,
                plan.prepare,
                state,
                plan.settings,
                plan.data,
                shared.remaining,
                name=name,
                unit=plan.unit,
            )
            results = await self._executor.run(job, self._unit_timeout_s, shared.report_position, on_unit)
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
        """Return the arrays of a state: from memory, from the store, or computed again. Their digest is checked.

        Raises:
            ExecutorError: They could not be computed again, or they differ.
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
        subscription = self._subscribe([ref], ref.parent, ref.plan, on_wait)
        try:
            result, _ = await subscription.next()
        finally:
            subscription.close()
        if result.digest != ref.digest or result.state is None:
            raise ExecutorError(
                "a lost model was trained again and came out different: the program or the machine has "
                "changed since; restore a checkpoint or reinitialize"
            )
        if self._states is not None:
            self._states.keep_in_memory(ref.key, result.state)
        return result.state


class _EpisodeSource:
    """The source of one episode. It is bound to an identity when it is first needed.

    Args:
        live: The source of all.
        key: Key of the identity; see `LiveSource.of_episode`.
    """

    def __init__(self, live: LiveSource, key: str | None) -> None:
        self._live = live
        self._key = key
        self._bound: LiveSource | None = None

    async def identity(self) -> Identity:
        """Return the identity."""
        return await (await self._source()).identity()

    async def units(
        self, ref: StateRef, plan: UnitPlan, count: int, on_wait: OnWait = wait_quietly
    ) -> AsyncGenerator[Unit, None]:
        """Run units from a state on, or find them in the cache."""
        source = await self._source()
        async with aclosing(source.units(ref, plan, count, on_wait)) as units:
            async for unit in units:
                yield unit

    async def measure(self, ref: StateRef, plan: MeasurementPlan) -> Figures:
        """Measure the state after a unit."""
        return await (await self._source()).measure(ref, plan)

    async def inquire(self, inquiry: Inquiry) -> Figures:
        """Carry out an inquiry."""
        return await (await self._source()).inquire(inquiry)

    async def keep(self, ref: StateRef) -> StateRef:
        """Store the arrays of a state."""
        return await self._live.keep(ref)

    async def _source(self) -> LiveSource:
        if self._bound is None:
            found = await self._live.of_identity(self._key)
            self._bound = self._bound or found  # the first of several callers decides
        return self._bound


class _BackgroundSource(LiveSource):
    """The source of inquiries. Its jobs wait behind all others, and its states stay in memory.

    Its units are not counted: the metrics count those that calls asked for, and a client that reads them must not learn
    how many units an inquiry takes.
    """

    def __init__(self, live: LiveSource) -> None:
        super().__init__(
            BackgroundExecutor(live._executor),
            states=live._states,
            units=live._units,
            unit_timeout_s=live._unit_timeout_s,
        )
        self._recent = live._recent

    async def keep(self, ref: StateRef) -> StateRef:
        """Do nothing."""
        return ref


def _figures(key: str, result: UnitResult) -> UnitFigures:
    return UnitFigures(key, result.figures, result.digest, result.seconds)
