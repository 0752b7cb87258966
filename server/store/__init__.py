"""What outlives a process: the journal of episodes, the models they trained, and the figures of every epoch."""

from ml_trainer_env.server.store.damage import DamagedError
from ml_trainer_env.server.store.database import Database, StoreError
from ml_trainer_env.server.store.epochs import EpochFigures, EpochStore
from ml_trainer_env.server.store.journal import (
    CallRecord,
    EpisodeHeader,
    EpisodeTakenError,
    Journal,
    JournaledEpisode,
    NameTakenError,
    NoSuchEpisodeError,
    Ownership,
    RecordedEpoch,
)
from ml_trainer_env.server.store.listing import DamagedEpisode, EpisodeSummary, Filter, list_episodes, list_names
from ml_trainer_env.server.store.states import StateStore

__all__ = [
    "CallRecord",
    "DamagedEpisode",
    "DamagedError",
    "Database",
    "EpisodeHeader",
    "EpisodeSummary",
    "EpisodeTakenError",
    "EpochFigures",
    "EpochStore",
    "Filter",
    "Journal",
    "JournaledEpisode",
    "NameTakenError",
    "NoSuchEpisodeError",
    "Ownership",
    "RecordedEpoch",
    "StateStore",
    "StoreError",
    "list_episodes",
    "list_names",
]
