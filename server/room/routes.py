"""All routes of the training room: its pages, their files, and the observer's surface."""

from collections.abc import Iterable

from fastapi import APIRouter

from ml_trainer_env.server.episodes.game import Game
from ml_trainer_env.server.episodes.registry import EpisodeRegistry
from ml_trainer_env.server.fleet.game import FleetGame
from ml_trainer_env.server.room.api import api_routes
from ml_trainer_env.server.room.archive import Archive
from ml_trainer_env.server.room.board import Board
from ml_trainer_env.server.room.fleet_view import FLEET
from ml_trainer_env.server.room.pages import page_routes
from ml_trainer_env.server.room.streams import Streams
from ml_trainer_env.server.room.tuning_view import TUNING
from ml_trainer_env.server.room.views import View, Views
from ml_trainer_env.server.store import Database
from ml_trainer_env.server.tuning.game import TuningGame

__all__ = ["room_routes"]


def room_routes(database: Database, registries: Iterable[EpisodeRegistry]) -> APIRouter:
    """Return the routes of a server's training room. They are for the application at the root.

    Args:
        database: Database of the journal.
        registries: The registries of all games.
    """
    registries = tuple(registries)
    views = Views(tuple(_view(registry.game) for registry in registries))
    archive = Archive(database, registries, views)
    board = Board(archive)
    router = APIRouter()
    router.include_router(api_routes(archive, board, Streams(archive, board)))
    router.include_router(page_routes(archive))
    return router


def _view(game: Game) -> View:
    """Return the view of a game. Of an unknown game calls are shown, and no figures."""
    if isinstance(game, TuningGame):
        return TUNING
    return FLEET if isinstance(game, FleetGame) else View(game.about.name, game.unit)
