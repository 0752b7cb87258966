"""Makes the rows of a run again from the journal of its server.

The journal has every call with its reply, and the name of an episode tells its place in the plan. What a reset told is
made again from the task. `seconds` and `tokens` are not in the journal.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ml_trainer_env.bench.games import BenchGame, find_game
from ml_trainer_env.bench.plan import Cell, EpisodeName, Plan, PlanError
from ml_trainer_env.bench.rows import Play, PlayedCall, PlayedEpisode, Row, row_of
from ml_trainer_env.server.commands.journal import reset_reply, temporary_services
from ml_trainer_env.server.services import JOURNAL_FILE, Services
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.store import Database, Journal, JournaledEpisode, list_names

__all__ = ["rows_from_journal"]

_Attempts = Mapping[int, Sequence[EpisodeName]]


def rows_from_journal(plan: Plan, state: Path, environment: Mapping[str, str]) -> list[Row]:
    """Return the rows of the plays that have ended, in the order of the plan.

    Of several attempts at a play the last that ended counts. That is the one which the record has.

    Args:
        plan: The plan.
        state: Folder of the state of the server.
        environment: Environment variables with the settings of the server, for where the data of its tasks are.

    Raises:
        PlanError: The folder has no journal.
        DamagedError: A row of the journal is damaged.
    """
    path = state / JOURNAL_FILE
    if not path.exists():
        raise PlanError(f"there is no journal at {path}: give the state folder of the server by --state-dir")
    return asyncio.run(_read(plan, path, Settings.from_environment(environment)))


async def _read(plan: Plan, path: Path, settings: Settings) -> list[Row]:
    game = find_game(plan.game)
    rows: list[Row] = []
    with contextlib.closing(Database(path)) as database:
        named = _names_by_cell(plan, database)
        async with temporary_services(replace(settings, ranked=None), None) as services:
            for cell in plan.cells():
                play = await _ended_play(game, cell, named.get(cell, {}), Journal(database), services)
                if play is not None:
                    rows.append(row_of(game, play))
    return rows


def _names_by_cell(plan: Plan, database: Database) -> Mapping[Cell, _Attempts]:
    found: dict[Cell, dict[int, list[EpisodeName]]] = defaultdict(lambda: defaultdict(list))
    for text in list_names(database):
        name = EpisodeName.read(text)
        if name is not None and name.run == plan.name:
            found[name.cell][name.attempt].append(name)
    return found


async def _ended_play(
    game: BenchGame, cell: Cell, attempts: _Attempts, journal: Journal, services: Services
) -> Play | None:
    """Return the last attempt that ended: a model was submitted, or the agent gave up. None if there is none."""
    for _, names in sorted(attempts.items(), reverse=True):
        forks = sorted((name for name in names if not name.is_given_up), key=lambda name: name.fork)
        episodes = [await _episode(game, await journal.load(str(name)), services) for name in forks]
        given_up = len(forks) < len(names)
        if given_up or any(episode.is_done for episode in episodes):
            return Play(cell, episodes, given_up)
    return None


async def _episode(game: BenchGame, journaled: JournaledEpisode, services: Services) -> PlayedEpisode:
    own = [call for call in journaled.calls if not call.inherited]
    inherited = [call.reply for call in journaled.calls if call.inherited and call.reply is not None]
    reset = await reset_reply(services.registry_of(journaled.header.task), journaled)
    spent = next(
        (reply[game.spent] for reply in reversed(inherited) if game.spent in reply), reset["status"][game.spent]
    )
    return PlayedEpisode(
        name=journaled.header.name,
        reset=reset,
        spent=float(spent),
        calls=tuple(PlayedCall(call.tool, call.reply) for call in own),
        ended_at=own[-1].at if own else 0.0,
    )
