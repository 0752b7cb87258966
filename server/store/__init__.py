"""What outlives a process: the journal of episodes, the models they trained, and the figures of every epoch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ml_trainer_env.server.store.database import Database, StoreError
from ml_trainer_env.server.store.epochs import EpochFigures, EpochStore
from ml_trainer_env.server.store.journal import (
    CallRecord,
    EpisodeHeader,
    EpisodeSummary,
    EpisodeTakenError,
    Journal,
    JournaledEpisode,
    NameTakenError,
    NoSuchEpisodeError,
    Ownership,
    RecordedEpoch,
)

if TYPE_CHECKING:
    from ml_trainer_env.server.store.states import StateStore

__all__ = [
    "CallRecord",
    "Database",
    "EpisodeHeader",
    "EpisodeSummary",
    "EpisodeTakenError",
    "EpochFigures",
    "EpochStore",
    "Journal",
    "JournaledEpisode",
    "NameTakenError",
    "NoSuchEpisodeError",
    "Ownership",
    "RecordedEpoch",
    "StateStore",
    "StoreError",
]


def __getattr__(name: str) -> Any:
    if name == "StateStore":  # late: it needs NumPy, which commands that only read the journal do not wait for
        return import_module("ml_trainer_env.server.store.states").StateStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
