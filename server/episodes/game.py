"""The contract of a game.

Registry, open episodes, journal, replay, forks, cache, surfaces, export and metrics know this contract and no game. A
game declares its tasks and its tools, and begins episodes. An episode carries out calls. The same calls with the same
results of units give the same episode.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from openenv.core.rubrics import Rubric

from ml_trainer_env.models import EpisodeObservation, EpisodeState
from ml_trainer_env.server.episodes.progress import OnProgress, ignore_progress
from ml_trainer_env.server.episodes.states import Unit
from ml_trainer_env.server.episodes.tools import Arguments, Reply, Toolbox
from ml_trainer_env.server.episodes.units import UnitSource

__all__ = ["About", "BeginOptions", "Episode", "Game", "Start", "TimeLimits"]


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Time limits of work, in seconds. Work that exceeds a limit is stopped.

    Attributes:
        unit_s: Limit of a unit of work, without the time in the queue.
        call_s: Limit of a call, including the wait for a worker.
    """

    unit_s: float = 120.0
    call_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Start:
    """The start of an episode. The same calls from the same start give the same episode.

    Attributes:
        task: The task's id.
        seed: Seed of all randomness.
        rubric: Name of the formulas that reward and grade.
        data: Checksum of the data.
        rules: Version of the rules.
    """

    task: str
    seed: int
    rubric: str
    data: str
    rules: int


@dataclass(frozen=True, slots=True)
class BeginOptions:
    """Options of a new episode.

    Attributes:
        name: The episode's name.
        source: The source of its units of work.
        rubric: Name of the formulas that reward and grade. None for the game's default.
        data: Required checksum of the data. None for any data.
        rules: Required version of the rules. None for the current one.
    """

    name: str
    source: UnitSource
    rubric: object = None
    data: str | None = None
    rules: int | None = None


@dataclass(frozen=True, slots=True)
class About:
    """The texts that introduce a game.

    Attributes:
        name: The name of its environment.
        version: The version of its environment. It is raised when scores change.
        description: What the game is, in one sentence.
        instructions: How the game is played, for MCP clients.
        prompt: The system prompt of exported chats.
    """

    name: str
    version: str
    description: str
    instructions: str
    prompt: str


class Episode(Protocol):
    """One attempt at a task. Only one call at a time changes it; see `open_episode`."""

    source: UnitSource
    """The source of its units of work. A replay replaces it temporarily."""

    @property
    def name(self) -> str:
        """The episode's name."""
        ...

    @property
    def start(self) -> Start:
        """The start of the episode."""
        ...

    @property
    def units(self) -> Sequence[Unit]:
        """All units of work of its calls, in order. It only grows."""
        ...

    @property
    def needed_keys(self) -> list[str]:
        """The keys of the states that must be kept. The episode may continue from them or submit them."""
        ...

    @property
    def state_hash(self) -> str | None:
        """SHA-256 (hex) of the current state. None before any work."""
        ...

    @property
    def done(self) -> bool:
        """Whether the episode is over."""
        ...

    @property
    def score(self) -> float | None:
        """The episode's score. None before it is over."""
        ...

    @property
    def withheld(self) -> Mapping[str, Any] | None:
        """What the end came to and no reply tells: JSON that only the journal keeps. None before, and for nothing."""
        ...

    @property
    def reward(self) -> Rubric:
        """The rubric that computes rewards. Its children are the parts of a reward."""
        ...

    @property
    def counts_every_call(self) -> bool:
        """Whether every call counts, so that even a call that only reads may end the episode."""
        ...

    async def call(self, tool: str, arguments: Arguments, on_progress: OnProgress = ignore_progress) -> Reply:
        """Carry out a call.

        Raises:
            EpisodeError: The call was refused and changed nothing. Or its work failed; completed units stay done.
            ConfigError: An argument is out of bounds. Nothing has changed.
        """
        ...

    def count_refused_call(self) -> None:
        """Count a call that was refused before it reached this episode."""
        ...

    def interrupt(self, reason: str) -> None:
        """Stop the work of the running call, and all else that runs for the episode, between calls too.

        The call fails. Its completed units stay spent.
        """
        ...

    def forget_interruption(self) -> None:
        """Note that the interrupted call has ended."""
        ...

    def describe(self) -> EpisodeObservation:
        """Return the observation of a reset: the task and the state of the episode."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """Return the fields of the game's `state_model` that are not part of the start."""
        ...


class Game(Protocol):
    """A kind of episode: its tasks, its tools, and how an episode begins."""

    @property
    def about(self) -> About:
        """The texts that introduce the game."""
        ...

    @property
    def unit(self) -> str:
        """The noun for a unit of work in messages: "epoch"."""
        ...

    @property
    def tools(self) -> Toolbox[Any]:
        """The tools of its episodes."""
        ...

    @property
    def rubrics(self) -> Sequence[str]:
        """The names of its rubrics."""
        ...

    @property
    def default_task(self) -> str:
        """The id of the task that a reset without a task begins."""
        ...

    @property
    def splits(self) -> Sequence[str]:
        """The splits of its tasks. The first is the default."""
        ...

    @property
    def reset_model(self) -> type[EpisodeObservation]:
        """The model of a reset's observation."""
        ...

    @property
    def state_model(self) -> type[EpisodeState]:
        """The model of an episode's state."""
        ...

    @property
    def task_schema(self) -> Mapping[str, Any]:
        """The JSON schema of a `task_row`."""
        ...

    def task_count(self, split: str) -> int:
        """Return the number of tasks of a split. 0 for an unknown split."""
        ...

    def task_row(self, split: str, index: int) -> dict[str, Any]:
        """Return one task as a JSON object with its `id`. A game may have tasks beyond `task_count`.

        Raises:
            IndexError: The split has no task with this index.
        """
        ...

    def knows_task(self, task: str) -> bool:
        """Whether this game has a task of this id. No two games of a server have a task of the same id.

        The journal records the task of an episode and not its game, so this is how the game of an episode is found. A
        column for the game would need a migration, and its value could contradict the task.
        """
        ...

    async def begin(self, task: object, seed: object, options: BeginOptions) -> Episode:
        """Begin an episode.

        Args:
            task: The task's id, not yet checked. None for the default task.
            seed: Seed of all randomness, not yet checked. None for the task's own seed.
            options: The other options.

        Raises:
            ResetError: The task, seed or an option does not exist here.
            DatasetError: The task's data is not available.
        """
        ...
