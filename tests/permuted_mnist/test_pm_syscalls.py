"""Agents that try what the allowlist of system calls leaves out: each try is refused, and nothing ends by it."""

import errno
import fcntl
import platform
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from permuted_mnist.evaluation.results import EpisodeResult, Failure
from permuted_mnist.evaluation.series import evaluate
from permuted_mnist.mnist import Mnist, load_mnist
from permuted_mnist.sandbox import layers as layers_module
from permuted_mnist.sandbox import seccomp
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.layers import Layers, find_layers

try:
    FULL = find_layers()
except UnsupportedError as error:
    pytest.skip(f"no sandbox: {error}", allow_module_level=True)
if FULL.system_calls is None:
    pytest.skip("libseccomp is not installed", allow_module_level=True)

BARE = Layers(bubblewrap=None, cgroup=None, user=None, system_calls=FULL.system_calls)
"""The filter is loaded by the launcher instead of bubblewrap."""

LAYERS = [
    pytest.param(FULL, id="all-layers"),
    pytest.param(BARE, id="neither-namespaces-nor-cgroup", marks=pytest.mark.slow),
]
everywhere = pytest.mark.parametrize("layers", LAYERS)
x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="by numbers and instructions of x86-64")
needs_namespaces = pytest.mark.skipif(FULL.bubblewrap is None, reason="bubblewrap does not work here")

AGENT = """
import ctypes, errno, fcntl, mmap, os, socket, sys
import numpy as np

LIBC = ctypes.CDLL(None, use_errno=True)

def answer(number, *arguments):
    ctypes.set_errno(0)
    if LIBC.syscall(number, *arguments) >= 0:
        return "done"
    return errno.errorcode[ctypes.get_errno()]

class Agent:
    def train(self, X, y):
{train}

    def predict(self, X):
        return np.zeros(len(X), dtype=np.int64)
"""


def run(folder: Path, train: str, layers: Layers = FULL) -> EpisodeResult:
    folder.mkdir()
    lines = "".join(f"        {line}\n" for line in train.strip().splitlines())
    (folder / "agent.py").write_text(AGENT.format(train=lines))
    full = load_mnist()
    few = Mnist(full.train_images[:50], full.train_labels[:50], full.test_images[:9], full.test_labels[:9], full.source)
    (episode,) = evaluate(folder, few, layers, episodes=1).episodes
    return episode


REFUSED = {
    "add_key": 248,
    "bpf": 321,
    "cachestat": 451,
    "clone3": 435,
    "fanotify_init": 300,
    "finit_module": 313,
    "flock": 73,
    "fsopen": 430,
    "init_module": 175,
    "inotify_init1": 294,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "io_uring_setup": 425,
    "ioperm": 173,
    "iopl": 172,
    "kcmp": 312,
    "kexec_file_load": 320,
    "kexec_load": 246,
    "keyctl": 250,
    "landlock_create_ruleset": 444,
    "memfd_secret": 447,
    "mincore": 27,
    "modify_ldt": 154,
    "mount": 165,
    "mount_setattr": 442,
    "move_mount": 429,
    "move_pages": 279,
    "mq_open": 240,
    "msgget": 68,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "open_tree": 428,
    "perf_event_open": 298,
    "personality": 135,
    "pidfd_getfd": 438,
    "pivot_root": 155,
    "process_madvise": 440,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "ptrace": 101,
    "quotactl": 179,
    "reboot": 169,
    "request_key": 249,
    "seccomp": 317,
    "semget": 64,
    "setns": 308,
    "shmget": 29,
    "swapon": 167,
    "sync": 162,
    "syncfs": 306,
    "syslog": 103,
    "umount2": 166,
    "unshare": 272,
    "uselib": 134,
    "userfaultfd": 323,
    "vmsplice": 278,
}
"""System calls and their numbers on x86-64."""


@x86_64
@everywhere
def test_system_calls_that_no_library_needs_are_not_there(tmp_path: Path, layers: Layers) -> None:
    train = f"""
for name, number in {REFUSED}.items():
    print(name, answer(number, 0, 0, 0, 0, 0, 0))
"""
    log = run(tmp_path / "agent", train, layers).log

    assert log.splitlines() == [f"{name} ENOSYS" for name in REFUSED]


@x86_64
@everywhere
def test_arguments_are_looked_at_in_all_their_bits(tmp_path: Path, layers: Layers) -> None:
    high = 1 << 40
    tries = {
        "clone into a new user namespace": (56, 0x10000000 | 17),
        "clone into a new network namespace": (56, 0x40000000 | 17),
        "typing for a terminal": (16, 0, 0x5412),
        "typing for a terminal, by more bits": (16, 0, high | 0x5412),
        "selecting on a console": (16, 0, 0x541C),
        "a lease": (72, 0, 1024, 0),
        "notices of a folder": (72, 0, 1026, 1),
        "the memory map of the process": (157, 35, 1, 0, 0, 0),
        "being dumpable": (157, 4, 1, 0, 0, 0),
        "a program at a socket": (54, 0, 1, 26, 0, 0),
    }
    train = f"""
for name, (number, *arguments) in {tries}.items():
    print(name, answer(number, *map(ctypes.c_long, arguments)), sep=": ")
"""
    log = run(tmp_path / "agent", train, layers).log

    assert log.splitlines() == [f"{name}: ENOSYS" for name in tries]


@everywhere
def test_sockets_are_of_the_local_kind_alone(tmp_path: Path, layers: Layers) -> None:
    train = """
for family in range(64):
    for make in (lambda: socket.socket(family, socket.SOCK_STREAM), lambda: socket.socketpair(family)):
        try:
            make()
        except OSError as error:
            print(family, errno.errorcode[error.errno])
        else:
            print(family, "made")
"""
    log = run(tmp_path / "agent", train, layers).log

    expected = {family: "made" if family == 1 else "EAFNOSUPPORT" for family in range(64)}
    assert log.splitlines() == [f"{family} {what}" for family, what in expected.items() for _ in range(2)]


@x86_64
@everywhere
@pytest.mark.parametrize(
    "code",
    [
        pytest.param(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3", id="32-bit"),  # mov eax, 20; int 0x80; ret
        pytest.param(b"\xb8\x27\x00\x00\x40\x0f\x05\xc3", id="x32"),  # mov eax, 0x40000027; syscall; ret
    ],
)
def test_calls_by_another_architectures_numbers_end_the_process(tmp_path: Path, layers: Layers, code: bytes) -> None:
    train = f"""
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
memory.write({code!r})
print(ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))(), flush=True)
"""
    result = run(tmp_path / "agent", train, layers)

    assert result.failure is Failure.CRASH
    assert result.detail == "in train: it was ended by SIGSYS"
    assert result.log == ""


@pytest.fixture
def locked_by_the_host() -> Path:
    """A file in sight of agents, which the host wants to lock."""
    file = Path(sys.prefix) / "pyvenv.cfg"
    if not file.exists():
        file = Path(fcntl.__file__)
    return file


@needs_namespaces
def test_an_agent_cannot_lock_a_file_against_the_host(tmp_path: Path, locked_by_the_host: Path) -> None:
    file = locked_by_the_host
    train = f"""
for path in ({str(file)!r}, __file__, sys.executable, os.__file__, "/etc/ld.so.cache"):
    with open(path, "rb") as stream:
        for lock in (fcntl.flock, fcntl.lockf):
            try:
                lock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                print("locked", path)
            except OSError as error:
                print(errno.errorcode[error.errno])
with open(os.environ["TMPDIR"] + "/own", "wb") as stream:
    fcntl.lockf(stream, fcntl.LOCK_EX)
    print("own")
"""
    with file.open("rb") as stream:
        result = run(tmp_path / "agent", train)
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)

    assert result.failure is None, result.detail
    assert result.log.splitlines() == ["ENOSYS", "EBADF"] * 5 + ["own"]


@needs_namespaces
def test_an_agent_is_in_a_user_namespace_of_its_own_and_makes_none(tmp_path: Path) -> None:
    train = """
print(os.readlink("/proc/self/ns/user"))
print(sum(int(line.split()[2]) for line in open("/proc/self/uid_map")))
print(LIBC.unshare(0x10000000))
print(open("/proc/self/setgroups").read().strip(), os.getresuid(), os.stat("/").st_uid)
"""
    logs = [
        run(tmp_path / name, train, replace(FULL, system_calls=filter_)).log.splitlines()
        for name, filter_ in (("a", FULL.system_calls), ("b", None))
    ]

    namespaces = {Path("/proc/self/ns/user").readlink().name, *(log[0] for log in logs)}
    assert len(namespaces) == 3
    assert all(
        int(log[1]) <= 2 for log in logs
    )  # root, of whom nothing runs there that it reaches, and the agent's user
    assert all(log[2] == "-1" for log in logs)


def test_a_machine_without_libseccomp_says_what_is_weaker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(seccomp, "LIBRARY", "libseccomp-of-nobody.so")
    layers_module.find_layers.cache_clear()
    try:
        layers = find_layers()
    finally:
        layers_module.find_layers.cache_clear()

    assert layers.system_calls is None
    assert "system call allowlist (seccomp)" not in layers.names
    assert any("libseccomp-of-nobody.so is not installed (Debian: libseccomp2)" in words for words in layers.missing)
    assert run(tmp_path / "agent", "print(1)", layers).log == "1\n"


def test_the_errors_that_refusals_name_exist() -> None:
    from permuted_mnist.sandbox.syscalls import ALLOWED, ALLOWED_BY_ARGUMENT

    assert not ALLOWED & ALLOWED_BY_ARGUMENT.keys()
    assert all(hasattr(errno, rule.refused_with) for rule in ALLOWED_BY_ARGUMENT.values() if rule.refused_with)
    assert not {*REFUSED, "splice", "fadvise64"} & (ALLOWED | ALLOWED_BY_ARGUMENT.keys())
