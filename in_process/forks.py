"""Forks of episodes in this process; see `baselines.forks.Sessions`."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from ml_trainer_env.baselines.session import Brief, GameSession
from ml_trainer_env.in_process.tuning import LocalSession
from ml_trainer_env.server.episodes.states import Inquiry, MeasurementPlan, StateRef, Unit, UnitPlan
from ml_trainer_env.server.episodes.units import OnWait, UnitSource
from ml_trainer_env.server.executors.contract import wait_quietly
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.figures import Figures

__all__ = ["LocalSessions"]


class LocalSessions:
    """Begins and forks episodes in this process. A fork carries out its parent's calls with its parent's epochs.

    Args:
        begin: Begins an episode. All its episodes are of the same task, seed and rubric.

    Attributes:
        opened: All sessions, in the order in which they were begun.
    """

    def __init__(self, begin: Callable[[], LocalSession]) -> None:
        self._begin = begin
        self._states: dict[str, State] = {}
        self.opened: list[LocalSession] = []

    def begin(self) -> LocalSession:
        """Begin an episode."""
        session = self._begin()
        session.episode.source = _KeepingSource(session.episode.source, self._states)
        self.opened.append(session)
        return session

    def fork(self, of: GameSession[Brief]) -> LocalSession:
        """Begin an episode where another one stands."""
        assert isinstance(of, LocalSession)
        forked = self.begin()
        live = forked.episode.source
        forked.episode.source = _KnownUnits(live, self._states, of.episode.units)
        for name, arguments in of.calls:
            forked.call(name, arguments)
        forked.episode.source = live
        return forked

    def discard(self, session: GameSession[Brief]) -> None:
        """Do nothing: an episode in this process needs no place."""


class _KeepingSource:
    """A source that keeps the states that calls ended with, because a fork may begin there.

    Args:
        live: The source that runs units.
        states: Where it keeps them, by key.
    """

    def __init__(self, live: UnitSource, states: dict[str, State]) -> None:
        self._live = live
        self._states = states

    async def identity(self) -> Identity:
        """Return the identity of the live source."""
        return await self._live.identity()

    def units(
        self, ref: StateRef, plan: UnitPlan, count: int, on_wait: OnWait = wait_quietly
    ) -> AsyncGenerator[Unit, None]:
        """Run units with the live source."""
        return self._live.units(ref, plan, count, on_wait)

    async def measure(self, ref: StateRef, plan: MeasurementPlan) -> Figures:
        """Measure a state with the live source."""
        return await self._live.measure(ref, plan)

    async def inquire(self, inquiry: Inquiry) -> Figures:
        """Carry an inquiry out with the live source."""
        return await self._live.inquire(inquiry)

    async def keep(self, ref: StateRef) -> StateRef:
        """Keep the arrays of a state."""
        kept = await self._live.keep(ref)
        if kept.state is not None:
            self._states[kept.key] = kept.state
        return kept


class _KnownUnits(_KeepingSource):
    """A source that yields units that were run before.

    Args:
        live: The source that ran them.
        states: The states that calls ended with.
        units: The units, in order.
    """

    def __init__(self, live: UnitSource, states: dict[str, State], units: Sequence[Unit]) -> None:
        super().__init__(live, states)
        self._units = list(units)

    async def units(
        self, ref: StateRef, plan: UnitPlan, count: int, on_wait: OnWait = wait_quietly
    ) -> AsyncGenerator[Unit, None]:
        """Yield the next units."""
        for _ in range(count):
            unit = self._units.pop(0)
            yield unit
            if plan.ends(unit.figures):
                return

    async def keep(self, ref: StateRef) -> StateRef:
        """Return a reference with the arrays that were kept."""
        return replace(ref, state=self._states.get(ref.key))
