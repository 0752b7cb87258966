"""A class that is given to the client: its file or notebook cell comes along as far as it is needed."""

import linecache
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from ml_trainer_env.arena.client.class_source import source_of
from ml_trainer_env.arena.client.errors import SubmissionError
from ml_trainer_env.arena.files.blobs import Blobs
from ml_trainer_env.arena.files.sources import Sources

CELL = """import os, numpy as np
from dataclasses import dataclass
import csv
print("a cell that also plots and submits")

LABEL: int = 3
UNUSED = open("/nonexistent") if False else None

def twice(x):
    return scale(x, 2)

def scale(x, by):
    return [y * by for y in x]

@dataclass
class Agent:
    '''It learns nothing.'''
    seed: int = 0

    def train(self, X, y):
        self.total = np.sum(twice(y))

    def predict(self, X):
        return [LABEL for _ in X]

if __name__ == "elsewhere":
    client.submit(1, agent=Agent)
"""


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run cells as a kernel does: all in one module without a file, their text in the cache of lines."""
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    names = []

    def run(cell: str) -> ModuleType:
        names.append(f"<ipython-input-{len(names)}>")
        linecache.cache[names[-1]] = len(cell), None, cell.splitlines(keepends=True), names[-1]
        exec(compile(cell, names[-1], "exec"), vars(main))
        return main

    yield run
    for name in names:
        del linecache.cache[name]


def runs(source: str) -> Any:
    """Run a file, and get its class."""
    module = ModuleType("agent")
    sys.modules["agent"] = module  # dataclasses look their module up
    try:
        exec(source, vars(module))
    finally:
        del sys.modules["agent"]
    return module.Agent()


def test_the_source_has_what_the_class_needs_of_its_cell_and_nothing_else(notebook: Any) -> None:
    source = source_of(notebook(CELL).Agent)

    assert runs(source).predict([0, 0]) == [3, 3]
    for kept in ("import os, numpy as np", "@dataclass\nclass Agent", "LABEL: int = 3", "def twice", "def scale"):
        assert kept in source
    for left in ("print", "csv", "UNUSED", "client"):
        assert left not in source


def test_what_comes_from_other_cells_is_said_with_how_to_bring_it(notebook: Any) -> None:
    notebook("import collections as c, json\nfrom math import sqrt\n\ndef helper(x): return x\n")
    cell = """class Agent:
    def train(self, X, y):
        self.found = c.Counter(y), json.dumps(1), sqrt(4), helper(LATER)
"""

    with pytest.raises(SubmissionError, match="LATER, c, helper, json, sqrt") as refused:
        source_of(notebook(cell).Agent)

    advice = str(refused.value).partition("Add to the cell of the class: ")[2].split("; ")
    assert advice == [
        "the definition of LATER",
        "import collections as c",
        "the definition of helper",
        "import json",
        "from math import sqrt",
    ]


@pytest.mark.parametrize(
    "body",
    [
        "[a for a in range(3)]; {b: c for b, c in []}; lambda d: d",
        "\n        with open('x') as f, open('y') as (g, h): f, g, h",
        "\n        try: pass\n        except KeyError as e: e",
        "\n        match X:\n            case [a, *b]: a, b\n            case {1: c, **d}: c, d\n            case E: E",
        "(y := 3) + y; print(__name__, __class__)",
        "\n        import json\n        json",
        "\n        def inner(*args, k=1, **more): return args, k, more\n        inner()",
    ],
)
def test_names_that_a_method_binds_are_not_missed(notebook: Any, tmp_path: Any, body: str) -> None:
    cell = f"class Agent:\n    def train(self, X, y):\n        {body}\n"
    content = cell.encode()
    blobs = Blobs(tmp_path / "files")

    assert source_of(notebook(cell).Agent) == cell
    found = Sources(blobs).inspect(blobs.put(content), len(content))
    assert (found.error, found.undefined) == (None, ())


def test_a_class_within_a_function_stands_alone() -> None:
    class Inner:
        def train(self) -> int:
            return 1

    assert source_of(Inner).startswith("class Inner:\n    def train")


def test_a_class_of_a_file_brings_its_imports() -> None:
    class_of_a_file = Blobs

    source = source_of(class_of_a_file)

    assert "import hashlib" in source
    assert "_CHUNK = 1 << 20" in source
    assert "__all__" not in source


@pytest.mark.parametrize("value", [int, type("Made", (), {}), 3])
def test_what_has_no_source_is_refused_with_a_remedy(value: Any) -> None:
    with pytest.raises(SubmissionError, match=r"writefile|should be a class"):
        source_of(value)


def test_the_service_tells_of_a_class_that_came_alone(tmp_path: Any) -> None:
    """As the official client sends it: `inspect.getsource` of the class."""
    blobs = Blobs(tmp_path / "files")
    alone = b"class Agent(Base):\n    def train(self, X, y): self.m = np.mean(X)\n    def predict(self, X): return X\n"

    def undefined(content: bytes) -> tuple[str, ...]:
        return Sources(blobs).inspect(blobs.put(content), len(content)).undefined

    assert undefined(alone) == ("Base", "np")
    assert undefined(b"import numpy as np\n" + alone) == ()
