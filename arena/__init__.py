"""The arena: a competition service, its workers, and its client.

    from ml_trainer_env.arena import connect
    client = connect("mlk_user_...", base_url="http://127.0.0.1:5000")

The client needs neither torch nor the service. It is imported on first use, so that `ml-arena` starts fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_trainer_env.arena.client import Client, connect

__all__ = ["Client", "connect"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("ml_trainer_env.arena.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
