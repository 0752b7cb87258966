"""Loads a submission's agent, or a competition's environment, from its folder."""

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
    """The folder contains no agent. The message says what was expected."""


def load_agent(folder: Path) -> type[Any]:
    """Import `agent.py` and find the class in it.

    Helper files can be imported by name (`import helper`) and relatively (`from .helper import ...`).

    Args:
        folder: Folder with `agent.py` and its files.

    Returns:
        The class `Agent`, or the only class that the file defines.

    Raises:
        LoadError: The file or the class does not exist.
        BaseException: Any exception of the import.
    """
    module = _import_module(folder, "agent")
    named = getattr(module, "Agent", None)
    if inspect.isclass(named):
        return named
    own = _own_classes(module)
    if len(own) != 1:
        names = ", ".join(sorted(value.__name__ for value in own)) or "none"
        raise LoadError(f"agent.py should define a class Agent, or one class only; it defines {names}")
    return own[0]


def load_env(folder: Path) -> Any:
    """Import `env.py` and make the Gymnasium environment in it.

    Args:
        folder: Folder with `env.py` and its files.

    Returns:
        The result of `make_env()`, of `Env()`, or of the only class that the file defines, in this order.

    Raises:
        LoadError: The file does not exist, or it defines neither function nor class.
        BaseException: Any exception of the import or the call.
    """
    module = _import_module(folder, "env")
    make = getattr(module, "make_env", None) or getattr(module, "Env", None)
    if make is None:
        own = _own_classes(module)
        if len(own) != 1:
            names = ", ".join(sorted(value.__name__ for value in own)) or "none"
            raise LoadError(f"env.py should define make_env(), a class Env, or one class only; it defines {names}")
        make = own[0]
    return make()


def _import_module(folder: Path, name: str) -> ModuleType:
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


def _own_classes(module: ModuleType) -> list[type[Any]]:
    return [value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == module.__name__]


def make_agent(agent: type[Any], offered: Mapping[str, Any]) -> Any:
    """Create an agent with those of the offered arguments that it accepts."""
    parameters = inspect.signature(agent).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return agent(**{name: value for name, value in offered.items() if takes_any or name in parameters})
