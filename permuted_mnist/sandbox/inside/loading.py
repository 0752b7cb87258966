"""Finds a submission's class `Agent` in its folder, and makes one."""

import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["LoadError", "load_agent", "make_agent"]

PACKAGE = "submission"


class LoadError(Exception):
    """The folder holds no agent. The message says what was looked for."""


def load_agent(folder: Path) -> type[Any]:
    """Import `agent.py` and find the class in it.

    Helper files are found by their bare names (`import helper`) and relatively (`from .helper import ...`).

    Args:
        folder: Holds `agent.py` and whatever it needs.

    Returns:
        Its class `Agent`; if it has none of this name, the only class that it defines.

    Raises:
        LoadError: There is no such file or no such class.
        BaseException: Whatever importing it raises.
    """
    if not (folder / "agent.py").is_file():
        raise LoadError("the folder should hold a file agent.py")
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    package = ModuleType(PACKAGE)
    package.__path__ = [str(folder)]
    sys.modules[PACKAGE] = package
    importlib.invalidate_caches()
    module = importlib.import_module(f"{PACKAGE}.agent")
    named = getattr(module, "Agent", None)
    if inspect.isclass(named):
        return named
    own = [value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == module.__name__]
    if len(own) != 1:
        names = ", ".join(sorted(value.__name__ for value in own)) or "none"
        raise LoadError(f"agent.py should define a class Agent, or one class only; it defines {names}")
    return own[0]


def make_agent(agent: type[Any], output_dim: int, seed: int) -> Any:
    """Make an agent, with those of the two arguments that it takes."""
    parameters = inspect.signature(agent).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    offered = {"output_dim": output_dim, "seed": seed}
    return agent(**{name: value for name, value in offered.items() if takes_any or name in parameters})
