"""Subcommands of `ml-arena` for competitions: their rules, their submissions and the audit log.

The operator of the service may do what the organisers of every competition may. What the operator does is in the audit
log without a user. Each subcommand imports the service when it runs, so that `--help` is fast.
"""

import argparse
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_trainer_env.arena.services import Services

__all__ = ["add_commands"]

Open = Callable[[], AbstractContextManager["Services"]]
"""Opens the components of the service."""


def add_commands(commands: Any) -> None:
    """Add the subcommands. Each sets `organise`, which is called with the arguments and with an `Open`."""
    command = commands.add_parser("rules", help="show the configuration of a competition, or change it")
    command.add_argument("competition", type=int)
    command.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="values are JSON: results_held=false")
    command.set_defaults(organise=_rules)

    work = commands.add_parser("submissions", help="list, run again, cancel, mark, delete or download submissions")
    actions = work.add_subparsers(required=True, metavar="ACTION")
    command = actions.add_parser("list", help="list the submissions to a competition with their scores")
    command.add_argument("competition", type=int)
    command.set_defaults(organise=_list)
    command = actions.add_parser("download", help="write all files and a table of the scores to a zip archive")
    command.add_argument("competition", type=int)
    command.add_argument("file", type=Path, metavar="FILE.zip")
    command.set_defaults(organise=_download)
    command = actions.add_parser("rerun", help="run submissions again; evaluations of participants come first")
    command.add_argument("competition", type=int)
    command.add_argument("submissions", type=int, nargs="*", metavar="SUBMISSION")
    command.add_argument("--all", action="store_true", help="all that were ever evaluated")
    command.set_defaults(organise=_rerun)
    for name, help_text in _EACH.items():
        command = actions.add_parser(name, help=help_text)
        command.add_argument("competition", type=int)
        command.add_argument("submissions", type=int, nargs="+", metavar="SUBMISSION")
        command.set_defaults(organise=_act, action=name)

    command = commands.add_parser("audit", help="list what was done, newest first")
    command.add_argument("--competition", type=int, help="in this competition only")
    command.add_argument("--user", default="", help="by this user only")
    command.add_argument("--action", default="", help="whose names begin with this, such as agent.")
    command.add_argument("--before", type=int, help="before the entry with this number")
    command.add_argument("--limit", type=int, default=100, help="how many, up to 500 (default: %(default)s)")
    command.set_defaults(organise=_audit)


_EACH = {
    "cancel": "cancel the evaluations of submissions",
    "delete": "delete submissions",
    "baseline": "mark submissions as baselines",
    "unmark": "take the marks of baselines back",
}


def _rules(chosen: argparse.Namespace, opened: Open) -> int:
    from ml_trainer_env.arena import audit
    from ml_trainer_env.arena.competitions import config
    from ml_trainer_env.arena.competitions.repository import find_competition

    changes = dict(_change(text) for text in chosen.changes)
    with opened() as services, services.database.transaction() as session:
        competition = find_competition(session, chosen.competition)
        if changes:
            config.apply_changes(session, competition, changes, services.settings.max_upload_bytes)
            described = config.describe_changes(competition.id, changes)
            audit.record(session, None, "competition.settings", described, competition.id)
        print(config.export_file(competition), end="")
    return 0


def _list(chosen: argparse.Namespace, opened: Open) -> int:
    from ml_trainer_env.arena.leaderboard.cache import Boards
    from ml_trainer_env.arena.organisers import service

    with opened() as services, services.database.transaction(read_only=True) as session:
        competition = service.organised_competition(session, chosen.competition, None)
        for row in service.submission_rows(session, Boards(), competition):
            score = "" if row["score"] is None else f"{row['score']:.4f}"
            mark = "baseline" if row["is_baseline"] else ""
            print(f"{row['id']}\t{row['name']}\t{row['user']}\t{row['status']}\t{row['rank'] or ''}\t{score}\t{mark}")
    return 0


def _download(chosen: argparse.Namespace, opened: Open) -> int:
    from ml_trainer_env.arena import audit
    from ml_trainer_env.arena.leaderboard.cache import Boards
    from ml_trainer_env.arena.organisers.download import collect, pack
    from ml_trainer_env.arena.organisers.service import organised_competition

    with opened() as services:
        with services.database.transaction() as session:
            competition = organised_competition(session, chosen.competition, None)
            found = collect(session, Boards(), competition)
            audit.record(session, None, "competition.download", str(competition.id), competition.id)
        with chosen.file.open("wb") as file:
            for part in pack(found, services.blobs):
                file.write(part)
    return 0


def _rerun(chosen: argparse.Namespace, opened: Open) -> int:
    from ml_trainer_env.arena.errors import RefusedError
    from ml_trainer_env.arena.organisers import service

    if chosen.all == bool(chosen.submissions):
        raise RefusedError("name submissions, or give --all")
    with opened() as services:
        if chosen.all:
            found = service.rerun_all(services, chosen.competition, None)
            for aid, reason in found.refused.items():
                print(f"{aid} is refused: {reason}")
            print(f"{len(found.done)} wait to be run again")
        for aid in chosen.submissions:
            service.rerun(services, chosen.competition, aid, None)
            print(f"{aid} waits to be run again")
    return 0


def _act(chosen: argparse.Namespace, opened: Open) -> int:
    from ml_trainer_env.arena.organisers import service

    with opened() as services:
        for aid in chosen.submissions:
            if chosen.action == "cancel":
                agent = service.cancel(services, chosen.competition, aid, None)
            elif chosen.action == "delete":
                agent = service.delete(services, chosen.competition, aid, None)
            else:
                is_baseline = chosen.action == "baseline"
                agent = service.mark_baseline(services, chosen.competition, aid, is_baseline, None)
            print(f"{aid} is {agent.status}{', a baseline' if agent.is_baseline else ''}")
    return 0


def _audit(chosen: argparse.Namespace, opened: Open) -> int:
    from ml_trainer_env.arena import audit

    wanted = audit.Filter(chosen.competition, chosen.user, chosen.action, chosen.before)
    with opened() as services, services.database.transaction(read_only=True) as session:
        for entry in audit.read(session, wanted, max(1, chosen.limit)):
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry["at_ts"]))
            print(f"{entry['id']}\t{at}\t{entry['user'] or '-'}\t{entry['action']}\t{entry['subject']}")
    return 0


def _change(text: str) -> tuple[str, Any]:
    """Read KEY=VALUE. A value that is not JSON is refused."""
    from ml_trainer_env.arena.errors import RefusedError

    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError as error:
        raise RefusedError(f'{text} should be KEY=VALUE with a value in JSON, such as runtime="sklearn"') from error
