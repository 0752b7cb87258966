"""The session of an agent on an episode of the fleet in this process, and the references of its score."""

from ml_trainer_env.baselines.fleet.brief import FleetBrief, brief_of
from ml_trainer_env.in_process.session import LocalGameSession
from ml_trainer_env.in_process.training import Trainer
from ml_trainer_env.server.episodes.game import TimeLimits
from ml_trainer_env.server.episodes.states import Inquiry
from ml_trainer_env.server.episodes.units import LiveSource, UnitSource
from ml_trainer_env.server.fleet.episode import FleetEpisode
from ml_trainer_env.server.fleet.references import ReferenceRuns
from ml_trainer_env.server.fleet.tasks import FleetTask
from ml_trainer_env.server.fleet.tools import TOOLS
from ml_trainer_env.server.trainer.figures import Figures

__all__ = ["KnownReferences", "LocalFleetSession", "references_of"]

_CALL_S = 3600.0


class KnownReferences(LiveSource):
    """A source that knows the references of its episodes already.

    Args:
        trainer: Trains the steps.
        known: The references.
    """

    def __init__(self, trainer: Trainer, known: Figures) -> None:
        super().__init__(trainer.executor)
        self._references = known

    async def inquire(self, inquiry: Inquiry) -> Figures:
        """Return what is known."""
        return self._references


def references_of(trainer: Trainer, task: FleetTask, seed: int, source: UnitSource | None = None) -> dict[str, float]:
    """Train the two runs that the score of an episode lies between, for up to 12 CPU seconds.

    Args:
        trainer: Trains them.
        task: The task.
        seed: The seed of the episode.
        source: The source of their steps. None for the trainer's own.

    Returns:
        `nothing_loss` and `clean_loss`, held-out losses in nats a character.
    """
    setup = task.setup(seed)
    runs = ReferenceRuns(task.run_seed(seed), setup.scenario, setup.spares, _CALL_S)
    figures = trainer.loop.run_until_complete(runs.carry_out_openly(source or trainer.source))
    return {name: float(value or 0.0) for name, value in figures.items()}


class LocalFleetSession(LocalGameSession[FleetEpisode, FleetBrief]):
    """An episode that an agent plays.

    Args:
        trainer: Trains its steps.
        task: The task.
        seed: The seed of the episode. None for the task's own.
        references: The references of the score. None to train them beside the episode.
    """

    def __init__(
        self, trainer: Trainer, task: FleetTask, seed: int | None = None, references: Figures | None = None
    ) -> None:
        episode = FleetEpisode(
            name="local",
            task=task,
            seed=task.seed if seed is None else seed,
            source=trainer.source if references is None else KnownReferences(trainer, references),
            limits=TimeLimits(_CALL_S, _CALL_S),
        )
        super().__init__(trainer.loop, episode, TOOLS, brief_of)
