"""A journal in PostgreSQL, for several servers on any machines. It needs the extra `postgresql`."""

import contextlib
import secrets
import threading

import sqlalchemy as sa

from ml_trainer_env.databases import POSTGRESQL_OPTIONS
from ml_trainer_env.server.store.errors import StoreError
from ml_trainer_env.server.store.migrating import migrate

__all__ = ["PostgresqlDatabase"]

_CONNECTIONS = 5
_POOL_TIMEOUT_S = 60.0
_PRESENCE_LOCK = 0x6D6C7472
"""First number of the advisory locks that servers hold while they live."""

_DEADLOCK, _SERIALIZATION = "40P01", "40001"


class PostgresqlDatabase:
    """A PostgreSQL database of the store.

    Args:
        url: SQLAlchemy's URL with the driver psycopg.

    Raises:
        StoreError: The extra is not installed, or a newer program wrote the tables.
        SQLAlchemyError: The database cannot be opened.
    """

    def __init__(self, url: sa.URL) -> None:
        self.name = url.render_as_string(hide_password=True)
        try:
            self.engine = sa.create_engine(
                url, **POSTGRESQL_OPTIONS, pool_size=_CONNECTIONS, max_overflow=0, pool_timeout=_POOL_TIMEOUT_S
            )
        except ModuleNotFoundError as error:
            message = "PostgreSQL needs the extra [postgresql]: pip install 'openenv-ml-trainer-env[postgresql]'"
            raise StoreError(message) from error
        try:
            with self.engine.connect() as connection:
                migrate(connection, self.name)
        except BaseException:
            self.engine.dispose()
            raise
        self.presence = AdvisoryPresence(self.engine)

    def require_same(self) -> None:
        """Do nothing: a database is not replaced under its connections."""

    def require_writable(self) -> None:
        """Do nothing: a write to a read-only database fails."""

    def try_write(self, connection: sa.Connection) -> None:
        """Take a transaction number, which a read-only database refuses."""
        connection.execute(sa.select(sa.func.pg_current_xact_id()))

    def compact(self) -> None:
        """Let later writes reuse the space of deleted rows. The files stay as large as they are."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM (ANALYZE)")

    def may_repeat(self, error: sa.exc.OperationalError) -> bool:
        """Whether a transaction that failed may succeed if it is repeated: it lost against another server's."""
        return getattr(error.orig, "sqlstate", None) in {_DEADLOCK, _SERIALIZATION}


class AdvisoryPresence:
    """The presence of this server, as `presence.Presence`, by an advisory lock in place of a lock on a file.

    PostgreSQL releases the lock when the connection ends, also after a crash of the process or its machine. The lock is
    taken again if the connection was lost.

    Args:
        engine: Opens the connection that holds the lock.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._key: int | None = None
        self._connection: sa.Connection | None = None
        self._mutex = threading.Lock()

    @property
    def server(self) -> str:
        """The unique name of this server.

        Raises:
            OSError: The lock cannot be taken.
        """
        with self._mutex:
            if self._key is None:
                self._key = secrets.randbits(31)
            try:
                self._hold(self._key)
            except sa.exc.SQLAlchemyError as error:
                raise OSError(f"PostgreSQL: {error}") from error
            return str(self._key)

    def is_alive(self, server: str) -> bool:
        """Whether a server holds its lock."""
        if not server.isascii() or not server.isdigit():
            return False
        if server == str(self._key):
            return True
        key = int(server)
        held = sa.text(
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = :class AND objid = :key AND objsubid = 2 "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        with self._engine.connect() as connection:
            return connection.execute(held, {"class": _PRESENCE_LOCK, "key": key}).first() is not None

    def sweep(self) -> None:
        """Do nothing: locks of servers that ended are gone."""

    def close(self) -> None:
        """Release the lock. On return other servers see it released."""
        with self._mutex:
            if self._connection is not None:
                with contextlib.suppress(sa.exc.SQLAlchemyError):
                    self._connection.execute(sa.select(sa.func.pg_advisory_unlock_all()))
            self._drop()
            self._key = None

    def _hold(self, key: int) -> None:
        if self._connection is not None:
            try:
                self._connection.exec_driver_sql("SELECT 1")
                return
            except sa.exc.SQLAlchemyError:
                self._drop()
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()  # the pool shall not hand out the connection that has the lock
        self._connection = connection
        connection.execute(sa.select(sa.func.pg_advisory_lock(_PRESENCE_LOCK, key)))

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                self._connection.close()
            self._connection = None
