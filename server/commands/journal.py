"""Reads the journal of a server, also while it runs: lists episodes, trains them again, exports them.

    ml-trainer-journal list
    ml-trainer-journal replay EPISODE...      # or --all; exit status 1 if anything came out different
    ml-trainer-journal export EPISODE... --format chat > episodes.jsonl

The journal is that of `ML_TRAINER_STATE_DIR`, as the server's. Each command imports what it needs when it runs, so that
`--help` and `list` do not wait for the trainer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_trainer_env.command_line import CommandParser, run_command

if TYPE_CHECKING:
    from ml_trainer_env.server.commands.trajectories import Json
    from ml_trainer_env.server.services import Services
    from ml_trainer_env.server.settings import Settings
    from ml_trainer_env.server.store import EpisodeSummary, Journal, JournaledEpisode

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command. Returns the exit status."""
    options = _parser().parse_args(arguments)
    return run_command("ml-trainer-journal", lambda: _carry_out(options))


def _carry_out(options: argparse.Namespace) -> int:
    from ml_trainer_env.server.state_folder import JOURNAL_FILE, chosen_folder, state_folder
    from ml_trainer_env.server.store import Database, Journal

    path = state_folder(chosen_folder(os.environ)) / JOURNAL_FILE
    if not path.exists():
        print(f"there is no journal at {path}; set ML_TRAINER_STATE_DIR to the server's", file=sys.stderr)
        return 2
    database = Database(path)
    try:
        return int(asyncio.run(options.run(options, Journal(database))))
    finally:
        database.close()


async def _list(_: argparse.Namespace, journal: Journal) -> int:
    print(f"{'episode':36}  {'task':15}  {'seed':>6}  {'epochs':>6}  {'calls':>5}  {'score':>6}  last call")
    for row in await journal.episodes():
        print(_line(row))
    return 0


async def _replay(options: argparse.Namespace, journal: Journal) -> int:
    settings = _settings()
    differs = False
    for name in await _chosen(options, journal):
        differs |= not await _is_replayed(await journal.load(name), settings)
    return int(differs)


async def _export(options: argparse.Namespace, journal: Journal) -> int:
    from ml_trainer_env.server.commands.trajectories import chat, trajectory

    settings = _settings()
    tools = _tools()
    with options.output.open("w", encoding="utf-8") if options.output else contextlib.nullcontext(sys.stdout) as file:
        async with _scratch(settings) as services:
            for name in await _chosen(options, journal):
                episode = await journal.load(name)
                begun = await _begun(services, episode)
                row = chat(episode, begun, tools) if options.format == "chat" else trajectory(episode, begun)
                file.write(json.dumps(row) + "\n")
    return 0


async def _is_replayed(journaled: JournaledEpisode, settings: Settings) -> bool:
    """Train an episode again and say what came of it."""
    from ml_trainer_env.server.episodes.replay import ReplayError, VerifyingTrainer, replayed
    from ml_trainer_env.server.executors.fingerprint import versions

    name, recorded = journaled.header.name, journaled.header.versions
    threads = int(recorded.get("torch_threads", settings.torch_threads))
    for key, now in versions(threads).items():
        if recorded.get(key) != now:
            print(f"{name}: {key} was {recorded.get(key)}, is {now}")
    async with _scratch(replace(settings, torch_threads=threads)) as services:
        episode = await services.book.blank(journaled.header)
        verifier = VerifyingTrainer(episode.trainer)
        try:
            await replayed(episode, journaled.calls, verifier)
        except ReplayError as error:
            print(f"{name}: {error}")
            verdict = "DIFFERENT"
        else:
            verdict = "DIFFERENT" if verifier.differences else "the same"
    for difference in verifier.differences:
        print(f"{name}: epoch {difference.epoch}: {difference.figure} was {difference.recorded}, is {difference.now}")
    print(f"{name}: {verdict}: {len(journaled.calls)} calls, {verifier.epochs} epochs trained again")
    return verdict == "the same"


def _settings() -> Settings:
    from ml_trainer_env.server.settings import Settings

    return Settings.from_environment(os.environ)


@contextlib.asynccontextmanager
async def _scratch(settings: Settings) -> AsyncIterator[Services]:
    """Services that share nothing with the server's: no cache, and a journal that is thrown away."""
    from ml_trainer_env.server.executors.in_process import InProcessExecutor
    from ml_trainer_env.server.services import Services

    with tempfile.TemporaryDirectory() as folder:
        executor = InProcessExecutor(settings.torch_threads)
        services = Services(replace(settings, state_dir=Path(folder), cache=False), executor)
        try:
            yield services
        finally:
            await services.close()


async def _begun(services: Services, journaled: JournaledEpisode) -> Json:
    from ml_trainer_env.server.descriptions import episode_observation

    episode = await services.book.blank(journaled.header)
    left_out = {"resumed", "forked_from", "last_call", "metadata"}
    return episode_observation(episode).model_dump(exclude=left_out)


def _tools() -> list[Json]:
    """The tools of an agent, as chat APIs describe them."""
    from ml_trainer_env.server.tools import episode_tools

    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
        }
        for tool in episode_tools(_unused)
    ]


async def _unused(*_: object) -> Any:
    raise NotImplementedError("only the schemas of these tools are looked at")


async def _chosen(options: argparse.Namespace, journal: Journal) -> list[str]:
    return options.episodes or [row.name for row in reversed(await journal.episodes())]


def _line(row: EpisodeSummary) -> str:
    score = "" if row.score is None else f"{row.score:.4f}"
    when = datetime.fromtimestamp(row.called_at).isoformat(" ", "seconds")
    fork = f"  fork of {row.forked_from}" if row.forked_from else ""
    return f"{row.name:36}  {row.task:15}  {row.seed:6}  {row.epochs:6}  {row.calls:5}  {score:>6}  {when}{fork}"


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="ml-trainer-journal", description="Read the journal of a server.")
    parser.add_version()
    commands = parser.add_subparsers(required=True, metavar="command")
    commands.add_parser("list", help="list the episodes, the last one first").set_defaults(run=_list)
    replay = commands.add_parser("replay", help="train episodes again and compare every metric and hash")
    replay.set_defaults(run=_replay)
    export = commands.add_parser("export", help="write episodes as JSON, one a line")
    export.add_argument("--format", choices=("trajectory", "chat"), default="trajectory")
    export.add_argument("--output", type=Path, help="a file (default: standard output)")
    export.set_defaults(run=_export)
    for command in (replay, export):
        which = command.add_mutually_exclusive_group(required=True)
        which.add_argument("episodes", nargs="*", default=[], metavar="EPISODE", help="an episode_id")
        which.add_argument("--all", action="store_true", help="every episode")
    return parser


if __name__ == "__main__":
    sys.exit(main())
