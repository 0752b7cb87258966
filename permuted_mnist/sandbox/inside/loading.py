"""Finds a submission's class `Agent`, or a competition's environment, in its folder, and makes one."""

import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["LoadError", "load_agent", "load_env", "make_agent"]

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
    module = _imported(folder, "agent")
    named = getattr(module, "Agent", None)
    if inspect.isclass(named):
        return named
    own = _classes(module)
    if len(own) != 1:
        names = ", ".join(sorted(value.__name__ for value in own)) or "none"
        raise LoadError(f"agent.py should define a class Agent, or one class only; it defines {names}")
    return own[0]


def load_env(folder: Path) -> Any:
    """Import `env.py` and make the Gymnasium environment in it.

    Args:
        folder: Holds `env.py` and whatever it needs.

    Returns:
        What its function `make_env` returns; if it has none, its class `Env`, or the only one that it defines, called.

    Raises:
        LoadError: There is no such file, or neither function nor class.
        BaseException: Whatever importing or making it raises.
    """
    module = _imported(folder, "env")
    make = getattr(module, "make_env", None) or getattr(module, "Env", None)
    if make is None:
        own = _classes(module)
        if len(own) != 1:
            names = ", ".join(sorted(value.__name__ for value in own)) or "none"
            raise LoadError(f"env.py should define make_env(), a class Env, or one class only; it defines {names}")
        make = own[0]
    return make()


def _imported(folder: Path, name: str) -> ModuleType:
    if not (folder / f"{name}.py").is_file():
        raise LoadError(f"the folder should hold a file {name}.py")
    for known in [known for known in sys.modules if known == PACKAGE or known.startswith(f"{PACKAGE}.")]:
        del sys.modules[known]
    sys.path.insert(0, str(folder))
    package = ModuleType(PACKAGE)
    package.__path__ = [str(folder)]
    sys.modules[PACKAGE] = package
    importlib.invalidate_caches()
    return importlib.import_module(f"{PACKAGE}.{name}")


def _classes(module: ModuleType) -> list[type[Any]]:
    return [value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == module.__name__]


def make_agent(agent: type[Any], offered: Mapping[str, Any]) -> Any:
    """Make an agent, with those of the arguments offered that it takes."""
    parameters = inspect.signature(agent).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return agent(**{name: value for name, value in offered.items() if takes_any or name in parameters})
