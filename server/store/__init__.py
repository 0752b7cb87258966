"""Persistent storage: the journal of episodes, their states, and the figures of every unit of work."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ml_trainer_env.server.store.damage import DamagedError
from ml_trainer_env.server.store.database import Database, StoreError
from ml_trainer_env.server.store.exports import EpisodeExports, ExportError
from ml_trainer_env.server.store.journal import (
    EpisodeExportedError,
    EpisodeTakenError,
    Journal,
    NameTakenError,
    NoSuchEpisodeError,
    Ownership,
)
from ml_trainer_env.server.store.listing import DamagedEpisode, EpisodeSummary, Filter, list_episodes, list_names
from ml_trainer_env.server.store.ranked import RankedEpisode, RankedRun, RankedRunError
from ml_trainer_env.server.store.records import CallRecord, EpisodeHeader, JournaledEpisode, RecordedUnit
from ml_trainer_env.server.store.units import UnitFigures, UnitStore

if TYPE_CHECKING:
    from ml_trainer_env.server.store.states import StateStore

__all__ = [
    "CallRecord",
    "DamagedEpisode",
    "DamagedError",
    "Database",
    "EpisodeExportedError",
    "EpisodeExports",
    "EpisodeHeader",
    "EpisodeSummary",
    "EpisodeTakenError",
    "ExportError",
    "Filter",
    "Journal",
    "JournaledEpisode",
    "NameTakenError",
    "NoSuchEpisodeError",
    "Ownership",
    "RankedEpisode",
    "RankedRun",
    "RankedRunError",
    "RecordedUnit",
    "StateStore",
    "StoreError",
    "UnitFigures",
    "UnitStore",
    "list_episodes",
    "list_names",
]


def __getattr__(name: str) -> Any:
    if name == "StateStore":  # late: it needs NumPy, which commands that only read the journal do not load
        return import_module("ml_trainer_env.server.store.states").StateStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
