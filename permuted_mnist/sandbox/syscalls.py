"""The system calls that a sandboxed program may make. Everything else is answered with ENOSYS.

The list holds what PyTorch, NumPy, SciPy, scikit-learn, joblib, `multiprocessing` (fork, spawn, forkserver), threads,
asyncio, subprocesses, sqlite3, matplotlib and `torch.compile` were seen to call (strace), and the siblings of those
calls that other versions of the same libraries use. It leaves out, among others: keyrings (`keyctl`, `add_key`,
`request_key`), `io_uring_*`, `userfaultfd`, `bpf`, `ptrace`, `process_vm_*`, `perf_event_open`, mounts, namespaces,
`open_by_handle_at`, `pidfd_getfd`, `inotify_*`, System V IPC, POSIX message queues, `flock`, and whatever reads or
changes the page cache of files (`mincore`, `cachestat`, `fadvise64`, `readahead`, `preadv2`).

`flock` is left out because a lock may be taken on a file that can only be read: a submission could lock the host's
files. `filelock` handles ENOSYS. POSIX locks (`fcntl`) remain, since sqlite needs them; exclusive ones need write
access.
"""

import fcntl
import socket
import termios
from dataclasses import dataclass

__all__ = ["ALLOWED", "ALLOWED_BY_ARGUMENT", "ArgumentRule"]

_NAMES = """
accept accept4 access alarm arch_prctl bind brk chdir chmod chown clock_getres clock_gettime clock_nanosleep close
close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait
epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fallocate fchdir
fchmod fchmodat fchmodat2 fchown fchownat fdatasync fgetxattr flistxattr fork fstat fstatfs fsync ftruncate futex
futex_waitv futimesat get_robust_list getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer
getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid
getsockname getsockopt gettid gettimeofday getuid getxattr kill lchown lgetxattr link linkat listen listxattr
llistxattr lseek lstat madvise mbind membarrier memfd_create mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap
mprotect mremap msync munlock munlockall munmap nanosleep newfstatat open openat openat2 pause pidfd_open
pidfd_send_signal pipe pipe2 poll ppoll pread64 preadv prlimit64 pselect6 pwrite64 pwritev read readlink readlinkat
readv recvfrom recvmmsg recvmsg rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending
rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getparam sched_getscheduler sched_setaffinity sched_yield select
sendfile sendmmsg sendmsg sendto set_robust_list set_tid_address setgroups setitimer setpgid setpriority setresgid
setresuid setrlimit setsid shutdown sigaltstack signalfd signalfd4 stat statfs statx symlink symlinkat
sync_file_range sysinfo tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_settime
timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat utime utimensat
utimes vfork wait4 waitid write writev
"""

ALLOWED = frozenset(_NAMES.split())
"""Allowed with any arguments. The sandbox itself needs `setgroups`, `setresgid` and `setresuid`, to give up root."""

_CLONE_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""

_PRCTL_OPTIONS = (1, 2, 3, 15, 16, 21, 23, 36, 37, 38, 39, 41, 42, 0x53564D41)
"""Death signal, name, subreaper, no new privileges, huge pages, names of memory; and, to read, dumpable and others."""

_SOCKET_OPTIONS = (
    socket.SO_REUSEADDR,
    socket.SO_SNDBUF,
    socket.SO_RCVBUF,
    socket.SO_PASSCRED,
    socket.SO_RCVTIMEO,
    socket.SO_SNDTIMEO,
)
"""None that attaches a program (`SO_ATTACH_FILTER`, `SO_ATTACH_BPF`)."""

_DESCRIPTOR_COMMANDS = (
    *(fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL),
    *(fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW, 36, 37, 38),  # and those of open file descriptions
    *(1031, 1032, 1033, 1034),  # sizes of pipes, seals of files in memory
)
"""No leases (`F_SETLEASE`) and no notices (`F_NOTIFY`)."""

_DEVICE_COMMANDS = (
    *(termios.TCGETS, termios.TIOCGWINSZ, termios.TIOCGPGRP, 0x802C542A),  # the last is TCGETS2
    *(termios.FIONREAD, termios.FIONBIO, termios.FIOCLEX, termios.FIONCLEX),
)
"""Nothing that types for others (`TIOCSTI`, `TIOCLINUX`)."""


@dataclass(frozen=True, slots=True)
class ArgumentRule:
    """A system call that is allowed if one argument has one of some values.

    Attributes:
        argument: Its place, from 0.
        values: The values allowed, compared in all 64 bits.
        mask: The bits that are compared; all if None.
        refused_with: Name of the error otherwise, in `errno`; the list's own if None.
    """

    argument: int
    values: tuple[int, ...]
    mask: int | None = None
    refused_with: str | None = None


ALLOWED_BY_ARGUMENT: dict[str, ArgumentRule] = {
    "clone": ArgumentRule(0, (0,), mask=_CLONE_NAMESPACES),
    "fcntl": ArgumentRule(1, _DESCRIPTOR_COMMANDS),
    "ioctl": ArgumentRule(1, _DEVICE_COMMANDS),
    "prctl": ArgumentRule(0, _PRCTL_OPTIONS),
    "setsockopt": ArgumentRule(2, _SOCKET_OPTIONS),
    "socket": ArgumentRule(0, (socket.AF_UNIX,), refused_with="EAFNOSUPPORT"),
    "socketpair": ArgumentRule(0, (socket.AF_UNIX,), refused_with="EAFNOSUPPORT"),
}
"""`clone3` is missing: its flags lie in memory, where no filter sees them. The C library then uses `clone`."""
