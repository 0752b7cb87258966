"""The service's settings: environment variables, read once, at the entry point."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from platformdirs import user_state_path

from ml_trainer_env.arena.errors import ArenaError

__all__ = ["DEFAULT_BASE_URL", "Settings", "SettingsError"]

DEFAULT_BASE_URL = "http://127.0.0.1:5000"

MB = 2**20


class SettingsError(ArenaError, ValueError):
    """An environment variable does not hold what it should. The message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the service runs.

    Attributes:
        data_dir: Database (unless it is elsewhere), files and the key that signs URLs (ARENA_DATA_DIR; the user's state
            folder).
        database_url: SQLite by default, PostgreSQL by `postgresql+psycopg://...` (ARENA_DATABASE_URL).
        base_url: Where clients reach the service, for signed URLs (ARENA_BASE_URL; http://127.0.0.1:5000).
        workers: Worker processes that `serve` starts (ARENA_WORKERS; 1).
        max_upload_bytes: The most that any competition may allow for a file (ARENA_MAX_UPLOAD_MB; 512).
        daily_upload_bytes: Of a user, in 24 hours (ARENA_DAILY_UPLOAD_MB; 10240).
        daily_deploys: Evaluations of a user's agents in a competition, in 24 hours (ARENA_DAILY_DEPLOYS; 20).
        lease_s: A worker that has not been heard of for so long has died (ARENA_LEASE_S; 30).
        train_images: Of each Permuted-MNIST task; the test has a sixth as many (ARENA_TRAIN_IMAGES; 60000).
    """

    data_dir: Path
    database_url: str
    base_url: str
    workers: int
    max_upload_bytes: int
    daily_upload_bytes: int
    daily_deploys: int
    lease_s: float
    train_images: int

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises:
            SettingsError: A variable does not hold what it should.
        """
        named = variables.get("ARENA_DATA_DIR")
        data_dir = Path(named) if named else user_state_path("ml-arena")
        return cls(
            data_dir=data_dir,
            database_url=variables.get("ARENA_DATABASE_URL") or f"sqlite:///{data_dir / 'arena.db'}",
            base_url=_url(variables, "ARENA_BASE_URL", DEFAULT_BASE_URL),
            workers=_whole(variables, "ARENA_WORKERS", 1),
            max_upload_bytes=int(_number(variables, "ARENA_MAX_UPLOAD_MB", 512) * MB),
            daily_upload_bytes=int(_number(variables, "ARENA_DAILY_UPLOAD_MB", 10_240) * MB),
            daily_deploys=_whole(variables, "ARENA_DAILY_DEPLOYS", 20),
            lease_s=_number(variables, "ARENA_LEASE_S", 30.0),
            train_images=max(6, int(_number(variables, "ARENA_TRAIN_IMAGES", 60_000))),
        )


def _number(variables: Mapping[str, str], name: str, default: float) -> float:
    text = variables.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise SettingsError(f"{name} should be a number of at least 0, got {text!r}")
    return value


def _whole(variables: Mapping[str, str], name: str, default: int) -> int:
    value = _number(variables, name, default)
    if value != int(value):
        raise SettingsError(f"{name} should be a whole number of at least 0, got {variables[name]!r}")
    return int(value)


def _url(variables: Mapping[str, str], name: str, default: str) -> str:
    text = (variables.get(name) or default).rstrip("/")
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, brackets that do not match
        good = False
    if not good:
        raise SettingsError(f"{name} should be an address like {default}, got {text!r}")
    return text
