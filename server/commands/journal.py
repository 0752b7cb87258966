"""Lists, replays, exports, moves and prunes the episodes of a server's journal, also while the server runs.

    ml-trainer-journal list --task easy_mnist --since 7d
    ml-trainer-journal replay EPISODE...      # or --all; exit status 1 if any result differs
    ml-trainer-journal export EPISODE... --format chat > episodes.jsonl
    ml-trainer-journal export --all --format tensorboard --output runs    # or inspect, wandb
    ml-trainer-journal dataset FOLDER         # a data set with a card
    ml-trainer-journal export-episode EPISODE -o FILE   # takes a live episode out, to go on elsewhere
    ml-trainer-journal import-episode FILE
    ml-trainer-journal prune --older-than 30d --max-mb 500

The journal is in `ML_TRAINER_STATE_DIR` or `ML_TRAINER_DATABASE_URL`, like the server's. Each command imports its
modules when it runs, so that `--help` and `list` do not load the trainer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_trainer_env.command_line import CommandParser, run_command
from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.commands.dataset import add_dataset_command
from ml_trainer_env.server.commands.listing import add_list_command
from ml_trainer_env.server.commands.pruning import add_prune_command
from ml_trainer_env.server.commands.transfer import add_transfer_commands

if TYPE_CHECKING:
    from ml_trainer_env.server.commands.trajectories import Json
    from ml_trainer_env.server.episodes.game import Game
    from ml_trainer_env.server.episodes.registry import EpisodeRegistry
    from ml_trainer_env.server.services import Services
    from ml_trainer_env.server.settings import Settings
    from ml_trainer_env.server.store import Journal, JournaledEpisode

__all__ = [
    "OutputMissingError",
    "load_or_report",
    "main",
    "reset_reply",
    "settings_of_process",
    "temporary_services",
    "tools_of",
]

LINES = ("trajectory", "chat")
"""The formats that are lines of JSON. The others are those of viewers."""


class OutputMissingError(MLTrainerError, ValueError):
    """An export needs a folder, and none is named."""


def main(arguments: Sequence[str] | None = None, games: Mapping[str, Game] | None = None) -> int:
    """Run a command and return the exit status.

    Args:
        arguments: The command line; `sys.argv` if None.
        games: The games of the journal's episodes, as for `Services`.
    """
    options = _parser().parse_args(arguments)
    options.games = games
    return run_command("ml-trainer-journal", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from ml_trainer_env.server.store import Database, Journal
    from ml_trainer_env.server.store.folder import journal_place

    place = journal_place(os.environ)
    if isinstance(place, Path) and not place.exists() and not options.creates:
        print(f"there is no journal at {place}; set ML_TRAINER_STATE_DIR to the server's", file=sys.stderr)
        return 2
    with contextlib.closing(Database(place)) as database:
        return int(asyncio.run(options.run(options, Journal(database))))


async def _replay(options: argparse.Namespace, journal: Journal) -> int:
    from ml_trainer_env.server.executors.contract import ExecutorError

    settings, fails = settings_of_process(), False
    for name in _select_names(options, journal):
        episode = await load_or_report(name, journal)
        try:
            fails |= episode is None or not await _replay_episode(episode, settings, options.games)
        except ExecutorError as error:
            print(f"{name}: it cannot be trained again on this machine: {error}")
            fails = True
    return int(fails)


async def _export(options: argparse.Namespace, journal: Journal) -> int:
    if options.format not in LINES:
        return await _export_to_viewer(options, journal)
    from ml_trainer_env.server.commands.trajectories import ArgumentsForm, chat, trajectory

    settings, form = settings_of_process(), ArgumentsForm(options.arguments)
    fails = False
    with options.output.open("w", encoding="utf-8") if options.output else contextlib.nullcontext(sys.stdout) as file:
        async with temporary_services(settings, options.games) as services:
            for name in _select_names(options, journal):
                episode = await load_or_report(name, journal)
                if episode is None:
                    fails = True
                    continue
                registry = services.registry_of(episode.header.task)
                game, reset = registry.game, await reset_reply(registry, episode)
                if options.format == "chat":
                    row = chat(episode, reset, tools_of(game), game.about.prompt, form)
                else:
                    row = trajectory(episode, reset)
                file.write(json.dumps(row) + "\n")
    return int(fails)


async def _export_to_viewer(options: argparse.Namespace, journal: Journal) -> int:
    """Write the files of a viewer into a folder."""
    from ml_trainer_env.server.commands.viewers import VIEWERS

    if options.output is None:
        raise OutputMissingError(f"--format {options.format} writes a folder: name it with --output")
    found = [await load_or_report(name, journal) for name in _select_names(options, journal)]
    for path in VIEWERS[options.format](options.output, [episode for episode in found if episode is not None]):
        print(path)
    return int(None in found)


async def load_or_report(name: str, journal: Journal) -> JournaledEpisode | None:
    """Read an episode. If it is damaged, print the error and return None."""
    from ml_trainer_env.server.store import DamagedError

    try:
        return await journal.load(name)
    except DamagedError as error:
        print(error, file=sys.stderr)
        return None


async def _replay_episode(journaled: JournaledEpisode, settings: Settings, games: Mapping[str, Game] | None) -> bool:
    """Replay an episode, print the differences, and return whether there are none."""
    from ml_trainer_env.server.episodes.errors import ReplayError
    from ml_trainer_env.server.episodes.recorded import VerifyingSource
    from ml_trainer_env.server.episodes.replay import replay_calls
    from ml_trainer_env.server.store.measured import DEFAULT_BATCH
    from ml_trainer_env.server.trainer.kinds import Device, Kernels, Precision

    name, recorded = journaled.header.name, journaled.header.versions
    threads = int(recorded.get("torch_threads", settings.torch_threads))
    batch = int(recorded.get("evaluation_batch", DEFAULT_BATCH))  # missing in older journals
    kernels = Kernels.TORCH if recorded.get("kernels", Kernels.TORCH) == Kernels.TORCH else Kernels.AUTO
    precision = Precision(recorded.get("precision", Precision.FP32))
    device = Device(recorded.get("device", Device.CPU))
    settings = replace(
        settings, torch_threads=threads, evaluation_batch=batch, kernels=kernels, precision=precision, device=device
    )
    async with temporary_services(settings, games) as services:
        for changed in (await services.executor.identity()).differences(recorded):
            print(f"{name}: {changed}")
        registry = services.registry_of(journaled.header.task)
        episode = await registry.recreate(journaled.header)
        bar = _progress_bar(journaled)
        verifier = VerifyingSource(episode.source, on_unit=bar.update)
        try:
            with bar:
                await replay_calls(episode, registry.game.tools, journaled.calls, verifier)
        except ReplayError as error:
            print(f"{name}: {error}")
            verdict = "DIFFERENT"
        else:
            verdict = "DIFFERENT" if verifier.differences else "the same"
    for difference in verifier.differences:
        print(f"{name}: epoch {difference.epoch}: {difference.figure} was {difference.recorded}, is {difference.now}")
    print(f"{name}: {verdict}: {len(journaled.calls)} calls, {verifier.count} epochs trained again")
    return verdict == "the same"


def settings_of_process() -> Settings:
    """Return the settings of the environment's variables, as a server reads them."""
    from ml_trainer_env.server.settings import Settings

    return Settings.from_environment(os.environ)


@contextlib.asynccontextmanager
async def temporary_services(settings: Settings, games: Mapping[str, Game] | None) -> AsyncIterator[Services]:
    """Run services without a cache and with a temporary journal, separate from those of the server."""
    from ml_trainer_env.server.executors.in_process import InProcessExecutor
    from ml_trainer_env.server.services import Services
    from ml_trainer_env.server.store.measured import DEFAULT_BATCH
    from ml_trainer_env.server.trainer import PROBE

    options = settings.options(settings.evaluation_batch or DEFAULT_BATCH)
    with tempfile.TemporaryDirectory() as folder:
        executor = InProcessExecutor(settings.torch_threads, probe=PROBE, options=options)
        services = Services(replace(settings, state_dir=Path(folder), database_url=None, cache=False), executor, games)
        try:
            yield services
        finally:
            await services.close()


async def reset_reply(registry: EpisodeRegistry, journaled: JournaledEpisode) -> Json:
    """Return what the reset of an episode told, without what depends on its session."""
    episode = await registry.recreate(journaled.header)
    excluded = {"resumed", "forked_from", "last_call", "metadata"}
    return episode.describe().model_dump(exclude=excluded)


def tools_of(game: Game) -> list[Json]:
    """Return the tools in the format of chat APIs."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema},
        }
        for tool in game.tools
    ]


def _select_names(options: argparse.Namespace, journal: Journal) -> Iterable[str]:
    from ml_trainer_env.server.store import list_names

    return options.episodes or list_names(journal.database)


def _progress_bar(journaled: JournaledEpisode) -> Any:
    """Return a progress bar of replayed epochs. It is shown only on a terminal."""
    from tqdm import tqdm  # type: ignore[import-untyped]  # it has no stubs of its own

    total = sum(len(call.units) for call in journaled.calls)
    return tqdm(total=total, desc=journaled.header.name, unit="epoch", leave=False, disable=None, mininterval=0)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="ml-trainer-journal", description="Read the journal of a server.")
    parser.add_version()
    parser.set_defaults(creates=False)
    commands = parser.add_subparsers(required=True, metavar="command")
    add_list_command(commands)
    replay = commands.add_parser("replay", help="train episodes again and compare every metric and hash")
    replay.set_defaults(run=_replay)
    export = commands.add_parser("export", help="write episodes as JSON, one a line, or for a viewer")
    export.add_argument("--format", choices=(*LINES, "tensorboard", "inspect", "wandb"), default=LINES[0])
    export.add_argument(
        "--arguments",
        choices=("object", "json"),
        default="object",
        help="arguments of tool calls in a chat: an object (default), or a text of JSON",
    )
    export.add_argument("--output", type=Path, help="a file (default: standard output); for a viewer a folder")
    export.set_defaults(run=_export)
    for command in (replay, export):
        which = command.add_mutually_exclusive_group(required=True)
        which.add_argument("episodes", nargs="*", default=[], metavar="EPISODE", help="an episode_id")
        which.add_argument("--all", action="store_true", help="every episode")
    add_dataset_command(commands)
    add_transfer_commands(commands)
    add_prune_command(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
