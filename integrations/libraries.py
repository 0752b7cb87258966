"""Imports a library that an adapter needs and this package does not depend on."""

from importlib import import_module
from types import ModuleType

from ml_trainer_env.errors import MissingLibraryError

__all__ = ["require"]


def require(module: str, install: str) -> ModuleType:
    """Import a module of an optional library.

    Args:
        module: Name of the module, such as `inspect_ai`.
        install: What to install for it: arguments of `pip install`.

    Raises:
        MissingLibraryError: The library is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise  # the library is there and lacks something itself
        raise MissingLibraryError(f"{module} is not installed; run: pip install {install}") from error
