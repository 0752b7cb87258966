"""The two runs that a score lies between, as an inquiry that a source carries out."""

from dataclasses import dataclass, replace

from ml_trainer_env.server.episodes.units import UnitSource
from ml_trainer_env.server.fleet.plans import fleet_text, held_out
from ml_trainer_env.server.fleet.run import FleetRun
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.fleet.faults import Scenario

__all__ = ["ReferenceRuns"]

_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceRuns:
    """The runs of one seed: nobody acts, with the faults and without; see `Inquiry`.

    Attributes:
        seed: Seed of weights, data and noise.
        scenario: What goes wrong.
        spares: Number of spare nodes.
        run_s: Time limit of a run, in seconds.
    """

    seed: int
    scenario: Scenario
    spares: int
    run_s: float

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of the figures."""
        return ("nothing_loss", "clean_loss")

    async def carry_out(self, source: UnitSource) -> Figures:
        """Return `nothing_loss` and `clean_loss`, held-out losses in nats a character.

        Raises:
            ExecutorError: A run failed.
            TrainingStoppedError: A run took too long.
        """
        clean = await self._loss(replace(self.scenario, faults=()), source)
        nothing = await self._loss(self.scenario, source) if self.scenario.faults else clean
        return {"nothing_loss": nothing, "clean_loss": clean}

    async def _loss(self, scenario: Scenario, source: UnitSource) -> float:
        run = FleetRun(self.seed, scenario, self.spares, source, self.run_s)
        while not run.is_spent:
            await run.train(_AT_ONCE)
        return float((await run.measure(run.ref, held_out(run.settings, fleet_text())))["held_out_loss"] or 0.0)
