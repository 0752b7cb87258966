"""Settings of the service. They are read once from environment variables, at the entry point."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from platformdirs import user_state_path

from ml_trainer_env.arena.errors import ArenaError

__all__ = ["DEFAULT_BASE_URL", "Settings", "SettingsError"]

DEFAULT_BASE_URL = "http://127.0.0.1:5000"

MB = 2**20


class SettingsError(ArenaError, ValueError):
    """An environment variable has an invalid value. The message names the variable."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the service. The variable and its default are in brackets.

    Attributes:
        data_dir: Folder for database, files and signing key (ARENA_DATA_DIR; the user's state folder).
        database_url: SQLite or PostgreSQL, `postgresql+psycopg://...` (ARENA_DATABASE_URL; SQLite in `data_dir`).
        base_url: Public address of the service, used in signed URLs (ARENA_BASE_URL; http://127.0.0.1:5000).
        workers: Worker processes that `serve` starts (ARENA_WORKERS; 1).
        max_upload_bytes: Upper bound for the file size limit of a competition (ARENA_MAX_UPLOAD_MB; 512).
        daily_upload_bytes: Upload limit of a user in 24 hours (ARENA_DAILY_UPLOAD_MB; 10240).
        daily_deploys: Evaluations of a user's agents in one competition in 24 hours (ARENA_DAILY_DEPLOYS; 20).
        lease_s: A worker that has not renewed its lease for this long counts as dead (ARENA_LEASE_S; 30).
        train_images: Training images of each Permuted-MNIST task; it has a sixth as many test images
            (ARENA_TRAIN_IMAGES; 60000).
        files_url: Place of the files that several machines share: an absolute folder, or `s3://bucket/prefix`
            (ARENA_FILES_URL; none: a folder in `data_dir`).
        worker_token: Token of the scope `worker`, by which a worker proves itself if `files_url` is set
            (ARENA_WORKER_TOKEN; none).
        proxies: Addresses of reverse proxies, comma-separated. The limit of connections for an address does not hold
            for them (ARENA_PROXIES; none).
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
    proxies: frozenset[str] = frozenset()
    files_url: str | None = None
    worker_token: str | None = field(default=None, repr=False)

    @property
    def is_shared(self) -> bool:
        """Whether workers may be on other machines."""
        return self.files_url is not None

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises:
            SettingsError: A variable has an invalid value.
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
            files_url=_files_url(variables),
            worker_token=variables.get("ARENA_WORKER_TOKEN", "").strip() or None,
            proxies=frozenset(filter(None, map(str.strip, variables.get("ARENA_PROXIES", "").split(",")))),
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


def _files_url(variables: Mapping[str, str]) -> str | None:
    text = variables.get("ARENA_FILES_URL", "").strip().removeprefix("file://")
    if not text:
        return None
    bucket = text.removeprefix("s3://").strip("/")
    is_bucket = text.startswith("s3://") and bool(bucket) and not set("@?#") & set(bucket)
    if not is_bucket and not text.startswith("/"):
        raise SettingsError(
            "ARENA_FILES_URL should be an absolute folder or s3://bucket/prefix, without keys and options"
        )
    if variables.get("ARENA_DATABASE_URL", "sqlite").startswith("sqlite"):
        raise SettingsError("ARENA_FILES_URL is for several machines, which need PostgreSQL: set ARENA_DATABASE_URL")
    return text


def _url(variables: Mapping[str, str], name: str, default: str) -> str:
    text = (variables.get(name) or default).rstrip("/")
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port, or unbalanced brackets
        good = False
    if not good:
        raise SettingsError(f"{name} should be an address like {default}, got {text!r}")
    return text
