"""The session of an agent on an episode of the fleet in this process, and the references of its score."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_trainer_env.baselines.fleet.brief import FleetBrief, brief_of
from ml_trainer_env.baselines.session import CallRefusedError, Reply, ToolSpec
from ml_trainer_env.in_process.training import Trainer
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.game import TimeLimits
from ml_trainer_env.server.episodes.states import Inquiry
from ml_trainer_env.server.episodes.units import LiveSource
from ml_trainer_env.server.fleet.episode import FleetEpisode
from ml_trainer_env.server.fleet.references import ReferenceRuns
from ml_trainer_env.server.fleet.tasks import FleetTask
from ml_trainer_env.server.fleet.tools import TOOLS
from ml_trainer_env.server.trainer.errors import ConfigError
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


def references_of(trainer: Trainer, task: FleetTask, seed: int) -> dict[str, float]:
    """Train the two runs that the score of an episode lies between, about 12 CPU seconds.

    Args:
        trainer: Trains them.
        task: The task.
        seed: The seed of the episode.

    Returns:
        `nothing_loss` and `clean_loss`, held-out losses in nats a character.
    """
    setup = task.setup(seed)
    runs = ReferenceRuns(task.run_seed(seed), setup.scenario, setup.spares, _CALL_S)
    figures = trainer.loop.run_until_complete(runs.carry_out(trainer.source))
    return {name: float(value or 0.0) for name, value in figures.items()}


class LocalFleetSession:
    """An episode that an agent plays; see `baselines.session.GameSession`.

    Args:
        trainer: Trains its steps.
        task: The task.
        seed: The seed of the episode. None for the task's own.
        references: The references of the score. None to train them beside the episode.

    Attributes:
        reply: The last reply.
    """

    def __init__(
        self, trainer: Trainer, task: FleetTask, seed: int | None = None, references: Figures | None = None
    ) -> None:
        self._loop = trainer.loop
        self.episode = FleetEpisode(
            name="local",
            task=task,
            seed=task.seed if seed is None else seed,
            source=trainer.source if references is None else KnownReferences(trainer, references),
            limits=TimeLimits(_CALL_S, _CALL_S),
        )
        self.reply: dict[str, Any] = {}

    @property
    def brief(self) -> FleetBrief:
        """Description of the episode."""
        return brief_of(self.episode.describe())

    @property
    def tools(self) -> Sequence[ToolSpec]:
        """The tools that may be called."""
        return [ToolSpec(tool.name, tool.description, tool.input_schema) for tool in TOOLS]

    def call(self, name: str, arguments: Mapping[str, object], reason: str = "") -> Reply:
        """Call a tool.

        Raises:
            CallRefusedError: The episode refused the call.
        """
        try:
            self.reply = self._loop.run_until_complete(self.episode.call(name, dict(arguments)))
        except (EpisodeError, ConfigError) as error:
            raise CallRefusedError(str(error)) from error
        return self.reply
