"""The services that all sessions of a server share. They are opened and closed together."""

import asyncio
import shutil

from ml_trainer_env.server.datasets import DataSettings
from ml_trainer_env.server.episodes.game import Game
from ml_trainer_env.server.episodes.registry import EpisodeRegistry
from ml_trainer_env.server.episodes.units import LiveSource
from ml_trainer_env.server.executors.contract import Executor
from ml_trainer_env.server.executors.pool import ProcessPoolExecutor
from ml_trainer_env.server.operations.metrics import Telemetry
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.store import Database, Journal, StateStore, UnitStore
from ml_trainer_env.server.store.folder import JOURNAL_FILE, state_folder
from ml_trainer_env.server.store.measured import evaluation_batch
from ml_trainer_env.server.store.states import STATES_FOLDER
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.tuning.families.ranked import RankedTasks
from ml_trainer_env.server.tuning.game import TuningGame

__all__ = ["JOURNAL_FILE", "Services", "state_folder"]


class Services:
    """The executor, the journal and the registry of episodes.

    Args:
        settings: The server's settings.
        executor: Runs jobs. None for a pool of worker processes.
        game: The game. None for the tuning game.

    Raises:
        StoreError: The journal cannot be opened.
        RankedTableError: The server is ranked, and has no calibrated tasks.

    Attributes:
        executor: Runs jobs.
        registry: Opens episodes.
        telemetry: The metrics.
        data: Settings of the data sets.
    """

    def __init__(self, settings: Settings, executor: Executor | None = None, game: Game | None = None) -> None:
        chosen = settings.ranked
        ranked = RankedTasks.load(chosen.secret, chosen.count, chosen.table) if chosen else None
        game = game or TuningGame(settings.data, settings.limits, settings.rubric, ranked)
        self.telemetry = Telemetry(game.tools.names)
        self.data: DataSettings = settings.data
        folder = state_folder(settings.state_dir)
        self._database = Database(folder / JOURNAL_FILE)
        # Models must leave disk space for the journal. A container's /tmp may be small.
        limit_bytes = min(settings.state_mb * 1_000_000, shutil.disk_usage(folder).free // 2)
        self._states = StateStore(self._database, folder / STATES_FOLDER, limit_bytes)
        self.executor = executor or ProcessPoolExecutor(
            settings.workers,
            settings.torch_threads,
            settings.worker_memory_mb,
            probe=PROBE,
            options={"evaluation_batch": evaluation_batch(settings.evaluation_batch, folder)},
        )
        source = LiveSource(
            self.executor,
            states=self._states,
            units=UnitStore(self._database) if settings.cache else None,
            telemetry=self.telemetry,
            unit_timeout_s=settings.limits.unit_s,
        )
        self.registry = EpisodeRegistry(
            game,
            source=source,
            journal=Journal(self._database),
            limits=settings.limits,
            telemetry=self.telemetry,
            ranked=ranked.run if ranked else None,
        )
        self._watch()

    def is_ready(self) -> bool:
        """Whether the server can carry out calls."""
        return self.executor.ready and self._database.trouble is None

    def trouble(self) -> str | None:
        """Return why the server is not ready, as text. None while it starts as usual."""
        return self._database.trouble or self.executor.trouble

    async def start(self) -> None:
        """Start the workers. Returns before they are warm."""
        await self.executor.start()

    async def close(self) -> None:
        """Stop training and finish writing to the journal."""
        await self.executor.close()
        await asyncio.to_thread(self._database.close)

    def _watch(self) -> None:
        watch, executor = self.telemetry.watch, self.executor
        watch("open_episodes", "Episodes that a session plays.", lambda: self.registry.open_episodes)
        watch("queue_length", "Jobs that wait for a worker.", lambda: executor.waiting)
        watch("busy_workers", "Workers that are training.", lambda: executor.busy)
        watch("worker_deaths", "Workers lost.", lambda: executor.worker_deaths, only_grows=True)
        watch("state_bytes", "Size of the models kept.", self._states.total_bytes)
