"""A submission's process as seen from outside: starts it, exchanges messages, measures it, and ends it.

Time, limits and results are decided here. Messages from inside the sandbox are not trusted, because the submission runs
in the same process as their sender.
"""

import contextlib
import os
import secrets
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from permuted_mnist.sandbox.bubblewrap import FOLDER_SEEN, PROGRAM_SEEN, SCRATCH, bubblewrap_command
from permuted_mnist.sandbox.cgroups import Cgroup, open_cgroup
from permuted_mnist.sandbox.errors import EndedError, FloodedError, GarbledError, OutOfMemoryError, TimedOutError
from permuted_mnist.sandbox.inside.entry import Entry, entry_command
from permuted_mnist.sandbox.inside.frames import HEADER, Kind
from permuted_mnist.sandbox.layers import PROGRAM, Layers
from permuted_mnist.sandbox.limits import Limits
from permuted_mnist.sandbox.plan import Plan, filter_file, launch_command
from permuted_mnist.sandbox.processes import measure_tree, task_count

__all__ = ["SandboxedProcess"]

TICK_S = 0.05
"""Interval of the memory measurement."""

LOG_KEPT = 64 * 1024
"""Bytes of the log that are kept, from its end."""

_END_S = 5.0
_SEND_S = 5.0


class SandboxedProcess:
    """One run of a submission. A context manager that ends all processes and removes all files of the run.

    Args:
        folder: The submission's folder, readable by every user.
        limits: Resource limits.
        layers: Sandbox layers.
        entry: Our function that runs the submission.
        arguments: Arguments for `entry`.

    Raises:
        OSError: The process cannot be started.

    Attributes:
        peak_memory_bytes: Peak memory of all its processes together, measured every 50 ms.
    """

    def __init__(
        self, folder: Path, limits: Limits, layers: Layers, entry: Entry, arguments: Sequence[object] = ()
    ) -> None:
        self.peak_memory_bytes = 0
        self._limits = limits
        self._received = bytearray()
        self._log = bytearray()
        self._logged = 0
        self._closed = self._ended = False
        self._measured_at = 0.0
        self._cgroup: Cgroup | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._selector = selectors.DefaultSelector()
        self._channel, other = socket.socketpair()
        try:
            with other:
                self._start(folder, layers, other.fileno(), entry, arguments)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def log(self) -> str:
        """The end of its output to standard output and standard error."""
        return self._log.decode(errors="replace")

    def send(self, frame: bytes, file: int | None = None) -> None:
        """Send a frame, and optionally a file descriptor.

        Raises:
            EndedError: The process has ended or closed its channel.
            TimedOutError: The process does not read the frame in time.
        """
        self._channel.settimeout(_SEND_S)
        try:
            if file is None:
                self._channel.sendall(frame)
            else:
                socket.send_fds(self._channel, [frame], [file])
        except TimeoutError as error:
            raise TimedOutError("it does not take what it is sent") from error
        except OSError as error:
            raise self._end() from error

    def receive(self, deadline: float) -> tuple[Kind, bytes]:
        """Wait for a frame.

        Args:
            deadline: By `time.monotonic()`.

        Raises:
            TimedOutError: No frame arrived in time.
            OutOfMemoryError: The process exceeded its memory limit.
            EndedError: The process ended or closed its channel.
            FloodedError: The process sent or wrote too much.
            GarbledError: The process sent an invalid frame.
        """
        while (frame := self._frame()) is None:
            if self._closed or self._ended:
                raise self._end()
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimedOutError("the time is up")
            self._take_in(min(left, TICK_S))
        return frame

    def close(self) -> None:
        """End the process and all its descendants, and remove its files."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._cgroup is not None:
            self._cgroup.remove()
            self._cgroup = None
        for key in list(self._selector.get_map().values()):
            if key.fileobj is not self._channel:
                self._take_rest(key.fd)
                self._drop(key.fd)
        self._selector.close()
        self._channel.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _start(self, folder: Path, layers: Layers, channel: int, entry: Entry, arguments: Sequence[object]) -> None:
        user = -1 if layers.user is None else layers.user
        if layers.cgroup is not None:
            self._cgroup = open_cgroup(f"permuted-mnist-{os.getpid()}-{secrets.token_hex(8)}", self._limits)
        if layers.bubblewrap is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="permuted-mnist-", ignore_cleanup_errors=True)
            if layers.user is not None:
                os.chown(self._scratch.name, user, user)
            scratch, seen, program = self._scratch.name, folder, PROGRAM.parent
        else:
            scratch, seen, program = SCRATCH, Path(FOLDER_SEEN), Path(PROGRAM_SEEN)
        command = entry_command(layers.python, program, entry, seen, channel, user, arguments)
        environment = self._environment(scratch)
        with contextlib.ExitStack() as files:
            allowed = -1
            if layers.system_calls is not None:
                allowed = filter_file(layers.system_calls)
                files.callback(os.close, allowed)
            plan = Plan(
                command,
                environment,
                str(seen),
                supervise=True,
                cgroup_files=[str(file) for file in self._cgroup.entrances] if self._cgroup else [],
                cpus=sorted(os.sched_getaffinity(0))[: self._limits.cpus],
                rlimits=self._rlimits(layers),
                filter=allowed,
                passed=[channel],
            )
            if layers.bubblewrap is not None:
                plan = self._in_bubblewrap(plan, layers.bubblewrap, folder, layers)
            self._process = subprocess.Popen(
                launch_command(plan),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[channel, *([allowed] if allowed >= 0 else [])],
                start_new_session=True,
                cwd="/",
            )
        assert self._process.stdout is not None
        log = os.dup(self._process.stdout.fileno())
        self._process.stdout.close()
        self._watch(self._channel, self._take_frame_bytes)
        self._watch(log, lambda: self._take_log(log))
        self._watch(os.pidfd_open(self._process.pid), self._notice_end)

    def _in_bubblewrap(self, plan: Plan, bubblewrap: str, folder: Path, layers: Layers) -> Plan:
        """Wrap a plan in bubblewrap. It kills the program's descendants and loads the filter."""
        binds = {folder: FOLDER_SEEN, PROGRAM: f"{PROGRAM_SEEN}/{PROGRAM.name}"}
        command = bubblewrap_command(
            bubblewrap,
            binds,
            plan.environment,
            self._limits.scratch_bytes,
            plan.command,
            plan.folder,
            plan.filter if plan.filter >= 0 else None,
            layers.environment,
        )
        return replace(plan, command=command, folder="/", supervise=False, mapped_user=layers.user, filter=-1)

    def _environment(self, scratch: str) -> dict[str, str]:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(self._limits.cpus))
        threads["OMP_WAIT_POLICY"] = "passive"  # waiting threads do not use processor time
        people = dict.fromkeys(("USER", "LOGNAME"), "agent")
        folders = dict.fromkeys(("HOME", "TMPDIR"), scratch)
        return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **threads, **people, **folders}

    def _rlimits(self, layers: Layers) -> dict[str, int]:
        limits = self._limits
        bounds = {
            "RLIMIT_CORE": 0,
            "RLIMIT_NOFILE": 1024,
            "RLIMIT_FSIZE": limits.scratch_bytes,
            "RLIMIT_CPU": round(limits.cpus * (limits.start_s + limits.wall_s)) + 60,
        }
        if self._cgroup is None or not self._cgroup.bounds_processes:
            user = os.geteuid() if layers.user is None else layers.user
            bounds["RLIMIT_NPROC"] = task_count(user) + limits.processes
        return bounds

    def _watch(self, file: Any, act: Callable[[], None]) -> None:
        self._selector.register(file, selectors.EVENT_READ, act)

    def _drop(self, file: int) -> None:
        self._selector.unregister(file)
        os.close(file)

    def _take_in(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            if (
                key.fileobj in self._selector.get_map()
            ):  # an earlier event, the end of the process, may have closed the pipe
                key.data()
        if time.monotonic() - self._measured_at >= TICK_S:
            self._measure()

    def _take_frame_bytes(self) -> None:
        try:
            piece = self._channel.recv(65_536)
        except ConnectionResetError:
            piece = b""
        self._received += piece
        if not piece:
            self._closed = True
            self._selector.unregister(self._channel)

    def _take_log(self, log: int) -> None:
        piece = os.read(log, 65_536)
        if not piece:
            self._drop(log)
        self._logged += len(piece)
        self._log += piece
        del self._log[:-LOG_KEPT]
        if self._logged > self._limits.log_bytes:
            raise FloodedError(
                f"standard output should be {self._limits.log_bytes} bytes at the most, got {self._logged} and more"
            )

    def _take_rest(self, file: int) -> None:
        """Read the rest of the log if this is its pipe. Its writers have ended."""
        os.set_blocking(file, False)
        with contextlib.suppress(OSError):
            while piece := os.read(file, 65_536):
                self._log += piece
                del self._log[:-LOG_KEPT]

    def _notice_end(self) -> None:
        """Handle the end of the process. Reads everything that it sent before."""
        self._ended = True
        for key in list(self._selector.get_map().values()):
            if key.data == self._notice_end:
                self._drop(key.fd)
        while not self._closed and self._selector.select(0):
            self._take_in(0)

    def _frame(self) -> tuple[Kind, bytes] | None:
        if len(self._received) < HEADER.size:
            return None
        letter, length = HEADER.unpack_from(self._received)
        try:
            kind = Kind(letter.decode())
        except ValueError:
            raise GarbledError(f"an answer should begin with its kind, got the byte {letter!r}") from None
        if length > self._limits.answer_bytes:
            raise FloodedError(f"an answer should be {self._limits.answer_bytes} bytes at the most, got {length}")
        if len(self._received) < HEADER.size + length:
            return None
        body = bytes(self._received[HEADER.size : HEADER.size + length])
        del self._received[: HEADER.size + length]
        return kind, body

    def _measure(self) -> None:
        self._measured_at = time.monotonic()
        assert self._process is not None
        if self._cgroup is not None:
            held = self._cgroup.memory_bytes()
            if self._cgroup.killed_for_memory():
                raise self._end()
        else:
            tree = measure_tree(self._process.pid)
            held = tree.memory_bytes
            if tree.tasks > self._limits.processes:
                raise EndedError(f"it should have {self._limits.processes} processes at the most, got {tree.tasks}")
        self.peak_memory_bytes = max(self.peak_memory_bytes, held)
        if held > self._limits.memory_bytes:
            raise OutOfMemoryError(f"memory should be {self._limits.memory_bytes} bytes at the most, got {held}")

    def _end(self) -> OutOfMemoryError | EndedError:
        """Get the error for a process that sends nothing more."""
        assert self._process is not None
        if self._cgroup is not None and self._cgroup.killed_for_memory():
            self.peak_memory_bytes = max(self.peak_memory_bytes, self._limits.memory_bytes)
            return OutOfMemoryError(f"memory should be {self._limits.memory_bytes} bytes at the most, and was used up")
        try:
            return EndedError(_ending(self._process.wait(_END_S)))
        except subprocess.TimeoutExpired:
            return EndedError("it closed its channel")


def _ending(status: int) -> str:
    """Describe how a process ended, by a status of a shell or of Python."""
    number = status - 128 if status > 128 else -status
    if number > 0:
        try:
            return f"it was ended by {signal.Signals(number).name}"
        except ValueError:
            pass
    return f"it ended with status {status}"
