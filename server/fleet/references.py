"""The two runs that a score lies between, as an inquiry that a source carries out behind all other work."""

import asyncio
from dataclasses import dataclass, field

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.episodes.errors import TrainingStoppedError
from ml_trainer_env.server.episodes.units import UnitSource
from ml_trainer_env.server.fleet.plans import fleet_text, held_out
from ml_trainer_env.server.fleet.run import FleetRun
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.fleet.faults import Scenario

__all__ = ["BackgroundReferences", "ReferenceRuns"]

_AT_ONCE = 10_000

_NO_EPISODE = 2**63
"""The least seed that no episode can have."""


@dataclass(frozen=True, slots=True)
class ReferenceRuns:
    """The runs of one seed in which nobody acts: with all faults, and with the harmless ones; see `Inquiry`.

    Those of any time limit are equal.

    Attributes:
        seed: Seed of weights, data and noise.
        scenario: What goes wrong.
        spares: Number of spare nodes.
        run_s: Time limit of a run, in seconds.
    """

    seed: int
    scenario: Scenario
    spares: int
    run_s: float = field(compare=False)

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of the figures."""
        return ("nothing_loss", "clean_loss")

    async def carry_out(self, source: UnitSource) -> Figures:
        """Return `nothing_loss` and `clean_loss`, held-out losses in nats a character.

        How long calls take must not tell what goes wrong. So the run in which nobody acts is the first one, whose steps
        calls may share, and the steps of both runs are twice those of a clean run, whatever goes wrong.

        Raises:
            ExecutorError: A run failed.
            TrainingStoppedError: A run took too long.
        """
        nothing, clean = await self._both(source)
        missing = len(clean.units) - (0 if nothing is clean else len(nothing.units))
        await self._trained(_NO_EPISODE + self.seed, self.scenario.without_harm, source, missing)
        return await _figures(nothing, clean)

    async def carry_out_openly(self, source: UnitSource) -> Figures:
        """Return the same, and train no step beyond the two runs. For a process in which nobody takes the time.

        Raises:
            ExecutorError: A run failed.
            TrainingStoppedError: A run took too long.
        """
        return await _figures(*await self._both(source))

    async def _both(self, source: UnitSource) -> tuple[FleetRun, FleetRun]:
        """Return the run in which nobody acts, and the clean one. They are the same run if nothing does harm."""
        nothing = await self._trained(self.seed, self.scenario, source)
        if self.scenario.is_harmless:
            return nothing, nothing
        return nothing, await self._trained(self.seed, self.scenario.without_harm, source)

    async def _trained(self, seed: int, scenario: Scenario, source: UnitSource, steps: int = _AT_ONCE) -> FleetRun:
        run = FleetRun(seed, scenario, self.spares, source, self.run_s)
        while not run.is_spent and len(run.units) < steps:
            await run.train(steps - len(run.units))
        return run


async def _figures(nothing: FleetRun, clean: FleetRun) -> Figures:
    return {"nothing_loss": await _loss(nothing), "clean_loss": await _loss(clean)}


async def _loss(run: FleetRun) -> float:
    """Measure the loss of a run's model on the held-out text."""
    return float((await run.measure(run.ref, held_out(run.settings, fleet_text())))["held_out_loss"] or 0.0)


class BackgroundReferences:
    """The references of an episode, trained while it is played.

    Args:
        runs: The runs.
        live: The source that trains them. Another one, such as that of a replay, is asked for the figures at the end.
    """

    def __init__(self, runs: ReferenceRuns, live: UnitSource) -> None:
        self._runs = runs
        self._live = live
        self._task: asyncio.Task[Figures] | None = None

    def begin(self, source: UnitSource) -> None:
        """Train the references, if this is the live source and they are not being trained."""
        if source is self._live:
            self._begun()

    def cancel(self) -> None:
        """Stop. They begin anew when they are needed."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def figures(self, source: UnitSource) -> Figures:
        """Wait for the figures of `ReferenceRuns`.

        Raises:
            TrainingStoppedError: They could not be trained. The call may be made again.
        """
        try:
            if source is not self._live:
                return await source.inquire(self._runs)
            return dict(await asyncio.shield(self._begun()))
        except asyncio.CancelledError:
            if self._task is None:  # `cancel` did it
                raise TrainingStoppedError("the references were interrupted; call submit_model again") from None
            raise
        except MLTrainerError as error:
            self._task = None
            raise TrainingStoppedError(
                f"the references could not be trained: {error}; call submit_model again"
            ) from error

    def _begun(self) -> "asyncio.Task[Figures]":
        if self._task is None:
            self._task = asyncio.ensure_future(self._live.inquire(self._runs))
            self._task.add_done_callback(_retrieve)
        return self._task


def _retrieve(task: "asyncio.Task[Figures]") -> None:
    if not task.cancelled():
        task.exception()
