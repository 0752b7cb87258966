"""Delays the slow imports of OpenEnv's packages until they are needed.

The `__init__` modules of `openenv.core` and `openenv.core.env_server` import the server, FastMCP and the web page with
gradio and pandas. This takes 6 s of CPU. Clients, commands and this server do not need it. That of
`openenv.core.rubrics` imports a judge and with it the package `openai`, which takes another 0.6 s of every server and
of every command that plays episodes. After `install`, importing these packages does not run their `__init__`. Their
submodules (`openenv.core.mcp_client`) are imported as usual. The `__init__` of a package runs on the first access to a
name that the package does not have yet, as in `from openenv.core import MCPToolClient`; but `Rubric`, which OpenEnv's
own interfaces import, is taken from its submodule. The classes are OpenEnv's own.
"""

import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

__all__ = ["install"]

DELAYED = frozenset({"openenv.core", "openenv.core.env_server", "openenv.core.rubrics"})

_HOMES = {("openenv.core.rubrics", "Rubric"): "openenv.core.rubrics.base"}
"""Names that are taken from a submodule, without running the `__init__` of their package."""

_initializing = threading.RLock()


def install() -> None:
    """Delay the packages in `DELAYED` that are not imported yet. A second call does nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds the packages as Python does, and gives them a delayed loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in DELAYED:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _DelayedLoader(spec.loader)
        return spec


class _DelayedLoader(Loader):
    """Creates a package without running its `__init__`."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _DelayedPackage(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing. The first access to a missing name runs the `__init__`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)  # for tools that use a loader: get_source, get_resource_reader and others


class _DelayedPackage(ModuleType):
    """Runs its `__init__` on the first access to a missing name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")  # the import system reads these
        if (home := _HOMES.get((self.__name__, name))) is not None:
            return getattr(import_module(home), name)
        with _initializing:  # another thread waits until the `__init__` has run
            if type(self) is _DelayedPackage:
                self._initialize(name)
        return getattr(self, name)

    def _initialize(self, name: str) -> None:
        loader = self.__loader__
        if not isinstance(loader, _DelayedLoader):  # its `__init__` is running and accesses a submodule
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} yet")
        self.__loader__ = loader.loader
        try:
            loader.loader.exec_module(self)
        except BaseException:
            self.__loader__ = loader
            raise
        self.__class__ = ModuleType  # type: ignore[assignment]  # from now on it is a normal module
