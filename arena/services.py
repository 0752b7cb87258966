"""The components that endpoints and workers share: settings, database, files, and the key that signs URLs."""

import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import sqlalchemy as sa

from ml_trainer_env.arena.database import Database
from ml_trainer_env.arena.files.blobs import Blobs
from ml_trainer_env.arena.files.locks import UserLocks
from ml_trainer_env.arena.files.quota import Quota
from ml_trainer_env.arena.files.sources import Sources
from ml_trainer_env.arena.settings import Settings
from ml_trainer_env.arena.tables import ServiceKey

__all__ = ["LOG_URL_S", "Services"]

LOG_URL_S = 60 * 24 * 3600
"""Lifetime of a signed URL: 60 days."""


_INSERT_KEY = sa.text("INSERT INTO service_key (id, key_hex) VALUES (1, :key_hex) ON CONFLICT (id) DO NOTHING")


@dataclass(frozen=True, slots=True)
class Services:
    """The components of the service."""

    settings: Settings
    database: Database
    blobs: Blobs
    sources: Sources
    quota: Quota
    upload_locks: UserLocks
    key: bytes

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the database and the files. Migrates the tables, and creates the signing key if it is missing.

        Raises:
            FilesUnavailableError: The object store of the files cannot be used.
        """
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = Database(settings.database_url)
        database.migrate()
        blobs = _open_blobs(settings)
        quota = Quota(settings.data_dir, settings.daily_upload_bytes)
        key = _key(settings.data_dir / "signing.key")
        if settings.is_shared:
            key = _shared_key(database, key)
        return cls(settings, database, blobs, Sources(blobs), quota, UserLocks(), key)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def store_upload(self, user_id: int, stream: BinaryIO, size: int) -> tuple[str, int]:
        """Store a file that a user uploads. Returns its SHA-256 and its size in bytes.

        Raises:
            NoRoomError: The disk is nearly full.
            TooManyError: The user's daily upload limit is exhausted.
        """
        self.quota.take(user_id, size)
        return self.blobs.put_stream(stream)

    def signed_url(self, path: str) -> str:
        """Sign a path. Returns an absolute URL that needs no token and is valid for 60 days."""
        expires = int(time.time()) + LOG_URL_S
        return f"{self.settings.base_url}{path}?expires={expires}&signature={self._signature(path, expires)}"

    def is_signed(self, path: str, expires: int, signature: str) -> bool:
        """Whether this service signed the URL of a path, and it has not expired."""
        proved = hmac.compare_digest(self._signature(path, expires).encode(), signature.encode(errors="replace"))
        return proved and time.time() < expires

    def _signature(self, path: str, expires: int) -> str:
        return hmac.new(self.key, f"{path} {expires}".encode(), hashlib.sha256).hexdigest()


def _open_blobs(settings: Settings) -> Blobs:
    """Open the folder or the bucket of the files."""
    if settings.files_url is None:
        return Blobs(settings.data_dir / "files")
    if not settings.files_url.startswith("s3://"):
        return Blobs(Path(settings.files_url))
    from ml_trainer_env.arena.files.buckets import BucketBlobs  # late: its libraries are an extra

    return BucketBlobs(settings.files_url.removeprefix("s3://").strip("/"), settings.data_dir / "cache")


def _shared_key(database: Database, own: bytes) -> bytes:
    """Get the key of all machines from the database. The first machine gives its own.

    Args:
        database: The database.
        own: The key of this machine.
    """
    with database.transaction() as session:
        session.execute(_INSERT_KEY, {"key_hex": own.hex()})
        return bytes.fromhex(session.get_one(ServiceKey, 1).key_hex)


def _key(file: Path) -> bytes:
    """Read the key. Creates it if it is missing; of several processes that start together, the first one wins."""
    if not file.exists():
        with tempfile.NamedTemporaryFile(dir=file.parent) as made:
            made.write(secrets.token_bytes(32))
            made.flush()
            os.fsync(made.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(made.name, file)
    return file.read_bytes()
