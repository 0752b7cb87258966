"""Agents as people write them run: files by plain names, a scratch folder, and pools of processes of every kind."""

import importlib.util
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from permuted_mnist.evaluation.results import EpisodeResult
from permuted_mnist.evaluation.series import evaluate
from permuted_mnist.mnist import Mnist, load_mnist
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.layers import Layers, find_layers

try:
    FULL = find_layers()
except UnsupportedError as error:
    pytest.skip(f"no sandbox: {error}", allow_module_level=True)

BARE = Layers(bubblewrap=None, cgroup=None, user=None, system_calls=FULL.system_calls)
everywhere = pytest.mark.parametrize(
    "layers",
    [
        pytest.param(FULL, id="all-layers"),
        pytest.param(BARE, id="neither-namespaces-nor-cgroup", marks=pytest.mark.slow),
    ],
)
needs_namespaces = pytest.mark.skipif(FULL.bubblewrap is None, reason="bubblewrap does not work here")
needs_joblib = pytest.mark.skipif(importlib.util.find_spec("joblib") is None, reason="joblib is not installed")
needs_sklearn = pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="sklearn is not installed")

TOP = """
import concurrent.futures, multiprocessing as mp, os, pickle, tempfile
import numpy as np
import helper
from .relative import cube

def square(x):
    return x * x

class Own:
    def __init__(self, value):
        self.value = value
"""

AGENT = """{top}
class Agent:
    def __init__(self, output_dim=10, seed=None):
        {init}

    def train(self, X, y):
{train}

    def predict(self, X):
        return np.zeros(len(X), dtype=np.int64)
"""


def run(folder: Path, train: str, layers: Layers, init: str = "pass", top: str = "") -> EpisodeResult:
    folder.mkdir()
    lines = "".join(f"        {line}\n" for line in train.strip().splitlines())
    (folder / "agent.py").write_text(AGENT.format(top=TOP + top, init=init, train=lines))
    (folder / "helper.py").write_text("def double(x):\n    return 2 * x\n")
    (folder / "relative.py").write_text("def cube(x):\n    return x**3\n")
    (folder / "__init__.py").write_text("raise RuntimeError('a file that the competition does not run either')\n")
    (folder / "weights.pkl").write_bytes(pickle.dumps({"layer": [1, 2]}))
    full = load_mnist()
    few = Mnist(full.train_images[:50], full.train_labels[:50], full.test_images[:9], full.test_labels[:9], full.source)
    (episode,) = evaluate(folder, few, layers, episodes=1).episodes
    assert episode.failure is None, episode.detail
    return episode


@everywhere
def test_files_beside_the_agent_are_opened_by_their_plain_names(tmp_path: Path, layers: Layers) -> None:
    train = """
print(self.weights, pickle.load(open("weights.pkl", "rb")))
print(sorted(os.listdir())[:2], __file__ == os.path.abspath("agent.py"))
"""
    log = run(tmp_path / "agent", train, layers, init='self.weights = pickle.load(open("weights.pkl", "rb"))').log

    weights = {"layer": [1, 2]}
    assert log.splitlines() == [f"{weights} {weights}", "['__init__.py', 'agent.py'] True"]


@pytest.mark.slow
def test_weights_of_pytorch_are_opened_by_their_plain_name(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    folder = tmp_path / "agent"
    folder.mkdir()
    torch.save({"weight": torch.arange(3)}, folder / "model.pt")
    top = "import numpy as np, torch"
    init = 'self.weights = torch.load("model.pt")'
    (folder / "agent.py").write_text(AGENT.format(top=top, init=init, train="        print(self.weights)"))

    (episode,) = evaluate(folder, load_mnist(), FULL, episodes=1).episodes

    assert episode.log == "{'weight': tensor([0, 1, 2])}\n"


@needs_namespaces
def test_the_agents_folder_is_read_only_and_temporary_files_have_another(tmp_path: Path) -> None:
    train = """
for name in ("new.txt", "agent.py"):
    try:
        open(name, "a")
    except OSError as error:
        print(error.strerror)
with tempfile.NamedTemporaryFile() as file:
    file.write(b"x")
    print(os.path.dirname(file.name) == os.environ["TMPDIR"] == os.environ["HOME"], os.environ["TMPDIR"] != os.getcwd())
"""
    log = run(tmp_path / "agent", train, FULL).log

    *refusals, places = log.splitlines()
    assert len(refusals) == 2
    assert set(refusals) <= {"Read-only file system", "Permission denied"}
    assert places == "True True"


@everywhere
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_find_the_agents_own_functions_and_classes(tmp_path: Path, layers: Layers, method: str) -> None:
    train = f"""
context = mp.get_context("{method}")
with context.Pool(2) as pool:
    print(pool.map(square, range(4)), pool.map(cube, range(4)), pool.map(helper.double, range(4)))
with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
    print(pool.submit(square, 5).result(), type(pool.submit(Own, 7).result()) is Own)
"""
    result = run(tmp_path / "agent", train, replace(layers))

    assert result.log.splitlines() == ["[0, 1, 4, 9] [0, 1, 8, 27] [0, 2, 4, 6]", "25 True"]


def test_a_pool_may_be_started_by_the_constructor_and_used_later(tmp_path: Path) -> None:
    train = "print(self.pool.map(square, range(3))); self.pool.terminate()"
    log = run(tmp_path / "agent", train, FULL, init='self.pool = mp.get_context("spawn").Pool(1)').log

    assert log == "[0, 1, 4]\n"


@pytest.mark.slow
@needs_joblib
@everywhere
def test_joblib_finds_the_agents_own_functions(tmp_path: Path, layers: Layers) -> None:
    train = """
import joblib
print(joblib.Parallel(n_jobs=2)(joblib.delayed(square)(x) for x in range(4)))
print(joblib.Parallel(n_jobs=2)(joblib.delayed(lambda x: cube(x))(x) for x in range(4)))
"""
    log = run(tmp_path / "agent", train, layers).log

    assert log.splitlines() == ["[0, 1, 4, 9]", "[0, 1, 8, 27]"]


@needs_sklearn
@pytest.mark.slow
def test_scikit_learn_works_with_two_jobs(tmp_path: Path) -> None:
    train = """
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
images, labels = X.reshape(len(X), -1), y.reshape(-1) % 2
print(RandomForestClassifier(5, n_jobs=2).fit(images, labels).predict(images).shape)
print(len(cross_val_score(LogisticRegression(), images, labels, cv=2, n_jobs=2)))
"""
    log = run(tmp_path / "agent", train, FULL).log

    assert [line for line in log.splitlines() if "Warning" not in line and "warn" not in line][:2] == ["(50,)", "2"]


@everywhere
def test_devices_and_programs_of_the_system_work(tmp_path: Path, layers: Layers) -> None:
    train = """
import subprocess, sys
subprocess.run(["sh", "-c", "echo lost > /dev/null; head -c 3 /dev/zero | wc -c"], stdin=subprocess.DEVNULL)
print(len(open("/dev/urandom", "rb").read(4)), os.cpu_count() >= 1, open("/sys/devices/system/cpu/online").read() != "")
print(subprocess.run([sys.executable, "-c", "import numpy"], stderr=subprocess.DEVNULL).returncode)
"""
    log = run(tmp_path / "agent", train, layers).log

    assert log.splitlines() == ["3", "4 True True", "0"]


@everywhere
def test_threads_that_wait_leave_the_processors_to_others(tmp_path: Path, layers: Layers) -> None:
    log = run(tmp_path / "agent", 'print(os.environ["OMP_WAIT_POLICY"], os.environ["OMP_NUM_THREADS"])', layers).log

    assert log == "passive 2\n"
