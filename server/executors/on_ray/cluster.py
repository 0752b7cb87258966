"""The connection of this process to a Ray cluster. A process has one, which its executors share."""

import logging
import os
import socket
import threading
from typing import Any

import ray

from ml_trainer_env.server.executors.bounded_map import BoundedMap
from ml_trainer_env.server.executors.channel import KEPT_BYTES
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.job import Part
from ml_trainer_env.server.executors.on_ray.address import check_address, has_tokens

__all__ = ["RayCluster"]

_LOG = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
"""Seconds that the head may take to accept a connection."""

_LOCK = threading.Lock()
_USERS: list["RayCluster"] = []
"""Those that are connected. The last one to leave ends the connection."""


class RayCluster:
    """A cluster that exists. Its methods block, and any thread may call them.

    Args:
        address: Host and port of the head.

    Raises:
        RayAddressError: The cluster may not be joined.
    """

    def __init__(self, address: str) -> None:
        self._address = check_address(address, os.environ)
        self._parts: BoundedMap[Any] = BoundedMap(KEPT_BYTES)

    def connect(self) -> None:
        """Connect this process, if it is not connected.

        Ray's processes are not started. The process becomes the owner of the actors that it starts: they end with it,
        however it ends.

        Raises:
            ExecutorError: The cluster does not answer, refuses the token, or the process is connected to another one.
        """
        with _LOCK:
            if self in _USERS:
                return
            if _USERS and _USERS[0]._address != self._address:
                raise ExecutorError(f"this process is connected to another Ray cluster, {_USERS[0]._address}")
            if not _USERS:
                self._join()
            _USERS.append(self)

    def close(self) -> None:
        """Disconnect, if no other executor of this process is connected. Ray then ends the actors."""
        with _LOCK:
            if self in _USERS:
                _USERS.remove(self)
                if not _USERS:
                    ray.shutdown()

    def reference(self, part: Part) -> Any:
        """Return a reference of a part of data, which is in the cluster's object store. It is put there once."""
        with _LOCK:
            if part.key not in self._parts:
                self._parts.keep(part.key, ray.put(part), part.nbytes)
            return self._parts[part.key]

    def _join(self) -> None:
        logging.getLogger("ray").setLevel(logging.ERROR)  # it warns that it leaves the signals of this process alone
        host, _, port = self._address.rpartition(":")
        try:
            # Ray itself would try for a quarter of an hour.
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
            ray.init(self._address, log_to_driver=False, configure_logging=False)
        except Exception as error:  # Ray's own errors, and those of its transport, have no common class
            raise ExecutorError(f"the Ray cluster at {self._address} cannot be joined: {error}") from error
        if not has_tokens(os.environ):
            _LOG.warning("Ray demands no token (RAY_AUTH_MODE): whoever reaches one of its ports can run code")
