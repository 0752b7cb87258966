"""The services that all sessions of a server share, whichever game they play. They are opened and closed together."""

import asyncio
from collections.abc import Mapping
from importlib.util import find_spec

from ml_trainer_env.server.datasets import DataSettings
from ml_trainer_env.server.episodes.game import Game
from ml_trainer_env.server.episodes.registry import EpisodeRegistry
from ml_trainer_env.server.episodes.transfer import EpisodeTransfer
from ml_trainer_env.server.episodes.units import LiveSource
from ml_trainer_env.server.executors.contract import Executor
from ml_trainer_env.server.executors.pool import ProcessPoolExecutor
from ml_trainer_env.server.fleet.game import FleetGame
from ml_trainer_env.server.operations.metrics import Telemetry
from ml_trainer_env.server.settings import ExecutorKind, Settings, SettingsError
from ml_trainer_env.server.store import Database, EpisodeExports, Journal, StateStore, UnitStore
from ml_trainer_env.server.store.folder import JOURNAL_FILE, STATES_FOLDER, state_folder
from ml_trainer_env.server.store.measured import evaluation_batch
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.tuning.families.ranked import RankedTasks
from ml_trainer_env.server.tuning.game import TuningGame

__all__ = ["JOURNAL_FILE", "Services", "state_folder"]


class Services:
    """The executor, the journal and the registries of episodes.

    Args:
        settings: The server's settings.
        executor: Runs jobs. None for the one that the settings name.
        games: The games by the prefix of their paths; "" is the root. None for the games that the program has.

    Raises:
        SettingsError: The settings name Ray, and it is not installed.
        StoreError: The journal or the place of the models cannot be opened.
        RankedTableError: The server is ranked, and has no calibrated tasks.
        ValueError: The server is ranked, and has several games.

    Attributes:
        executor: Runs jobs.
        registries: Open the episodes of each game, by the prefix of its paths.
        registry: Opens the episodes of the game at the root.
        database: The database of the journal.
        transfer: Exports and imports episodes.
        telemetry: The metrics.
        data: Settings of the data sets.
    """

    def __init__(
        self, settings: Settings, executor: Executor | None = None, games: Mapping[str, Game] | None = None
    ) -> None:
        chosen = settings.ranked
        ranked = RankedTasks.load(chosen.secret, chosen.count, chosen.table) if chosen else None
        games = games or _games(settings, ranked)
        if ranked is not None and len(games) > 1:
            raise ValueError(f"a ranked server has one game, got {len(games)}")
        self.telemetry = Telemetry({name for game in games.values() for name in game.tools.names})
        self.data: DataSettings = settings.data
        self._workers = settings.workers
        folder = state_folder(settings.state_dir)
        self.database = Database(settings.database_url or folder / JOURNAL_FILE)
        place = settings.states_url or folder / STATES_FOLDER
        self._states = StateStore(self.database, place, settings.state_mb * 1_000_000)
        batch = evaluation_batch(settings.evaluation_batch, folder)
        self.executor = executor or _executor(settings, settings.options(batch))
        source = LiveSource(
            self.executor,
            states=self._states,
            units=UnitStore(self.database) if settings.cache else None,
            telemetry=self.telemetry,
            unit_timeout_s=settings.limits.unit_s,
        )
        journal = Journal(self.database)
        self.registries = {
            prefix: EpisodeRegistry(
                game,
                source=source,
                journal=journal,
                limits=settings.limits,
                telemetry=self.telemetry,
                ranked=ranked.run if ranked else None,
                elsewhere={other: games[other] for other in games if other != prefix},
            )
            for prefix, game in games.items()
        }
        self.registry = self.registries[""]
        self.transfer = EpisodeTransfer(tuple(self.registries.values()), EpisodeExports(self.database), self._states)
        self._watch()

    def registry_of(self, task: str) -> EpisodeRegistry:
        """Return the registry of the game that knows a task. It is that of the root if none does."""
        return next((one for one in self.registries.values() if one.game.knows_task(task)), self.registry)

    def is_ready(self) -> bool:
        """Whether the server can carry out calls."""
        return self.executor.ready and self.database.trouble is None

    def trouble(self) -> str | None:
        """Return why the server is not ready, as text. None while it starts as usual."""
        return self.database.trouble or self.executor.trouble

    async def start(self) -> None:
        """Start the workers. Returns before they are warm."""
        self._states.start_sweep()
        await self.executor.start()

    async def close(self) -> None:
        """Stop training and finish writing to the journal."""
        await self.executor.close()
        await asyncio.to_thread(self._states.close)
        await asyncio.to_thread(self.database.close)

    def _watch(self) -> None:
        watch, executor, workers = self.telemetry.watch, self.executor, self._workers
        watch("open_episodes", "Episodes that a session plays.", self._open_episodes)
        watch("queue_length", "Jobs that wait for a worker.", lambda: executor.waiting)
        watch("workers", "Workers that the server has or waits for.", lambda: workers)
        watch("busy_workers", "Workers that are training.", lambda: executor.busy)
        watch("worker_deaths", "Workers lost.", lambda: executor.worker_deaths, only_grows=True)
        watch("state_bytes", "Size of the models kept.", self._states.total_bytes)

    def _open_episodes(self) -> int:
        return sum(registry.open_episodes for registry in self.registries.values())


def _executor(settings: Settings, options: Mapping[str, int | str]) -> Executor:
    """Return the executor that the settings name."""
    workers, threads, memory_mb = settings.workers, settings.torch_threads, settings.worker_memory_mb
    if settings.executor is ExecutorKind.POOL:
        return ProcessPoolExecutor(workers, threads, memory_mb, probe=PROBE, options=options)
    if find_spec("ray") is None:
        raise SettingsError("ML_TRAINER_EXECUTOR=ray needs the extra [ray]: pip install 'openenv-ml-trainer-env[ray]'")
    # A late import: Ray is an extra, and its import takes a second.
    from ml_trainer_env.server.executors.on_ray.executor import RayExecutor

    return RayExecutor(settings.ray_address, workers, threads, memory_mb, probe=PROBE, options=options)


def _games(settings: Settings, ranked: RankedTasks | None) -> dict[str, Game]:
    """Return the games of the program, by the prefix of their paths. A ranked server has the tuning game alone."""
    tuning = TuningGame(settings.data, settings.limits, settings.rubric, ranked)
    return {"": tuning} if ranked is not None else {"": tuning, "/fleet": FleetGame(settings.limits)}
