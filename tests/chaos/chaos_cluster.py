"""Several servers with one database and one object store, workers on a Ray cluster, and all of them mortal."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from chaos_server import MortalServer, until
from ray_nodes import RayNode, RayNodes

__all__ = ["MortalCluster"]

ON_RAY = 2
"""Of the servers so many have their workers on Ray. The others have processes of their own."""

NODES = 2
PROCESSORS = 2
"""Of a node: places for so many workers of one thread. A node can thus be lost."""


class MortalCluster:
    """Servers that stand behind any balancer. On leaving they are killed for good; the nodes are their owner's.

    Args:
        folder: Where each has its state and its log.
        servers: Their number.
        database_url: The database of their journal.
        models: The place of their models.
        variables: Environment variables of all servers.
        ray: The cluster on which some have their workers.
    """

    has_nodes = True

    def __init__(
        self, folder: Path, servers: int, database_url: str, models: str, variables: Mapping[str, str], ray: RayNodes
    ) -> None:
        on_ray = {"ML_TRAINER_EXECUTOR": "ray", "ML_TRAINER_RAY_ADDRESS": ray.address, **ray.variables}
        self.journal = database_url
        self.models = models
        self._ray = ray
        self._nodes: list[RayNode] = []
        self._servers = []
        for number in range(servers):
            place = folder / f"server-{number}"
            place.mkdir()
            own = {**variables, "ML_TRAINER_STATES_URL": models, **(on_ray if number < ON_RAY else {})}
            self._servers.append(MortalServer(place, False, database_url, own))

    async def __aenter__(self) -> Self:
        self._nodes = [await asyncio.to_thread(self._ray.add_node, PROCESSORS) for _ in range(NODES)]
        for server in self._servers:
            await server.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            await server.__aexit__()

    @property
    def urls(self) -> Sequence[str]:
        """Where the servers are when they are there."""
        return [server.url for server in self._servers]

    async def die(self, draw: random.Random) -> None:
        """Let a server be killed."""
        await draw.choice(self._servers).die(draw)

    async def lose_a_worker(self, draw: random.Random) -> None:
        """Let a worker of a server be killed, or an actor."""
        server = draw.choice(self._servers)
        if server in self._servers[:ON_RAY]:
            await until(lambda: self._kill_an_actor(draw), "there is an actor", every_s=0.05)
        else:
            await server.lose_a_worker(draw)

    async def lose_a_node(self, draw: random.Random) -> None:
        """Let a node be killed with all that runs there, and another one come."""
        place = draw.randrange(len(self._nodes))
        await asyncio.to_thread(self._nodes[place].kill)
        self._nodes[place] = await asyncio.to_thread(self._ray.add_node, PROCESSORS)

    async def next_write(self, unless: Callable[[], bool]) -> None:
        """Wait until something is written to the journal, unless nothing is going to be."""
        await self._servers[0].next_write(unless)

    def processes(self) -> list[int]:
        """All processes that were ever started for a server and still run."""
        return [pid for server in self._servers for pid in server.processes()]

    def actors(self) -> list[int]:
        """All actors that run on the nodes."""
        return [pid for node in self._nodes for pid in node.pids if _is_actor(pid)]

    def _kill_an_actor(self, draw: random.Random) -> bool:
        """Whether there was one."""
        if actors := sorted(self.actors()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(draw.choice(actors), signal.SIGKILL)
                return True
        return False


def _is_actor(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::TrainerActor")
    return False
