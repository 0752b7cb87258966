"""`ml-trainer-journal list`: the episodes of a journal, one a line, the one called last first."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ml_trainer_env.server.commands.times import moment

if TYPE_CHECKING:
    from ml_trainer_env.server.store import DamagedEpisode, EpisodeSummary, Journal

__all__ = ["add_list_command", "when"]

DEFAULT_LIMIT = 50


def add_list_command(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = commands.add_parser("list", help="list the episodes, the last one first")
    parser.add_argument(
        "--limit",
        type=int,
        default=DEFAULT_LIMIT,
        metavar="N",
        help="at most so many lines; 0 for all (default: %(default)s)",
    )
    parser.add_argument("--task", metavar="ID", help="episodes of this task")
    parser.add_argument("--since", type=when, metavar="WHEN", help="called since then: 30d, 12h, 2026-11-27")
    parser.set_defaults(run=_list)


def when(text: str) -> float:
    """A point in time, for argparse."""
    try:
        return moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


async def _list(options: argparse.Namespace, journal: Journal) -> int:
    from ml_trainer_env.server.store import Filter, list_episodes  # late: `--help` need not wait for it

    print(f"{'episode':36}  {'task':15}  {'seed':>6}  {'epochs':>6}  {'calls':>5}  {'score':>6}  last call")
    limit = options.limit if options.limit > 0 else None
    lines = 0
    for row in list_episodes(journal.database, Filter(options.task, options.since), limit):
        print(_line(row))
        lines += 1
    if lines == limit:
        print(f"(the last {limit}; --limit 0 lists all)", file=sys.stderr)
    return 0


def _line(row: EpisodeSummary | DamagedEpisode) -> str:
    from ml_trainer_env.server.store import DamagedEpisode

    if isinstance(row, DamagedEpisode):
        return f"{_printable(row.name):36}  damaged: {row.reason}"
    score = "" if row.score is None else f"{row.score:.4f}"
    called_at = datetime.fromtimestamp(row.called_at).isoformat(" ", "seconds")
    fork = f"  fork of {_printable(row.forked_from)}" if row.forked_from else ""
    facts = f"{row.seed:6}  {row.epochs:6}  {row.calls:5}  {score:>6}  {called_at}"
    return f"{_printable(row.name):36}  {_printable(row.task):15}  {facts}{fork}"


def _printable(text: str) -> str:
    """Text as a terminal can show it, should it be damaged."""
    return text.encode("utf-8", "backslashreplace").decode()
