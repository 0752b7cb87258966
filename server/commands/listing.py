"""`ml-trainer-journal list`: lists the episodes of a journal, the latest call first."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ml_trainer_env.server.commands.times import parse_time

if TYPE_CHECKING:
    from ml_trainer_env.server.store import DamagedEpisode, EpisodeSummary, Journal

__all__ = ["add_list_command", "time_argument"]

DEFAULT_LIMIT = 50


def add_list_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser = commands.add_parser("list", help="list episodes, the latest call first")
    parser.add_argument(
        "--limit",
        type=int,
        default=DEFAULT_LIMIT,
        metavar="N",
        help="largest number of lines; 0 for all (default: %(default)s)",
    )
    parser.add_argument("--task", metavar="ID", help="episodes of this task")
    parser.add_argument("--since", type=time_argument, metavar="WHEN", help="called since then: 30d, 12h, 2026-11-27")
    parser.set_defaults(run=_list)


def time_argument(text: str) -> float:
    """Parse a point in time, for argparse."""
    try:
        return parse_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


async def _list(options: argparse.Namespace, journal: Journal) -> int:
    from ml_trainer_env.server.store import Filter, list_episodes  # late, so that `--help` is fast

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
    moved = "  exported" if row.exported else ""
    return f"{_printable(row.name):36}  {_printable(row.task):15}  {facts}{fork}{moved}"


def _printable(text: str) -> str:
    """Escape damaged text, so that a terminal can show it."""
    return text.encode("utf-8", "backslashreplace").decode()
