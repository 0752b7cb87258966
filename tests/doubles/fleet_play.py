"""Fleet episodes in this process, whole and cheap: players, runs, and what a server is to its sessions."""

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from ml_trainer_env.server.episodes.game import TimeLimits
from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.episodes.registry import EpisodeRegistry, EpisodeRequest
from ml_trainer_env.server.episodes.states import Inquiry
from ml_trainer_env.server.episodes.units import LiveSource
from ml_trainer_env.server.executors.contract import Executor, ExecutorError
from ml_trainer_env.server.fleet.episode import FleetEpisode
from ml_trainer_env.server.fleet.game import FleetGame
from ml_trainer_env.server.fleet.incidents import Setup
from ml_trainer_env.server.fleet.run import FleetRun
from ml_trainer_env.server.fleet.tasks import FleetTask
from ml_trainer_env.server.fleet.tools import TOOLS
from ml_trainer_env.server.operations.metrics import Telemetry
from ml_trainer_env.server.store import Database, Journal, StateStore, UnitStore
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.fleet import engine
from ml_trainer_env.server.trainer.fleet.batches import CONTEXT
from ml_trainer_env.server.trainer.fleet.faults import Fault, Scenario
from ml_trainer_env.server.trainer.fleet.model import CharacterModel
from ml_trainer_env.server.trainer.fleet.text import VOCABULARY

__all__ = [
    "REFERENCES",
    "SEED",
    "Begin",
    "KnownReferences",
    "Player",
    "Reply",
    "Run",
    "Server",
    "bits",
    "given_task",
    "new_run",
    "plain",
    "small_model",
]

Reply = dict[str, Any]
Run = Callable[[Awaitable[Any]], Any]
Begin = Callable[..., "Player"]

REFERENCES: Figures = {"nothing_loss": 3.0, "clean_loss": 2.0}
SEED = 3


@contextmanager
def small_model() -> Iterator[None]:
    """Let fleets train a small model in this process: the engine's own class with a width of 8 and no layers.

    A step takes 3 ms. Data, faults, clock, reduction, optimizer and rules are the real ones.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "MODEL", CharacterModel(VOCABULARY, CONTEXT, width=8, layers=0))
        yield


class KnownReferences(LiveSource):
    """A source whose inquiries come to figures given beforehand, since two more runs cost most of an episode.

    Attributes:
        failures: So many inquiries fail first.
    """

    failures = 0

    async def inquire(self, inquiry: Inquiry) -> Figures:
        if self.failures:
            self.failures -= 1
            raise ExecutorError("no worker is left")
        return REFERENCES


@dataclass(frozen=True, slots=True)
class GivenTask(FleetTask):
    """A task whose faults a test writes down."""

    given: Setup = field(default_factory=lambda: Setup((), Scenario()))

    def setup(self, seed: int) -> Setup:
        return self.given


def given_task(*faults: Fault, spares: int = 2, delay_us: int = 0) -> GivenTask:
    setup = Setup((), Scenario(faults), spares, delay_us)
    return GivenTask("fleet/given", "train", 0, "Given", "", "1", "", given=setup)


class Player:
    """Plays an episode, with replies as JSON carries them."""

    def __init__(self, episode: FleetEpisode, run: Run) -> None:
        self.episode = episode
        self._run = run

    def __call__(self, tool: str, /, **arguments: Any) -> Reply:
        return plain(self._run(self.episode.call(tool, TOOLS.find(tool).read(arguments))))

    def observed(self) -> Any:
        """All that an agent can read without a call of a tool."""
        seen = self.episode.describe().model_dump(), self.episode.snapshot()
        return json.loads(json.dumps(seen, default=lambda value: value.model_dump()))


def plain(reply: Any) -> Any:
    """A reply as JSON carries it. NaN is refused."""
    return json.loads(json.dumps(reply, allow_nan=False))


def new_run(executor: Executor, scenario: Scenario, seed: int = SEED) -> FleetRun:
    return FleetRun(seed, scenario, 2, LiveSource(executor), 600.0)


def bits(fleet: FleetRun) -> dict[str, Any]:
    """All that a run has come to."""
    return {
        "rows": [(row.step, row.now_us, repr(row.figures)) for row in fleet.rows],
        "units": [(unit.ref.digest, repr(unit.figures)) for unit in fleet.units],
        "events": list(fleet.events),
        "clock": fleet.now_us,
        "hash": fleet.ref.digest,
        "checkpoints": [(kept.id, kept.ref.digest, kept.state_us, kept.saved_us) for kept in fleet.checkpoints],
        "cluster": fleet.cluster,
    }


@dataclass
class Server:
    """What a server is to its sessions: a journal in a folder, and a registry of episodes."""

    folder: Path
    executor: Executor
    cache: bool = False
    references: bool = False

    def __post_init__(self) -> None:
        self.telemetry = Telemetry(set(TOOLS.names))
        self.database = Database(self.folder / "journal.sqlite3")
        self.journal = Journal(self.database)
        self.source = (LiveSource if self.references else KnownReferences)(
            self.executor,
            states=StateStore(self.database, self.folder / "states", 100_000_000),
            units=UnitStore(self.database) if self.cache else None,
            telemetry=self.telemetry,
        )
        self.registry = EpisodeRegistry(
            FleetGame(TimeLimits()),
            source=self.source,
            journal=self.journal,
            limits=TimeLimits(),
            telemetry=self.telemetry,
        )

    async def open(self, **request: object) -> OpenEpisode:
        return await self.registry.open(EpisodeRequest(**request))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.database.close()
