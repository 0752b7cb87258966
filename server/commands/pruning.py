"""`ml-trainer-journal prune`: deletes closed episodes by age and by size."""

from __future__ import annotations

import argparse
import math
import os
import sys
from typing import TYPE_CHECKING, Any

from ml_trainer_env.server.commands.listing import time_argument

if TYPE_CHECKING:
    from ml_trainer_env.server.store import Journal

__all__ = ["add_prune_command"]

_MB = 1_000_000


def add_prune_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser = commands.add_parser(
        "prune",
        help="delete old episodes and free their space",
        description="Delete closed episodes, the oldest first. An episode is open while a session of a running server "
        "plays it. An episode that is not done stays open for a day after its last call.",
    )
    parser.add_argument(
        "--older-than", type=time_argument, metavar="WHEN", help="last called before then: 30d, 2026-11-27"
    )
    parser.add_argument("--max-mb", type=_megabytes, metavar="MB", help="delete until the journal is no larger")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be deleted")
    parser.set_defaults(run=_prune)


def _megabytes(text: str) -> float:
    """Parse a size, for argparse."""
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise argparse.ArgumentTypeError(f"a size is a number of at least 0, not {text!r}")
    return size


async def _prune(options: argparse.Namespace, journal: Journal) -> int:
    # Late imports, so that `--help` is fast.
    from ml_trainer_env.server.store.folder import states_place
    from ml_trainer_env.server.store.pruning import prune

    if options.older_than is None and options.max_mb is None:
        print("prune needs --older-than, --max-mb, or both", file=sys.stderr)
        return 2
    limit = None if options.max_mb is None else int(options.max_mb * _MB)
    states = states_place(os.environ)
    result = prune(journal.database, states, before=options.older_than, max_bytes=limit, dry_run=options.dry_run)
    if options.dry_run:
        for name in result.episodes:
            print(name)
    verb = "would delete" if options.dry_run else "deleted"
    print(
        f"{verb} {len(result.episodes)} episodes and {result.states} models; journal size before: "
        f"{result.bytes_before / _MB:.1f} MB, after: {result.bytes_after / _MB:.1f} MB"
    )
    if limit is not None and result.bytes_after > limit:
        print("the rest are open episodes and the figures of epochs: see --older-than", file=sys.stderr)
    return 0
