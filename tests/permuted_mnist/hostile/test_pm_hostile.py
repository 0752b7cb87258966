"""Agents that do what they should not: each is contained and named, and nothing of it is left."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
from hostile_agents import LIMITS, Run, agent, everywhere, needs_namespaces

from permuted_mnist.evaluation.results import Failure
from permuted_mnist.sandbox.inside.frames import HEADER, Kind, pack
from permuted_mnist.sandbox.layers import Layers
from permuted_mnist.tasks import PermutedTask

GB = 2**30


# --- Time


@everywhere
def test_an_endless_loop_is_a_timeout(run: Run, layers: Layers) -> None:
    result = run(train="while True: pass", layers=layers)

    assert result.failure is Failure.TIMEOUT
    assert result.detail == "in train: not done after 1.5 s"
    assert result.time_s >= 1.5


@everywhere
def test_an_endless_loop_in_c_that_ignores_signals_is_a_timeout(run: Run, layers: Layers) -> None:
    loop = """
        import itertools, signal
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        sum(itertools.repeat(1))
    """

    assert run(predict=loop, layers=layers).detail == "in predict: not done after 1.5 s"


def test_loading_has_a_limit_of_its_own(run: Run) -> None:
    result = run(source="import time\ntime.sleep(60)", limits=replace(LIMITS, start_s=1.0))

    assert result.failure is Failure.TIMEOUT
    assert result.detail == "while it was loaded: not done after 1 s"
    assert result.time_s == 0.0


def test_an_agent_that_turns_back_the_clock_and_patches_numpy_gains_nothing(run: Run, task: PermutedTask) -> None:
    patches = """
        slept = time.sleep
        for name in ("time", "monotonic", "perf_counter"):
            setattr(time, name, lambda: 0.0)
        np.mean = np.equal = lambda *_, **__: 1.0
        slept(1.0)
    """
    result = run(train=patches, predict="return np.zeros(len(X), int)")

    assert result.train_s is not None
    assert result.train_s >= 1.0
    assert result.accuracy == (task.test_labels == 0).mean()


def test_an_agent_cannot_work_on_the_data_before_the_clock_runs(run: Run) -> None:
    early = "import threading\nprint(len(os.listdir('/proc/self/fd')), 'files')"
    result = run(source=agent(top=early, train="time.sleep(0.5)", predict="return np.zeros(len(X), int)"))

    assert result.failure is None
    assert result.time_s >= 0.5


# --- Memory and processes


@everywhere
def test_eight_gigabytes_are_too_many(run: Run, layers: Layers) -> None:
    limits = replace(LIMITS, wall_s=120.0, memory_bytes=GB)
    result = run(train="self.much = np.ones(2**30)", layers=layers, limits=limits)

    assert result.failure is Failure.OOM_KILLED
    assert result.peak_memory_bytes < 2 * GB


@everywhere
def test_memory_counts_over_all_processes(run: Run, layers: Layers) -> None:
    many = """
        for _ in range(6):
            if os.fork() == 0:
                held = np.ones(2**24)
                time.sleep(60)
        time.sleep(60)
    """
    limits = replace(LIMITS, memory_bytes=GB // 2, wall_s=20.0)
    result = run(train=many, layers=layers, limits=limits)

    assert result.failure is Failure.OOM_KILLED
    assert result.peak_memory_bytes < GB


@needs_namespaces
def test_a_fork_bomb_is_contained(run: Run) -> None:
    bomb = """
        while True:
            try:
                os.fork()
            except OSError:
                pass
    """

    assert run(train=bomb).failure is Failure.TIMEOUT


@everywhere
def test_too_many_processes_are_not_to_be_had(run: Run, layers: Layers) -> None:
    many = """
        for _ in range(40):
            if os.fork() == 0:
                time.sleep(60)
        time.sleep(60)
    """
    result = run(train=many, layers=layers, limits=replace(LIMITS, processes=20))

    assert result.failure is (Failure.CRASH if layers.cgroup is None else Failure.CODE_ERROR)
    assert "processes" in result.detail or "Resource temporarily unavailable" in result.detail


@everywhere
def test_a_child_that_daemonises_ends_with_its_agent(run: Run, layers: Layers) -> None:
    daemon = """
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(600)
            os._exit(0)
        os.wait()
    """

    assert run(train=daemon, layers=layers).failure is None


# --- Output


@everywhere
def test_a_gigabyte_on_standard_output_is_bad_output(run: Run, layers: Layers) -> None:
    result = run(train="for _ in range(1024): os.write(1, b'x' * 2**20)", layers=layers)

    assert result.failure is Failure.BAD_OUTPUT
    assert "standard output should be 16777216 bytes at the most" in result.detail
    assert len(result.log) <= 64 * 1024


@pytest.mark.slow
def test_a_gigabyte_of_predictions_is_bad_output(run: Run) -> None:
    result = run(predict="return np.zeros(2**27)", limits=replace(LIMITS, wall_s=30.0))

    assert result.failure is Failure.BAD_OUTPUT
    assert "4194304 bytes at the most" in result.detail


@everywhere
def test_a_gigabyte_in_a_file_is_an_error_of_the_agent(run: Run, layers: Layers) -> None:
    write = """
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with open(os.environ["TMPDIR"] + "/big", "wb") as file:
            for _ in range(1024):
                file.write(bytes(2**20))
    """
    result = run(train=write, layers=layers, limits=replace(LIMITS, wall_s=30.0))

    assert result.failure is Failure.CODE_ERROR
    assert "OSError" in result.detail


@pytest.mark.slow
@pytest.mark.parametrize(
    ("predictions", "complaint"),
    [
        ("np.zeros(7, int)", "should have the shape (200,) or (200, 1), got (7,)"),
        ("np.zeros((200, 10))", "got (200, 10)"),
        ("np.full(200, np.nan)", "should be whole numbers from 0 to 9, got nan"),
        ("np.full(200, 10)", "should be whole numbers from 0 to 9, got 10"),
        ("np.full(200, -1)", "should be whole numbers from 0 to 9, got -1"),
        ("np.full(200, 0.5)", "should be whole numbers from 0 to 9, got 0.5"),
        ("['three'] * 200", "got values of type <U5"),
        ("None", "should be whole numbers of shape (200,) or (200, 1), got None"),
        ("[[0], [1, 2]]", "or (200, 1), got a list of 2 items of different lengths"),
        ("np.array([print] * 200)", "got (200,), with values of type builtin_function_or_method"),
    ],
)
def test_predictions_of_another_kind_are_bad_output(run: Run, predictions: str, complaint: str) -> None:
    result = run(predict=f"return {predictions}")

    assert result.failure is Failure.BAD_OUTPUT
    assert complaint in result.detail
    assert result.accuracy is None


def answered(body: bytes) -> bytes:
    """What an agent sends that has trained and predicted."""
    return pack(Kind.TRAINED) + pack(Kind.PREDICTIONS, body)


def pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([print] * 200), allow_pickle=True)
    return file.getvalue()


def npy(shape: str) -> bytes:
    """200 whole numbers, by a header that says that they are of this shape."""
    text = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(1600)


NO_NPY = "predictions should be an npy file"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (b"garbage", "should begin with its kind"),
        (HEADER.pack(b"P", 2**31), "bytes at the most"),
        (pack(Kind.PREDICTIONS, b"abcd"), "should have sent TRAINED, got PREDICTIONS"),
        (answered(b"abcd"), NO_NPY),
        (answered(pickled()), NO_NPY),
        *((answered(npy(shape)), NO_NPY) for shape in ("(2**60,)", "(1152921504606846976,)", "(-200,)", "'x'", "(0,)")),
        *((answered(npy(shape)), NO_NPY) for shape in ("(2, 'x')", "((200,),)", "((((")),
        (answered(npy("(200,)").replace(b"'<i8'", b"(),  ")), NO_NPY),
    ],
)
def test_what_is_forged_on_the_channel_is_bad_output(run: Run, sent: bytes, complaint: str) -> None:
    forge = f"""
        import socket, stat
        for file in range(3, 100):
            try:
                if stat.S_ISSOCK(os.fstat(file).st_mode):
                    os.write(file, {sent!r})
            except OSError:
                pass
        time.sleep(60)
    """
    result = run(train=forge)

    assert result.failure is Failure.BAD_OUTPUT
    assert complaint in result.detail


# --- Ends of its own


@everywhere
@pytest.mark.parametrize(
    ("deed", "ending"),
    [
        ("os._exit(0)", "it ended with status 0"),
        ("os._exit(3)", "it ended with status 3"),
        ("os.kill(os.getpid(), 9)", "it was ended by SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", "it was ended by SIGSEGV"),
    ],
)
def test_an_agent_that_ends_its_process_has_crashed(run: Run, layers: Layers, deed: str, ending: str) -> None:
    result = run(train=deed, layers=layers)

    assert result.failure is Failure.CRASH
    assert result.detail == f"in train: {ending}"


@pytest.mark.parametrize("method", ["init", "reset", "train", "predict"])
def test_an_exception_is_a_code_error_with_the_agents_own_traceback(run: Run, method: str) -> None:
    result = run(source=agent(**{method: "raise KeyError('its own words')"}))

    assert result.failure is Failure.CODE_ERROR
    assert "KeyError: 'its own words'" in result.detail
    assert 'File "agent.py", line' in result.detail
    assert "play.py" not in result.detail
    assert "importlib" not in result.detail


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("class Agent:\n    def train(self", "SyntaxError"),
        ("raise RuntimeError('at import')", "RuntimeError: at import"),
        ("import sys; sys.exit()", "SystemExit"),
        ("x = 1", "should define a class Agent, or one class only; it defines none"),
        ("class One: pass\nclass Two: pass", "it defines One, Two"),
        ("class Agent: pass", "has no attribute 'train'"),
        ("class Agent:\n    def train(self, X, y): self.train(X, y)", "RecursionError"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
    ],
)
def test_a_file_that_is_no_agent_is_a_code_error(run: Run, source: str, words: str) -> None:
    result = run(source=source)

    assert result.failure is Failure.CODE_ERROR
    assert words in result.detail


def test_a_traceback_cannot_steer_a_terminal(run: Run) -> None:
    result = run(train="print('\\x1b[2J'); raise ValueError('\\x1b]0;title\\x07')")

    assert "\x1b" not in result.detail + result.log
    assert "\N{REPLACEMENT CHARACTER}]0;title" in result.detail
