"""The same server with the fleet alone, at the root: for a deployment of its own.

`uvicorn ml_trainer_env.server.fleet_app:app` and `python -m ml_trainer_env.server.fleet_app` use this module, as others
use `app`. All settings of the server apply, except that a ranked server has the tuning game alone.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ml_trainer_env.server import app as server_app

if TYPE_CHECKING:
    from ml_trainer_env.server.episodes.game import Game
    from ml_trainer_env.server.settings import Settings

__all__ = ["games", "main"]


def games(settings: "Settings") -> "Mapping[str, Game]":
    """Return the fleet, at the root.

    Raises:
        SettingsError: The settings ask for a ranked server.
    """
    # Late imports, as in `app`.
    from ml_trainer_env.server.fleet.game import FleetGame
    from ml_trainer_env.server.settings import SettingsError

    if settings.ranked is not None:
        raise SettingsError("ML_TRAINER_RANKED is for the tuning game: the fleet is not ranked")
    return {"": FleetGame(settings.limits)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal stops the server. Returns the exit status."""
    return server_app.main(arguments, games)


def __getattr__(name: str) -> Any:
    if name == "app":
        return server_app.served_app(games)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    sys.exit(main())
