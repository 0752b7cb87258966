"""The contract between a game and everything that games share.

Registry, open episodes, journal, replay, forks, cache, surfaces, export and metrics know this contract and no game. A
game declares its tasks and its tools, and begins episodes. An episode carries out calls; what it does follows from its
calls and from the units of work that they ran, so the same calls on the same units give the same episode.
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
    """How long work may take before it is stopped.

    Attributes:
        unit_s: A unit of work, once it has begun.
        call_s: A whole call, including the wait for a worker.
    """

    unit_s: float = 120.0
    call_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Start:
    """What an episode begins with. Its calls, carried out again from the same start, give the same episode.

    Attributes:
        task: The task's id.
        seed: Fixes everything that is random.
        rubric: The formulas that reward and grade.
        data: The checksum of the data that it is played on.
        rules: The version of the rules that it is played by.
    """

    task: str
    seed: int
    rubric: str
    data: str
    rules: int


@dataclass(frozen=True, slots=True)
class BeginOptions:
    """How an episode is to begin.

    Attributes:
        name: The episode's name.
        source: Gives the episode its units of work.
        rubric: The formulas that reward and grade; the game's default if None.
        data: The checksum of the data it must be played on; None for any data.
        rules: The version of the rules it must be played by; None for the current one.
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
    """One attempt at a task. Calls that change something come one at a time; see `open_episode`."""

    source: UnitSource
    """Gives the episode its units of work. A replay replaces it for a while."""

    @property
    def name(self) -> str:
        """The episode's name."""
        ...

    @property
    def start(self) -> Start:
        """What it began with."""
        ...

    @property
    def units(self) -> Sequence[Unit]:
        """Every unit of work that its calls have run, in order. It only grows."""
        ...

    @property
    def needed_keys(self) -> list[str]:
        """The keys of the states that must be kept: those it may go on from or submit."""
        ...

    @property
    def state_hash(self) -> str | None:
        """SHA-256 of the present state, None before any work."""
        ...

    @property
    def done(self) -> bool:
        """Whether the episode is over."""
        ...

    @property
    def score(self) -> float | None:
        """What the episode is worth, None before it is over."""
        ...

    @property
    def reward(self) -> Rubric:
        """The rubric that rewards come from; its children are the parts of a reward."""
        ...

    @property
    def counts_every_call(self) -> bool:
        """Whether any call may end the episode, also one that only reads."""
        ...

    async def call(self, tool: str, arguments: Arguments, on_progress: OnProgress = ignore_progress) -> Reply:
        """Carry out a call.

        Raises:
            EpisodeError: The call was refused and changed nothing; or work failed, and what it completed stays done.
            ConfigError: An argument is out of bounds; nothing has changed.
        """
        ...

    def count_refused_call(self) -> None:
        """Count a call that was refused before it reached this episode."""
        ...

    def interrupt(self, reason: str) -> None:
        """Stop the work of the running call. That call fails; the units that it completed stay spent."""
        ...

    def forget_interruption(self) -> None:
        """Note that the interrupted call has ended."""
        ...

    def describe(self) -> EpisodeObservation:
        """What a reset answers: the task, and where the episode stands."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """What `state` tells of the episode besides its start, by field of the game's `state_model`."""
        ...


class Game(Protocol):
    """A kind of episode: its tasks, its tools, and how an episode begins."""

    @property
    def about(self) -> About:
        """The texts that introduce it."""
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
        """The splits of its tasks."""
        ...

    @property
    def reset_model(self) -> type[EpisodeObservation]:
        """The model of what a reset answers."""
        ...

    @property
    def state_model(self) -> type[EpisodeState]:
        """The model of an episode's state."""
        ...

    @property
    def task_schema(self) -> Mapping[str, Any]:
        """The JSON schema of a row of `tasks`."""
        ...

    def tasks(self, split: str) -> Sequence[dict[str, Any]]:
        """The tasks of a split as rows of JSON values, each with its `id`; none for an unknown split."""
        ...

    async def begin(self, task: object, seed: object, options: BeginOptions) -> Episode:
        """Begin an episode.

        Args:
            task: The task's id, as it came; None for the default task.
            seed: Fixes everything that is random, as it came; None for the task's own.
            options: How it is to begin.

        Raises:
            ResetError: One of these does not exist here.
            DatasetError: The task's data is not available.
        """
        ...
