"""`ml-trainer-journal export-episode` and `import-episode`: move a live episode to another server."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_trainer_env.server.episodes.game import Game
    from ml_trainer_env.server.episodes.transfer import EpisodeTransfer
    from ml_trainer_env.server.store import Journal

__all__ = ["add_transfer_commands"]


def add_transfer_commands(commands: Any) -> None:
    """Add the two commands to the subparsers."""
    export = commands.add_parser(
        "export-episode",
        help="take a live episode out of the journal, into a file",
        description="Write an episode to a file, to go on with it on another server. Whoever plays it here loses it, "
        "and no session can resume it here until its file is imported. The export can be repeated.",
    )
    export.add_argument("episode", metavar="EPISODE", help="an episode_id")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the file")
    export.add_argument(
        "--without-states", action="store_true", help="leave the models out; the importer trains them again"
    )
    export.set_defaults(run=_export)
    imported = commands.add_parser(
        "import-episode",
        help="record an exported episode in this journal",
        description="Record the episode of a file in this journal, where any session can then resume it. A file that "
        "is damaged, or of another identity than the server's, is refused.",
    )
    imported.add_argument("file", type=Path, metavar="FILE", help="a file that export-episode wrote")
    imported.set_defaults(run=_import, creates=True)


async def _export(options: argparse.Namespace, _: Journal) -> int:
    async with _transfer(options.games) as transfer:
        content = await transfer.export(options.episode, not options.without_states)
    part = options.output.with_name(f"{options.output.name}.part")
    part.write_bytes(content)
    part.replace(options.output)
    print(f"episode {options.episode} is in {options.output}: {len(content):,} bytes")
    return 0


async def _import(options: argparse.Namespace, _: Journal) -> int:
    content = options.file.read_bytes()
    async with _transfer(options.games) as transfer:
        episode = await transfer.import_(content)
    print(f"episode {episode.header.name} can be resumed here: {len(episode.calls)} calls")
    return 0


@contextlib.asynccontextmanager
async def _transfer(games: Mapping[str, Game] | None) -> AsyncIterator[EpisodeTransfer]:
    """Return exports and imports of the journal, with an identity as its server's workers have it."""
    # Late imports, so that `--help` is fast.
    from ml_trainer_env.server.executors.in_process import InProcessExecutor
    from ml_trainer_env.server.services import Services
    from ml_trainer_env.server.settings import Settings
    from ml_trainer_env.server.store.folder import state_folder
    from ml_trainer_env.server.store.measured import evaluation_batch
    from ml_trainer_env.server.trainer import PROBE

    settings = Settings.from_environment(os.environ)
    batch = evaluation_batch(settings.evaluation_batch, state_folder(settings.state_dir))
    options = {"evaluation_batch": batch}
    services = Services(settings, InProcessExecutor(settings.torch_threads, probe=PROBE, options=options), games)
    try:
        yield services.transfer
    finally:
        await services.close()
