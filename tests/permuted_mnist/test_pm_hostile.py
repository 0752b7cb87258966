"""Agents that do what they should not: each is contained and named, and nothing of it is left."""

import ast
import io
import os
import socket
import struct
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from permuted_mnist.evaluation.episode import run_episode
from permuted_mnist.evaluation.results import EpisodeResult, Failure
from permuted_mnist.mnist import Mnist, load_mnist
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.inside.frames import HEADER, Kind, pack
from permuted_mnist.sandbox.layers import Layers, find_layers
from permuted_mnist.sandbox.limits import Limits
from permuted_mnist.tasks import PermutedTask, draw_task

GB = 2**30

MARK = int.from_bytes(os.urandom(4))
"""The seed of all agents here, which their command lines tell: others may run beside these tests."""
LIMITS = Limits(wall_s=1.5, start_s=20.0)

try:
    FULL = find_layers()
except UnsupportedError as error:
    pytest.skip(f"no sandbox: {error}", allow_module_level=True)

BARE = Layers(bubblewrap=None, cgroup=None, user=None)
"""Nothing but a process that watches over them. As root only agents that these tests know are run so."""
ALL_LAYERS = [
    pytest.param(FULL, id="all-layers"),
    pytest.param(BARE, id="neither-namespaces-nor-cgroup"),
]

needs_namespaces = pytest.mark.skipif(FULL.bubblewrap is None, reason="bubblewrap does not work here")
everywhere = pytest.mark.parametrize("layers", ALL_LAYERS)

Run = Callable[..., EpisodeResult]


@pytest.fixture(scope="module")
def task() -> PermutedTask:
    full = load_mnist()
    small = Mnist(
        full.train_images[:600], full.train_labels[:600], full.test_images[:200], full.test_labels[:200], full.source
    )
    return draw_task(small, seed=0, number=0)


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder for temporary files that every user may enter; nothing may be left in it but the agent."""
    assert tmp_path.is_dir()  # made before temporary files go elsewhere
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        os.chmod(name, 0o711)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


@pytest.fixture
def run(ground: Path, task: PermutedTask) -> Run:
    """Run an agent given by the body of its methods, or by its whole source; nothing may be left of it."""

    def run(
        train: str = "pass",
        predict: str = "return np.zeros(len(X), int)",
        source: str | None = None,
        layers: Layers | None = None,
        limits: Limits = LIMITS,
        **files: str,
    ) -> EpisodeResult:
        folder = ground / "agent"
        folder.mkdir()
        body = source if source is not None else agent(train=train, predict=predict)
        for name, text in {"agent": body, **files}.items():
            (folder / f"{name}.py").write_text(text)
        folder.chmod(0o755)
        before = cgroups()
        result = run_episode(1, folder, task, limits, layers or find_layers(), agent_seed=MARK)
        assert processes() == []
        assert cgroups() == before
        assert [path.name for path in ground.iterdir()] == ["agent"]
        return result

    return run


def agent(init: str = "pass", reset: str = "pass", train: str = "pass", predict: str = "pass", top: str = "") -> str:
    methods = {
        "__init__(self, output_dim=10, seed=None)": init,
        "reset(self)": reset,
        "train(self, X, y)": train,
        "predict(self, X)": predict,
    }
    lines = "".join(
        f"    def {head}:\n{textwrap.indent(textwrap.dedent(body).strip(), ' ' * 8)}\n"
        for head, body in methods.items()
    )
    return f"import os, sys, time\nimport numpy as np\n{top}\nclass Agent:\n{lines}"


def processes() -> list[int]:
    """What still runs of any agent, after a moment's grace for the kernel."""
    deadline = time.monotonic() + 5
    while (found := _processes()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def _processes() -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                words = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if words.endswith(f"\0{MARK}\0".encode()):
                found.append(int(folder.name))
    return found


def cgroups() -> set[Path]:
    return set(Path("/sys/fs/cgroup").rglob(f"permuted-mnist-{os.getpid()}-*"))


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


@everywhere
@pytest.mark.parametrize("method", ["init", "reset", "train", "predict"])
def test_an_exception_is_a_code_error_with_the_agents_own_traceback(run: Run, layers: Layers, method: str) -> None:
    result = run(source=agent(**{method: "raise KeyError('its own words')"}), layers=layers)

    assert result.failure is Failure.CODE_ERROR
    assert "KeyError: 'its own words'" in result.detail
    assert 'File "agent.py", line' in result.detail
    assert "play.py" not in result.detail
    assert "importlib" not in result.detail


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


# --- What is not for its eyes


@needs_namespaces
def test_an_agent_sees_no_process_but_its_own(run: Run) -> None:
    look = f"""
        print(sorted(int(name) for name in os.listdir('/proc') if name.isdigit()))
        for name in ('mem', 'environ', 'fd', 'maps'):
            try:
                print(open('/proc/{os.getpid()}/' + name, 'rb').read(10))
            except OSError as error:
                print(type(error).__name__)
        try:
            os.kill({os.getpid()}, 9)
        except OSError as error:
            print(type(error).__name__)
    """
    log = run(train=look).log.splitlines()

    assert log == ["[1, 2]", *["FileNotFoundError"] * 4, "ProcessLookupError"]


@needs_namespaces
def test_an_agent_sees_no_file_of_the_host(run: Run, tmp_path: Path) -> None:
    labels = tmp_path / "labels.npy"
    np.save(labels, np.zeros(3))
    home = Path.home()
    look = f"""
        for path in {[str(labels), str(home / ".bashrc"), "/etc/passwd", "/etc/shadow", "/var", "/sys/fs"]}:
            print(path, os.path.exists(path))
        print(sorted(os.listdir('/')))
        print(sorted(os.listdir('/tmp')))
    """
    log = run(train=look).log

    assert "True" not in log
    assert log.count("False") == 6
    seen = set(ast.literal_eval(log.splitlines()[-1]))
    assert seen == {name for name in os.listdir("/tmp") if Path(sys.prefix).is_relative_to(f"/tmp/{name}")}


@needs_namespaces
def test_a_link_out_of_its_folder_leads_nowhere(ground: Path, task: PermutedTask, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("labels")
    folder = ground / "agent"
    folder.mkdir()
    (folder / "agent.py").write_text(agent(train="open(os.path.join(os.path.dirname(__file__), 'link')).read()"))
    (folder / "link").symlink_to(secret)

    result = run_episode(1, folder, task, LIMITS, find_layers(), 1)

    assert result.failure is Failure.CODE_ERROR
    assert "FileNotFoundError" in result.detail


@needs_namespaces
def test_an_agent_reaches_no_network(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = run(train=f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=2)")
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):  # whoever had come would be waiting
            server.accept()

    assert result.failure is Failure.CODE_ERROR
    assert "Address family not supported" in result.detail


@needs_namespaces
def test_an_agent_writes_to_its_scratch_folder_alone(run: Run) -> None:
    write = """
        own = os.path.dirname(os.path.abspath(__file__))
        for folder in ('.', own, '/', '/usr', '/dev', '/proc/sys/kernel', sys.prefix):
            try:
                open(os.path.join(folder, 'mine'), 'w')
                print('written', folder)
            except OSError as error:
                print(type(error).__name__)
        open(os.environ['TMPDIR'] + '/mine', 'w').write('mine')
        open('/dev/shm/mine', 'w').write('mine')
    """
    result = run(train=write)

    assert result.failure is None
    assert "written" not in result.log


@needs_namespaces
def test_an_agent_is_nobody_and_stays_so(run: Run) -> None:
    look = """
        import ctypes
        print(os.getuid(), os.geteuid(), os.getgroups())
        status = dict(line.split(':', 1) for line in open('/proc/self/status'))
        print(status['CapEff'].strip(), status['CapPrm'].strip(), status['NoNewPrivs'].strip())
        try:
            os.setuid(0)
        except OSError as error:
            print(type(error).__name__)
    """
    lines = run(train=look).log.splitlines()

    assert lines[0].startswith("65534 65534")
    assert lines[1] == "0000000000000000 0000000000000000 1"
    assert lines[2] in {"PermissionError", "OSError"}


def test_an_agent_holds_no_file_of_the_evaluator(run: Run) -> None:
    look = "print(sorted(int(name) for name in os.listdir('/proc/self/fd'))[:-1])"
    opened = run(source=agent(top=look, predict="return np.zeros(len(X), int)")).log

    assert len(opened.splitlines()[0].split(",")) == 4  # standard ones, and the channel


def test_an_agent_does_not_see_the_tests_images_before_it_is_trained(run: Run) -> None:
    maps = "len({line.split()[4] for line in open('/proc/self/maps') if 'memfd:arrays' in line})"
    predict = f"print(self.before, {maps}, X.shape); return np.zeros(len(X), int)"
    result = run(train=f"self.before = {maps}", predict=predict)

    assert result.failure is None
    assert result.log == "1 1 (200, 28, 28)\n"
