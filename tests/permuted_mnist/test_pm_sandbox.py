"""The sandbox's own parts: control groups of both versions, what a machine offers, and the numbers it counts."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from permuted_mnist.evaluation.sandboxed_agent import printable
from permuted_mnist.sandbox.cgroups import Cgroup, CgroupV2, open_cgroup
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.inside.frames import Kind, pack
from permuted_mnist.sandbox.layers import Layers, find_layers
from permuted_mnist.sandbox.limits import Limits
from permuted_mnist.sandbox.processes import measure_tree, task_count

MB = 2**20


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    try:
        group = open_cgroup(f"permuted-mnist-{secrets.token_hex(8)}", Limits(memory_bytes=128 * MB, processes=10))
    except OSError as error:
        pytest.skip(f"no control group: {error}")
    yield group
    group.remove()


def run_in(entrances: list[Path], code: str) -> subprocess.Popen[bytes]:
    join = "".join(f"open({str(file)!r}, 'w').write('0'); " for file in entrances)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", f"import os, time; {join}{code}"], stderr=subprocess.DEVNULL
    )


def test_a_control_group_bounds_memory_and_tells_so(cgroup: Cgroup) -> None:
    process = run_in(cgroup.entrances, f"bytearray({512 * MB})")

    assert process.wait(30) == -signal.SIGKILL
    assert cgroup.killed_for_memory()


def test_a_control_group_measures_memory(cgroup: Cgroup) -> None:
    process = run_in(cgroup.entrances, f"held = bytearray({64 * MB}); time.sleep(60)")
    deadline = time.monotonic() + 30
    while cgroup.memory_bytes() < 64 * MB and time.monotonic() < deadline:
        time.sleep(0.02)

    assert 64 * MB <= cgroup.memory_bytes() < 100 * MB
    assert not cgroup.killed_for_memory()
    process.kill()
    process.wait()


def test_a_control_group_bounds_processes(cgroup: Cgroup) -> None:
    if not cgroup.bounds_processes:
        pytest.skip("the controller is not there")
    process = run_in(cgroup.entrances, "[os.fork() or time.sleep(60) for _ in range(20)]")

    assert process.wait(30) == 1


def test_removing_a_control_group_kills_what_is_in_it() -> None:
    try:
        group = open_cgroup(f"permuted-mnist-{secrets.token_hex(8)}", Limits())
    except OSError as error:
        pytest.skip(f"no control group: {error}")
    process = run_in(group.entrances, "os.fork(); time.sleep(60)")
    while len(group.entrances[0].read_text().split()) < 2:
        time.sleep(0.01)

    group.remove()

    assert process.wait(10) == -signal.SIGKILL
    assert not any(file.exists() for file in group.entrances)


def test_removing_a_group_of_version_2_kills_what_is_in_it() -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"]
    if not mounts or not os.access(mounts[0], os.W_OK):
        pytest.skip("no writable control groups of version 2")
    folder = Path(mounts[0]) / f"permuted-mnist-{secrets.token_hex(8)}"
    folder.mkdir()
    group = CgroupV2(folder)
    process = run_in(group.entrances, "os.fork(); time.sleep(60)")
    while len(group.entrances[0].read_text().split()) < 2:
        time.sleep(0.01)

    group.remove()

    assert process.wait(10) == -signal.SIGKILL
    assert not folder.exists()


def test_a_group_of_version_2_reads_the_kernels_figures(tmp_path: Path) -> None:
    (tmp_path / "memory.stat").write_text("anon 1000\nfile 5000\nshmem 24\n")
    (tmp_path / "memory.events").write_text("low 0\nmax 7\noom 1\noom_kill 1\n")

    assert CgroupV2(tmp_path).memory_bytes() == 1024
    assert CgroupV2(tmp_path).killed_for_memory()


def test_what_is_missing_is_said() -> None:
    try:
        layers = find_layers()
    except UnsupportedError as error:
        pytest.skip(f"no sandbox: {error}")

    assert (layers.bubblewrap is None) == any("bubblewrap" in words for words in layers.missing)
    assert (layers.cgroup is None) == any("control group" in words for words in layers.missing)
    assert Layers(None, None, None).names[0] == "memory watchdog"


def test_a_tree_counts_all_processes_below() -> None:
    code = f"import os, time; os.fork(); held = bytearray({16 * MB}); print(end='x', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    try:
        assert process.stdout.read(2) == b"xx"
        tree = measure_tree(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()

    assert tree.tasks == 2
    assert tree.memory_bytes >= 32 * MB


def test_tasks_of_a_user_include_this_one() -> None:
    assert task_count(os.getuid()) >= 1
    assert task_count(2**31) == 0


def test_a_frame_is_a_letter_a_length_and_a_body() -> None:
    assert pack(Kind.PREDICTIONS, b"abc") == b"P\x00\x00\x00\x03abc"


def test_text_is_shown_without_what_steers_a_terminal() -> None:
    assert printable("two\n\tlines \x1b[31m\x9b") == "two\n\tlines \ufffd[31m\ufffd"
