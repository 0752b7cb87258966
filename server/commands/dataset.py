"""`ml-trainer-journal dataset`: writes the episodes of a journal as a data set for fine-tuning and offline learning.

The folder is one that the Hugging Face Hub takes as it is: a card (`README.md`), `data/<game>/<split>.jsonl` with one
episode a line, and `SHA256SUMS`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_trainer_env.server.commands.trajectories import Json
    from ml_trainer_env.server.episodes.game import Game
    from ml_trainer_env.server.store import CallRecord, Journal, JournaledEpisode

__all__ = ["add_dataset_command", "card", "dataset_row"]

_COLUMNS = {
    "episode_id": "Its name in the journal.",
    "task_id, split, seed": "What was played. The same task, seed and calls give the same episode.",
    "agent": "The name that the client gave for who played. Nothing proves it. Null if it gave none.",
    "rubric, rules": "The formulas of rewards and grades, and the version of the rules.",
    "forked_from": "Episode and call at which it was forked. Null if it is not a fork.",
    "identities": "Keys of what the bits of its results depend on, besides its calls: one for each worker identity.",
    "versions": "The facts behind the identity with which it began, as JSON text.",
    "return": "Sum of the rewards of its own calls.",
    "score": "The grade, at most 1; from -0.25 under rubric v3, from 0 under others. Null if nothing was submitted.",
    "done": "Whether the episode came to its end.",
    "messages": "The chat, with tool calls. An assistant's content is the reason that the agent gave, or empty.",
    "tools": "The tools of the game, as JSON text.",
    "mask": "One number for each message: 1 for a call of this episode that was carried out, 0 for calls that a fork "
    "inherited, refused calls, and messages of others.",
    "rewards": "One number for each message: the reward of a call stands at its message, all others have 0.",
}

_CARD = """\
---
pretty_name: {quoted}
language: [en]
task_categories: [text-generation, reinforcement-learning]
tags: [openenv, tool-use, hyperparameter-optimization]
size_categories: [{size}]
configs:
{configs}
---

# {name}

{total} episodes in which agents trained networks with PyTorch, one a line. `{command}` wrote them from the journal of a
server. Every episode can be trained again, bit for bit, on a machine of the same identity.

The splits are those of the tasks. Train on `train` and on named tasks alone: `validation` and `test` are there to
measure agents.

## Columns

| column | what it is |
|---|---|
{columns}

## Statistics

The score is the mean over the episodes that were submitted. `±` is one standard deviation between episodes.

| game | split | agent | episodes | ended | submitted | score | return | calls | refused |
|---|---|---|---|---|---|---|---|---|---|
{statistics}

`SHA256SUMS` has the checksums of the files: `sha256sum --check SHA256SUMS`.
"""


def add_dataset_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser = commands.add_parser(
        "dataset",
        help="write episodes as a data set with a card, for fine-tuning and offline learning",
        description="Write all undamaged episodes that made a call, by game and by split of their task. Train on "
        "`train` and on named tasks alone: `validation` and `test` are there to measure agents.",
    )
    parser.add_argument("folder", type=Path, help="an empty folder, or one that does not exist yet")
    parser.add_argument("--name", default="Episodes of ML Training Optimizer", help="title of the card")
    parser.add_argument("--finished", action="store_true", help="leave out episodes that did not come to their end")
    parser.add_argument(
        "--arguments",
        choices=("json", "object"),
        default="json",
        help="arguments of tool calls: a text of JSON (default), so that columns have one type, or an object",
    )
    parser.set_defaults(run=_dataset)


def dataset_row(episode: JournaledEpisode, chat: Json, split: str) -> Json:
    """Return the row of an episode.

    Args:
        episode: The episode from the journal.
        chat: The same episode as a chat; see `trajectories.chat`.
        split: The split of its task.
    """
    mask, rewards = [0, 0], [0.0, 0.0]  # the prompt of the system and the reset
    for call in episode.calls:
        mask += [int(call.reply is not None and not call.inherited), 0]
        rewards += [_reward(call), 0.0]
    facts = {key: value for key, value in chat.items() if key not in ("messages", "tools", "versions")}
    return {
        **facts,
        "split": split,
        "agent": episode.header.agent,
        "identities": sorted({unit.identity for call in episode.calls for unit in call.units if unit.identity}),
        "versions": json.dumps(dict(episode.header.versions), sort_keys=True),
        "messages": chat["messages"],
        "tools": json.dumps(chat["tools"]),
        "mask": mask,
        "rewards": rewards,
    }


def card(name: str, command: str, rows: Mapping[tuple[str, str], Mapping[str, Statistics]]) -> str:
    """Return the card: the settings that the Hub reads, and what a reader should know.

    Args:
        name: Title of the data set.
        command: The command that wrote it.
        rows: The statistics by agent, by game and split.
    """
    total = sum(one.episodes for by_agent in rows.values() for one in by_agent.values())
    configs: list[str] = []
    for game in dict.fromkeys(game for game, _ in rows):
        configs += [f"- config_name: {game}", "  data_files:"]
        for split in (split for other, split in rows if other == game):
            configs += [f"  - split: {split}", f"    path: data/{game}/{split}.jsonl"]
    statistics_of = [
        f"| {game} | {split} | {agent} | {one.cells()} |"
        for (game, split), by_agent in rows.items()
        for agent, one in sorted(by_agent.items())
    ]
    return _CARD.format(
        name=name,
        quoted=json.dumps(name),
        size=_size_category(total),
        configs="\n".join(configs),
        total=f"{total:,}",
        command=command,
        columns="\n".join(f"| {column} | {what} |" for column, what in _COLUMNS.items()),
        statistics="\n".join(statistics_of),
    )


@dataclass(slots=True)
class Statistics:
    """What a table tells of the episodes of an agent.

    Attributes:
        episodes: Number of episodes.
        ended: Number of those that came to their end.
        calls: Number of their own calls.
        refused: Number of those that were refused.
        returns: The return of each episode.
        scores: The score of each submitted one.
    """

    episodes: int = 0
    ended: int = 0
    calls: int = 0
    refused: int = 0
    returns: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def count(self, episode: JournaledEpisode, row: Json) -> None:
        """Count an episode."""
        own = [call for call in episode.calls if not call.inherited]
        self.episodes += 1
        self.ended += row["done"]
        self.calls += len(own)
        self.refused += sum(call.reply is None for call in own)
        self.returns.append(row["return"])
        if row["score"] is not None:
            self.scores.append(row["score"])

    def cells(self) -> str:
        """Return the cells of a row of the table."""
        counts = f"{self.episodes} | {self.ended} | {len(self.scores)}"
        return f"{counts} | {_spread(self.scores)} | {_spread(self.returns)} | {self.calls} | {self.refused}"


async def _dataset(options: argparse.Namespace, journal: Journal) -> int:
    # Late imports: `--help` is fast, and `journal` imports this module.
    from ml_trainer_env.server.commands.journal import (
        load_or_report,
        reset_reply,
        settings_of_process,
        temporary_services,
        tools_of,
    )
    from ml_trainer_env.server.commands.trajectories import UNNAMED_AGENT, ArgumentsForm, chat
    from ml_trainer_env.server.store import list_names

    folder: Path = options.folder
    if folder.exists() and any(folder.iterdir()):
        print(f"{folder} is not empty", file=sys.stderr)
        return 2
    form, fails = ArgumentsForm(options.arguments), False
    counted: dict[tuple[str, str], dict[str, Statistics]] = defaultdict(lambda: defaultdict(Statistics))
    with ExitStack() as stack:
        files: dict[tuple[str, str], IO[str]] = {}
        async with temporary_services(settings_of_process(), options.games) as services:
            for name in list_names(journal.database):
                episode = await load_or_report(name, journal)
                if episode is None:
                    fails = True
                    continue
                registry = services.registry_of(episode.header.task)
                game = registry.game
                place = game.about.name, _split_of(game, episode.header.task)
                reset = await reset_reply(registry, episode)
                row = dataset_row(episode, chat(episode, reset, tools_of(game), game.about.prompt, form), place[1])
                if all(call.inherited for call in episode.calls) or (options.finished and not row["done"]):
                    continue
                if place not in files:
                    path = folder / "data" / place[0] / f"{place[1]}.jsonl"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    files[place] = stack.enter_context(path.open("w", encoding="utf-8"))
                files[place].write(json.dumps(row) + "\n")
                counted[place][episode.header.agent or UNNAMED_AGENT].count(episode, row)
    if not counted:
        print("the journal has no such episode, so nothing was written", file=sys.stderr)
        return 1
    command = f"ml-trainer-journal dataset{' --finished' if options.finished else ''}"
    (folder / "README.md").write_text(card(options.name, command, dict(sorted(counted.items()))), encoding="utf-8")
    (folder / "SHA256SUMS").write_text("".join(_checksums(folder)), encoding="utf-8")
    episodes = sum(one.episodes for by_agent in counted.values() for one in by_agent.values())
    print(f"{episodes} episodes in {shlex.quote(str(folder))}")
    return int(fails)


def _split_of(game: Game, task: str) -> str:
    """Return the split of a task: that in its id, or the game's first one, which has the named tasks."""
    *_, split, _ = ("", "", *task.split("/"))
    return split if split in game.splits else game.splits[0]


def _reward(call: CallRecord) -> float:
    """Return the reward that a call earned in this episode."""
    return 0.0 if call.reply is None or call.inherited else float(call.reply.get("reward", 0.0))


def _checksums(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"


def _spread(values: list[float]) -> str:
    """Return mean and standard deviation. "-" without values."""
    if not values:
        return "-"
    return f"{statistics.fmean(values):.3f}" + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")


def _size_category(rows: int) -> str:
    """Return the Hub's word for a number of rows."""
    bounds = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K"}
    return next((word for bound, word in bounds.items() if rows < bound), "100K<n<1M")
