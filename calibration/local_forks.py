"""Forks of episodes in this process; see `baselines.forks.Sessions`."""

from collections.abc import AsyncGenerator, Callable, Sequence

from ml_trainer_env.baselines.session import Brief, GameSession
from ml_trainer_env.calibration.local_session import LocalSession
from ml_trainer_env.server.episodes.states import Inquiry, MeasurementPlan, StateRef, Unit, UnitPlan
from ml_trainer_env.server.episodes.units import OnWait, UnitSource
from ml_trainer_env.server.executors.contract import wait_quietly
from ml_trainer_env.server.executors.identity import Identity
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
        self.opened: list[LocalSession] = []

    def begin(self) -> LocalSession:
        """Begin an episode."""
        self.opened.append(self._begin())
        return self.opened[-1]

    def fork(self, of: GameSession[Brief]) -> LocalSession:
        """Begin an episode where another one stands."""
        assert isinstance(of, LocalSession)
        forked = self.begin()
        live = forked.episode.source
        forked.episode.source = _KnownUnits(live, of.episode.units)
        for name, arguments in of.calls:
            forked.call(name, arguments)
        forked.episode.source = live
        return forked

    def discard(self, session: GameSession[Brief]) -> None:
        """Do nothing: an episode in this process needs no place."""


class _KnownUnits:
    """A source that yields units that were run before, with their states.

    Args:
        live: The source that ran them.
        units: The units, in order.
    """

    def __init__(self, live: UnitSource, units: Sequence[Unit]) -> None:
        self._live = live
        self._units = list(units)

    async def identity(self) -> Identity:
        """Return the identity of the live source."""
        return await self._live.identity()

    async def units(
        self, ref: StateRef, plan: UnitPlan, count: int, on_wait: OnWait = wait_quietly
    ) -> AsyncGenerator[Unit, None]:
        """Yield the next units."""
        for _ in range(count):
            unit = self._units.pop(0)
            yield unit
            if plan.ends(unit.figures):
                return

    async def measure(self, ref: StateRef, plan: MeasurementPlan) -> Figures:
        """Measure a state with the live source."""
        return await self._live.measure(ref, plan)

    async def inquire(self, inquiry: Inquiry) -> Figures:
        """Carry an inquiry out with the live source."""
        return await self._live.inquire(inquiry)

    async def keep(self, ref: StateRef) -> StateRef:
        """Do nothing. The state is kept already."""
        return ref
