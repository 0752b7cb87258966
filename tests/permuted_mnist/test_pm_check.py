"""`permuted-mnist check` tries every rule in the sandbox, and reports whatever an agent does as a finding."""

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from permuted_mnist.cli import main
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.inside.loading import make_agent
from permuted_mnist.sandbox.layers import find_layers

try:
    find_layers()
except UnsupportedError as error:
    pytest.skip(f"no sandbox: {error}", allow_module_level=True)

AGENTS = Path(__file__).parent / "agents"
RULES = (
    "is imported and made, and can be reset",
    "takes --delivery competition: uint8 images from 0 to 255, labels (N, 1)",
    "takes --delivery guide: float32 images in [0, 1], labels (N,)",
    "repeats itself with a seed",
    "forgets when it is reset",
    "leaves what it is given as it is",
)
BAD = {
    "sys_exit": (r"SystemExit: 0", "code_error"),
    "os_exit": (r"in train: it ended with status 0", "crash"),
    "raises_in_train": (r"ValueError: its own words: expected \(60000, 784\)", "code_error"),
    "returns_dict": (r"shape \((\d+),\) or \(\1, 1\), got a dict with the keys 'predictions'", "bad_output"),
    "returns_none": (r"shape \((\d+),\) or \(\1, 1\), got None", "bad_output"),
    "returns_ragged": (r"shape \((\d+),\) or \(\1, 1\), got a list of \1 items of different lengths", "bad_output"),
}
SLOW = pytest.mark.slow
MORE = ("os_exit", "raises_in_train", "returns_dict", "returns_none", "returns_ragged")
"""The bad agents that are left to the slow tests: each check takes five seconds."""

KNOWS_MEANS = """
import numpy as np

class Agent:
    def train(self, X, y):
        X, y = self.rows(X), np.asarray(y).ravel()
        self.means = np.stack([X[y == k].mean(0) if (y == k).any() else X[0] * 0 + 9 for k in range(10)])

    def predict(self, X):
        return ((self.rows(X)[:, None] - self.means) ** 2).sum(2).argmin(1)
"""
"""The nearest mean of a class: about 0.7 on a small task."""
DIVIDES = KNOWS_MEANS + "    def rows(self, X): return (X.reshape(len(X), -1) / 255 > 0.5).astype(np.float32)\n"
"""As agents of the competition do. Images that lie in [0, 1] already are all black to it."""
EXPECTS_NUMBERS = KNOWS_MEANS + "    def rows(self, X): return (X.reshape(len(X), -1) % 1 > 0.5).astype(np.float32)\n"


def agent_of(folder: Path, source: str) -> str:
    (folder / "agent.py").write_text(textwrap.dedent(source))
    return str(folder)


def verdicts(printed: str) -> dict[str, str]:
    found = re.findall(r"^(ok|note|FAIL) +(\S.*)$", printed, re.MULTILINE)
    return {rule: verdict for verdict, rule in found}


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW if name in MORE else []) for name in BAD])
def test_a_bad_agent_fails_with_its_reason(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, failure = BAD[name]

    assert main(["check", str(AGENTS / name)]) == 1
    checked = capsys.readouterr()

    assert tuple(verdicts(checked.out)) == RULES
    assert verdicts(checked.out)[RULES[1]] == "FAIL"
    assert re.search(words, checked.out)
    assert failure in checked.out
    assert "Traceback" not in checked.err


@pytest.mark.parametrize(
    "name", ["sys_exit", *(pytest.param(name, marks=SLOW) for name in ("os_exit", "returns_ragged"))]
)
def test_an_evaluation_gives_the_reason_of_the_check(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, failure = BAD[name]

    assert main(["evaluate", str(AGENTS / name), "--episodes", "1", "--out", str(tmp_path)]) == 1
    evaluated = capsys.readouterr()

    assert re.search(words, evaluated.out)
    assert failure in evaluated.out
    assert "Traceback" not in evaluated.err


@pytest.mark.parametrize(
    ("source", "first"),
    [
        pytest.param(
            "import numpy as np\nnp.linalg.inv(np.zeros((2, 2)))\n",
            "np.linalg.inv(np.zeros((2, 2)))",
            id="import",
            marks=pytest.mark.slow,
        ),
        pytest.param("import helper\n", "import helper", id="helper", marks=pytest.mark.slow),
        pytest.param(
            "class Agent:\n    def __init__(self): self.no_such\n",
            "def __init__(self): self.no_such",
            id="constructor",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "class Agent:\n    def train(self, X, y): self.fit(X)\n    def fit(self, X): X.reshape(3)\n",
            "def train(self, X, y): self.fit(X)",
            id="train",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_traceback_begins_at_the_agents_own_first_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, first: str
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "helper.py").write_text("raise ValueError('in the helper')\n")
    agent_of(folder, source)

    assert main(["check", str(folder)]) == 1
    _, _, after = capsys.readouterr().out.partition("Traceback (most recent call last):\n")
    lines = [line.strip() for line in after.splitlines()]
    assert lines[0].startswith('File "agent.py", line')
    assert lines[1] == first


@pytest.mark.parametrize(
    ("constructor", "taken"),
    [
        ("self", {}),
        ("self, output_dim", {"output_dim": 10}),
        ("self, seed", {"seed": 7}),
        ("self, **options", {"options": {"output_dim": 10, "seed": 7}}),
        (
            "self, input_dim=784, output_dim=3, learning_rate=0.01",
            {"input_dim": 784, "output_dim": 10, "learning_rate": 0.01},
        ),
    ],
)
def test_a_constructor_is_given_what_it_takes(constructor: str, taken: dict[str, Any]) -> None:
    defined: dict[str, Any] = {}
    exec(f"class Agent:\n    def __init__({constructor}): self.taken = {{**locals()}}", defined)

    made = make_agent(defined["Agent"], {"output_dim": 10, "seed": 7})

    assert made.taken == {"self": made, **taken}


@pytest.mark.slow
def test_an_agent_with_arguments_of_its_own_passes_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    constructor = "def __init__(self, input_dim=784, output_dim=10, learning_rate=0.01): pass"
    source = DIVIDES.replace("class Agent:\n", f"class Agent:\n    {constructor}\n")

    assert main(["check", agent_of(tmp_path, source)]) == 0
    assert set(verdicts(capsys.readouterr().out).values()) == {"ok"}


@pytest.mark.slow
def test_the_check_says_which_delivery_an_agent_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    divides, numbers = tmp_path / "divides", tmp_path / "numbers"
    divides.mkdir()
    numbers.mkdir()
    agent_of(divides, DIVIDES)
    agent_of(numbers, EXPECTS_NUMBERS)

    main(["check", str(divides)])
    assert "This agent takes: competition.\n" in capsys.readouterr().out
    main(["check", str(numbers)])
    printed = capsys.readouterr().out
    assert "near chance: this agent may expect images in [0, 1]; try --delivery guide" in printed
    assert "This agent takes: guide. Run it with --delivery guide" in printed
    main(["check", "linear"])
    assert "This agent takes: competition, guide.\n" in capsys.readouterr().out


@pytest.mark.slow
def test_an_agent_that_takes_flat_labels_alone_passes_with_the_guides_delivery(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = DIVIDES.replace("/ 255 ", "").replace(
        "        X, y = ", "        assert y.ndim == 1, y.shape\n        X, y = "
    )
    folder = agent_of(tmp_path, flat)

    assert main(["check", folder]) == 1
    assert "AssertionError: (1000, 1)" in capsys.readouterr().out
    assert main(["check", folder, "--delivery", "guide"]) == 0
    assert "This agent takes: guide.\n" in capsys.readouterr().out


@pytest.mark.slow
def test_what_an_evaluation_does_not_depend_on_is_noted_and_fails_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = """
        import numpy as np
        class Agent:
            tasks = 0
            def train(self, X, y):
                X *= 1
                self.tasks += 1
            def predict(self, X):
                drawn = np.random.default_rng().integers(0, 9, len(X))
                return drawn if self.tasks == 1 else np.full(len(X), 9)
    """
    assert main(["check", agent_of(tmp_path, source)]) == 0
    found = verdicts(capsys.readouterr().out)

    assert [found[rule] for rule in RULES] == ["ok", "ok", "ok", "note", "note", "note"]


def test_a_check_without_an_agent_is_a_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err == f"permuted-mnist: there should be a file agent.py in {tmp_path / 'nothing'}\n"
