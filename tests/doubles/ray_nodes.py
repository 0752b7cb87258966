"""A Ray cluster for tests: raylets as processes of their own on loopback addresses of this machine.

    with ray_cluster() as cluster:                      # its head has no processors: nothing runs there
        node = cluster.add_node(processors=2)
        ...
        node.kill()                                     # as a machine that loses its power

Ray listens on all interfaces whatever address it is given, so the cluster demands a token, which is drawn for it.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["RayNode", "RayNodes", "process_tree", "ray_cluster"]

HOST = "127.0.0.2"
"""Ray replaces 127.0.0.1 by the address of the network."""

START_LIMIT_S = 120.0
STARTS = 5
"""`ray start` gives up when its raylet has not answered for 30 seconds, which happens on a busy machine."""

OBJECT_STORE_BYTES = 100_000_000


@dataclass
class RayNode:
    """A node: the process `ray start --block` and what it started."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def pids(self) -> list[int]:
        """Process ids of the node, its workers among them."""
        return process_tree(self.process.pid)

    def kill(self) -> None:
        """Kill all that belongs to the node, at once."""
        pids = self.pids
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        while any(map(_is_running, pids)):
            time.sleep(0.05)
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class RayNodes:
    """A cluster, whose nodes come and go.

    Attributes:
        address: Host and port of the head.
        variables: The environment of those who join it.
    """

    address: str
    variables: Mapping[str, str]
    nodes: list[RayNode] = field(default_factory=list)

    def add_node(self, processors: int, **variables: str) -> RayNode:
        """Start a node and wait until it has joined. `variables` are those of its workers."""
        return self._start(["--address", self.address, "--num-cpus", str(processors)], variables)

    def start_head(self) -> RayNode:
        """Start the head, without processors."""
        port = self.address.rpartition(":")[2]
        return self._start(
            ["--head", "--no-monitor", "--include-dashboard=false", f"--port={port}", "--num-cpus=0"], {}
        )

    def close(self) -> None:
        """Kill all nodes, the head last."""
        for node in reversed(self.nodes):
            if node.process.poll() is None:
                node.kill()

    def _start(self, options: list[str], variables: Mapping[str, str]) -> RayNode:
        for _ in range(STARTS):
            folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a short path: sockets lie below it
            with (folder / "out").open("wb") as out:
                process = subprocess.Popen(
                    [*_START, *options, f"--temp-dir={folder}"],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **_VARIABLES, **self.variables, **variables},
                )
            node = RayNode(process, folder)
            self.nodes.append(node)
            if _has_started(node):
                return node
            said = (folder / "out").read_text(errors="replace")
            node.kill()
        raise RuntimeError(f"a Ray node did not start: {said[-2000:]}")


_START = [
    *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
    f"--node-ip-address={HOST}",
    f"--object-store-memory={OBJECT_STORE_BYTES}",
    "--disable-usage-stats",
    "--include-log-monitor=false",
    # Several nodes on one machine: no fixed ports.
    "--min-worker-port=0",
    "--max-worker-port=0",
    "--dashboard-agent-listen-port=0",
]

_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "5",
    "RAY_agent_register_timeout_ms": "600000",
    "OMP_WAIT_POLICY": "passive",
}


@contextmanager
def ray_cluster(**variables: str) -> Iterator[RayNodes]:
    """Run a cluster until the end of the block. It leaves no process and no file behind.

    Args:
        variables: Further environment variables of all its nodes.
    """
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        address = f"{HOST}:{probe.getsockname()[1]}"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    cluster = RayNodes(address, {**token, **variables})
    try:
        cluster.start_head()
        yield cluster
    finally:
        cluster.close()


def process_tree(root: int) -> list[int]:
    """Return the ids of a process and of all processes below it."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text(errors="replace").rsplit(")", 1)[1].split()[1])
    tree = [root]
    for pid in tree:
        tree += [child for child, parent in parents.items() if parent == pid]
    return tree


def _has_started(node: RayNode) -> bool:
    """Wait until the node says that it has started. Returns false if it gives up or takes too long."""
    deadline = time.monotonic() + START_LIMIT_S
    while node.process.poll() is None and time.monotonic() < deadline:
        if b"Ray runtime started" in (node.folder / "out").read_bytes():
            return True
        time.sleep(0.1)
    return False


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
