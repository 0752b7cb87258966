"""The command `ml-trainer-ranked`: reports on a ranked run, and closes it.

    ml-trainer-ranked report                   # the report of a closed run, or how far an open one is
    ml-trainer-ranked close                    # closes the run for ever, and reports
    ml-trainer-ranked close --format json

It reads the settings of the server: ML_TRAINER_RANKED, ML_TRAINER_RANKED_TASKS, ML_TRAINER_RANKED_TABLE and
ML_TRAINER_STATE_DIR. The server may run. Only the operator's command tells scores, so that no call of an agent can end
its run or read a grade.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_trainer_env.command_line import DISTRIBUTION, CommandParser, run_command

if TYPE_CHECKING:
    from ml_trainer_env.server.store import Database, RankedEpisode
    from ml_trainer_env.server.tuning.families.ranked import RankedTasks

__all__ = ["main"]

_OPEN = 1
"""Exit status of `report` while the run is open."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit status."""
    options = _parser().parse_args(arguments)
    return run_command("ml-trainer-ranked", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from ml_trainer_env.server.settings import Settings, SettingsError
    from ml_trainer_env.server.store import Database
    from ml_trainer_env.server.store.folder import journal_place
    from ml_trainer_env.server.tuning.families.ranked import RankedTasks

    settings = Settings.from_environment(os.environ)
    if settings.ranked is None:
        raise SettingsError("ML_TRAINER_RANKED must be the secret of the ranked server, and is not set")
    place = journal_place(os.environ)
    if isinstance(place, Path) and not place.exists():
        raise SettingsError(f"there is no journal at {place}; set ML_TRAINER_STATE_DIR to the server's")
    tasks = RankedTasks.load(settings.ranked.secret, settings.ranked.count, settings.ranked.table)
    with contextlib.closing(Database(place)) as database:
        return asyncio.run(_report(options, tasks, database))


async def _report(options: argparse.Namespace, tasks: RankedTasks, database: Database) -> int:
    from ml_trainer_env.server.store.ranked import begun_tasks, close_run, report_of
    from ml_trainer_env.server.tuning.ranked_report import report_text

    report = await database.read(lambda connection: report_of(connection, tasks.run))
    begun = await database.read(lambda connection: begun_tasks(connection, tasks.run))
    ended = sum(episode.withheld is not None for episode in begun.values())
    if report is None and not options.closes and ended < len(tasks):
        print(
            f"the ranked run {tasks.run.key} is open: {len(begun)} of {len(tasks)} tasks begun, {ended} ended; scores "
            "are told when it is closed",
            file=sys.stderr,
        )
        return _OPEN
    if report is None:
        report = await database.write(lambda connection: close_run(connection, tasks.run, _maker(tasks)))
    print(json.dumps(report, indent=2) if options.format == "json" else report_text(report))
    return 0


def _maker(tasks: RankedTasks) -> Any:
    from datetime import UTC, datetime
    from importlib.metadata import version

    from ml_trainer_env.server.tuning.ranked_report import ranked_report

    closed_at = datetime.now(UTC).isoformat(" ", "seconds")

    def make(episodes: Mapping[str, RankedEpisode]) -> dict[str, Any]:
        return ranked_report(tasks, episodes, version(DISTRIBUTION), closed_at)

    return make


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="ml-trainer-ranked", description="Report on the ranked run of a server, or close it.")
    parser.add_version()
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, closes, text in (
        ("report", False, "the report of a closed run, or how far an open one is (exit status 1)"),
        ("close", True, "close the run for ever, and report"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--format", choices=("text", "json"), default="text", help="default: %(default)s")
        command.set_defaults(closes=closes)
    return parser


if __name__ == "__main__":
    sys.exit(main())
