"""`ml-trainer-journal export-episode` and `import-episode`: move a live episode to another server."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

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
    imported.add_argument(
        "--verify", action="store_true", help="train its epochs again first, and refuse a file with other results"
    )
    imported.set_defaults(run=_import, creates=True)


async def _export(options: argparse.Namespace, _: Journal) -> int:
    with _private_file(options.output) as file:  # before the episode is taken away
        async with _transfer(options.games) as transfer:
            content = await transfer.export(options.episode, not options.without_states)
        file.write(content)
    print(f"episode {options.episode} is in {options.output}: {len(content):,} bytes")
    return 0


async def _import(options: argparse.Namespace, _: Journal) -> int:
    from ml_trainer_env.server.store.episode_file import MAX_FILE_BYTES  # late, so that `--help` is fast

    with options.file.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    async with _transfer(options.games) as transfer:
        episode = await transfer.import_(content, options.verify)
    print(f"episode {episode.header.name} can be resumed here: {len(episode.calls)} calls")
    return 0


@contextlib.contextmanager
def _private_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that only its owner may read. It has its name once it is complete.

    It tells what the agent of the episode must find out.
    """
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


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
    executor = InProcessExecutor(settings.torch_threads, probe=PROBE, options=settings.options(batch))
    services = Services(settings, executor, games)
    try:
        yield services.transfer
    finally:
        await services.close()
