"""What outlives a process: the journal of episodes, the models they trained, and the figures of every epoch."""

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
