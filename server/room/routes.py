"""All routes of the training room: its pages, their files, and the observer's surface."""

from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter

from ml_trainer_env.server.episodes.game import Game
from ml_trainer_env.server.episodes.registry import EpisodeRegistry
from ml_trainer_env.server.fleet.game import FleetGame
from ml_trainer_env.server.room.api import api_routes
from ml_trainer_env.server.room.archive import Archive
from ml_trainer_env.server.room.board import Board
from ml_trainer_env.server.room.fleet_view import FLEET
from ml_trainer_env.server.room.pages import PlayedGame, page_routes
from ml_trainer_env.server.room.streams import Streams
from ml_trainer_env.server.room.tuning_view import TUNING
from ml_trainer_env.server.room.views import View, Views
from ml_trainer_env.server.store import Database
from ml_trainer_env.server.tuning.game import TuningGame

__all__ = ["room_routes"]

SUGGESTED_TASKS = 20
"""The form that begins an episode suggests so many tasks of a game's first split."""


def room_routes(database: Database, registries: Mapping[str, EpisodeRegistry], results: Path) -> APIRouter:
    """Return the routes of a server's training room. They are for the application at the root.

    Args:
        database: Database of the journal.
        registries: The registries of all games, by the prefix of their paths.
        results: The folder with the runs of `ml-trainer-play` and `ml-trainer-bench`. It need not exist.
    """
    views = {prefix: _view(registry.game) for prefix, registry in registries.items()}
    archive = Archive(database, tuple(registries.values()), Views(tuple(views.values())))
    games = [_played(registries[prefix].game, view.game, prefix) for prefix, view in views.items()]
    board = Board(archive)
    router = APIRouter()
    router.include_router(api_routes(archive, board, Streams(archive, board), results))
    router.include_router(page_routes(archive, games, results))
    return router


def _played(game: Game, name: str, prefix: str) -> PlayedGame:
    split = game.splits[0]
    tasks = [str(game.task_row(split, index)["id"]) for index in range(min(game.task_count(split), SUGGESTED_TASKS))]
    splits = tuple((split, game.task_count(split)) for split in game.splits)
    return PlayedGame(name, prefix, game.default_task, tuple(tasks), splits, tuple(game.rubrics))


def _view(game: Game) -> View:
    """Return the view of a game. Of an unknown game calls are shown, and no figures."""
    if isinstance(game, TuningGame):
        return TUNING
    return FLEET if isinstance(game, FleetGame) else View(game.about.name, game.unit)
