"""Marks that an agent leaves in every kernel object it can reach, and how the next one looks for them.

The text of this file is written into agents: it stands alone. `leave` makes each mark and prints what could not be
made; `look` prints the names of those that it finds.
"""

import ctypes
import mmap
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

NAME = "carrymark"
LIBC = ctypes.CDLL(None, use_errno=True)
ADD_KEY, REQUEST_KEY, KEYCTL = 248, 249, 250  # of x86-64
GET_KEYRING_ID, SET_PERMISSIONS, LINK, SEARCH, GET_PERSISTENT = 0, 5, 8, 10, 22
KEYRINGS = {"thread": -1, "process": -2, "session": -3, "user": -4, "user-session": -5}
SHARED_KEY = 0x4D41524B
FOLDERS = (
    "/tmp",
    "/dev/shm",
    "/dev/mqueue",
    "/var/tmp",
    "/run",
    "/agent",
    "/program",
    "/",
    "/home",
    "/dev",
    sys.prefix,
)
DEVICES = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty"))
SETTINGS = (
    *("/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname", "/proc/sys/kernel/core_pattern"),
    *("/proc/sys/kernel/shmmax", "/proc/sys/kernel/msgmax", "/proc/sys/kernel/sem", "/proc/sys/kernel/ns_last_pid"),
    *("/proc/sys/fs/mqueue/msg_max", "/proc/sys/vm/drop_caches", "/proc/sys/net/ipv4/ip_forward"),
    *("/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/keys/maxkeys"),
    *("/proc/self/loginuid", "/proc/1/oom_score_adj", "/proc/1/comm", "/proc/1/timerslack_ns"),
    *(f"/sys/fs/cgroup/{kind}/cgroup.clone_children" for kind in ("memory", "pids", "cpu")),
)
"""Files of the kernel that may be written to, by the host's root at least."""


def called(number: int, *arguments: object) -> int:
    return int(LIBC.syscall(number, *arguments))


def leave() -> None:
    for name, act in leaving():
        try:
            act()
        except Exception as error:
            print("not left:", name, type(error).__name__, error)
        else:
            print("left:", name)


def leaving() -> Iterator[tuple[str, Callable[[], object]]]:
    for name, ring in KEYRINGS.items():
        yield f"key in the {name} keyring", lambda ring=ring: key_in(ring)
    yield "key in the persistent keyring", lambda: key_in(persistent())
    for folder in FOLDERS:
        yield f"file in {folder}", lambda folder=folder: Path(folder, NAME).write_text(NAME)
        yield f"attribute of {folder}", lambda folder=folder: os.setxattr(folder, f"user.{NAME}", b"x")
    for file in DEVICES:
        yield f"time of {file}", lambda file=file: os.utime(file)
    for file in SETTINGS:
        yield f"setting {file}", lambda file=file: set_(file)
    yield "System V shared memory", lambda: done(LIBC.shmget(SHARED_KEY, 4096, 0o1666))
    yield "System V semaphores", lambda: done(LIBC.semget(SHARED_KEY, 1, 0o1666))
    yield "System V messages", lambda: done(LIBC.msgget(SHARED_KEY, 0o1666))
    yield "POSIX message queue", lambda: done(LIBC.mq_open(f"/{NAME}".encode(), os.O_CREAT | os.O_RDWR, 0o666, None))
    yield "POSIX semaphore", lambda: LIBC.sem_open(f"/{NAME}".encode(), os.O_CREAT, 0o666, 1)
    yield "abstract socket", lambda: KEPT.append(listening(socket.AF_UNIX, f"\0{NAME}"))
    yield "port", lambda: KEPT.append(listening(socket.AF_INET, ("127.0.0.1", 39217)))
    yield "host's name", lambda: done(LIBC.sethostname(NAME.encode(), len(NAME)))
    yield "domain's name", lambda: done(LIBC.setdomainname(NAME.encode(), len(NAME)))
    yield "lock", lambda: KEPT.append(locked())
    yield "process", linger
    yield "niceness", lambda: os.nice(7)
    yield "processors", lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    yield "limit", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (123, 123))
    yield "umask", lambda: os.umask(0o077)
    yield "name of the process", lambda: LIBC.prctl(15, NAME.encode(), 0, 0, 0)
    yield "training data", scribble


def look() -> None:
    for name, found in looking():
        with suppress(OSError, subprocess.SubprocessError):
            if found():
                print("found:", name)


def looking() -> Iterator[tuple[str, Callable[[], object]]]:
    for name, ring in KEYRINGS.items():
        yield f"key in the {name} keyring", lambda ring=ring: searched(ring)
    yield "key in the persistent keyring", lambda: searched(persistent())
    yield "key on request", lambda: called(REQUEST_KEY, b"user", NAME.encode(), None, 0) > 0
    yield "key in /proc/keys", lambda: NAME in Path("/proc/keys").read_text()
    for folder in FOLDERS:
        yield f"file in {folder}", lambda folder=folder: any(NAME in name for name in os.listdir(folder))
        yield f"attribute of {folder}", lambda folder=folder: f"user.{NAME}" in os.listxattr(folder)
    for file in SETTINGS:
        yield f"setting {file}", lambda file=file: Path(file).read_text().strip() in (NAME, "4321")
    yield "System V shared memory", lambda: LIBC.shmget(SHARED_KEY, 0, 0) >= 0
    yield "System V semaphores", lambda: LIBC.semget(SHARED_KEY, 0, 0) >= 0
    yield "System V messages", lambda: LIBC.msgget(SHARED_KEY, 0) >= 0
    for kind in ("shm", "sem", "msg"):
        yield f"anything in /proc/sysvipc/{kind}", lambda kind=kind: lines(f"/proc/sysvipc/{kind}") > 1
    yield "POSIX message queue", lambda: LIBC.mq_open(f"/{NAME}".encode(), os.O_RDWR) >= 0
    yield "abstract socket", lambda: connected(socket.AF_UNIX, f"\0{NAME}")
    yield "abstract socket by name", lambda: NAME in Path("/proc/net/unix").read_text()
    yield "port", lambda: connected(socket.AF_INET, ("127.0.0.1", 39217))
    yield "host's name", lambda: NAME in (*os.uname(), Path("/proc/sys/kernel/domainname").read_text().strip())
    yield "lock", lambda: lines("/proc/locks") > 0
    yield "process", lambda: any(NAME in command for command in commands())
    yield "niceness", lambda: os.getpriority(os.PRIO_PROCESS, 0) != 0
    yield "processors", lambda: len(os.sched_getaffinity(0)) == 1 and (os.cpu_count() or 1) > 1
    yield "limit", lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 123
    yield "umask", lambda: os.umask(0o022) == 0o077
    yield "name of the process", lambda: NAME in Path("/proc/self/comm").read_text()


KEPT: list[object] = []


def done(status: int) -> int:
    if status < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return status


def key_in(ring: int) -> None:
    """A key that everyone may find."""
    key = done(called(ADD_KEY, b"user", NAME.encode(), b"of the first", 12, ring))
    called(KEYCTL, SET_PERMISSIONS, key, 0x3F3F3F3F)


def persistent() -> int:
    return done(called(KEYCTL, GET_PERSISTENT, -1, KEYRINGS["process"]))


def lines(file: str) -> int:
    return len(Path(file).read_text().splitlines())


def searched(ring: int) -> bool:
    return called(KEYCTL, SEARCH, ring, b"user", NAME.encode(), 0) > 0


def set_(file: str) -> None:
    text = NAME if file.endswith(("name", "comm", "pattern")) else "4321"
    with open(file, "w") as stream:
        stream.write(text)


def listening(family: int, address: object) -> socket.socket:
    made = socket.socket(family)
    made.bind(address)
    made.listen()
    return made


def connected(family: int, address: object) -> bool:
    with socket.socket(family) as made:
        made.settimeout(2)
        return made.connect_ex(address) == 0


def locked() -> object:
    import fcntl

    stream = open(os.__file__)  # noqa: SIM115 (it is held)
    fcntl.lockf(stream, fcntl.LOCK_SH)
    return stream


def linger() -> None:
    """A process that leaves its group and session, and stays."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv(sys.executable, [sys.executable, "-S", "-c", "import time; time.sleep(600)", NAME])
        os._exit(0)
    os.wait()
    deadline = time.monotonic() + 20
    while not any(NAME in command for command in commands()) and time.monotonic() < deadline:
        time.sleep(0.01)  # it has this name once it has become that program


def commands() -> Iterator[str]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                yield Path("/proc", name, "cmdline").read_bytes().decode(errors="replace")


def scribble() -> None:
    """Change the training data where they lie, not only in this process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "memfd:arrays" in line:
            first, _, last = line.split()[0].partition("-")
            file = os.open(f"/proc/self/map_files/{first}-{last}", os.O_RDWR)
            mmap.mmap(file, 0)[:4] = b"mark"
            time.sleep(0)
