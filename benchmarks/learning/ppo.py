"""A learning curve: a small policy learns in a Gymnasium environment, and is judged on tasks that it never saw.

    python benchmarks/learning/ppo.py --out outputs/learning --updates 60

It learns by PPO, whole episodes at a time. Each task of an update is played by a group of episodes, and what the others
of its group got is taken off an episode's last reward, since tasks differ more than policies. On the way and at the end
the most likely actions are played on the tasks held out, with another seed. At the end players that decide nothing, at
random, and by rules play them, too, each paired by task.

Until the table of `train` ships, `--split validation` cuts one split in two: tasks of even index are for training,
those of odd index are held out. With `--split train` all its tasks are for training, and those of `validation` are held
out.

In the folder are left: `updates.jsonl` (a row an update), `evaluations.jsonl` (a row an episode held out),
`result.json`, `checkpoint.pt` and `curve.png`. The command goes on from the checkpoint that it finds, and comes to the
same bits as a run that was not cut, with any number of processes. It refuses a checkpoint of other settings or
versions.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from curve import draw, summary
from episodes import AGENTS, NOTHING, RANDOM, Episode, Order, joined, played, shape_of
from evaluations import Evaluations, rows_of, spread
from policy import Hyperparameters, Learner

from ml_trainer_env.integrations.gymnasium import FLEET_ID, TUNING_ID
from ml_trainer_env.server.fleet.tasks import count_tasks
from ml_trainer_env.server.tuning.families.tasks import count_family_tasks, family_task

LEARNED = "learned"
FLEET_LEARNER = Hyperparameters(keep=0.95, entropy=0.002)
"""An act costs time, and an episode has 30 decisions: so the untrained policy acts seldom."""
HELD_OUT_SEED = 100
"""Episodes held out are played with the task's seed plus this, those for training with 0 and 1."""

Arguments = tuple[tuple[str, Any], ...]
Pool = ProcessPoolExecutor


@dataclass(frozen=True)
class Settings:
    """What decides the result of a run.

    Attributes:
        environment: Id of the environment.
        split: Split of the tasks for training.
        max_cost_s: Tasks whose episode was measured to cost more CPU seconds are left out, of both kinds.
        seed: Seed of the policy and of all draws.
        groups: Tasks of an update.
        group: Episodes of a task in an update.
        every: Updates between two evaluations on the way.
        sample: Tasks of an evaluation on the way. The last one has all.
        versions: Versions that bits depend on.
        learner: The hyperparameters.
    """

    environment: str = TUNING_ID
    split: str = "validation"
    max_cost_s: float = 1.0
    seed: int = 0
    groups: int = 12
    group: int = 4
    every: int = 10
    sample: int = 24
    versions: Mapping[str, str] = field(
        default_factory=lambda: {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        }
    )
    learner: Hyperparameters = field(default_factory=Hyperparameters)

    @property
    def held_out_split(self) -> str:
        """The split of the tasks held out."""
        return "validation" if self.split == "train" else self.split

    def tasks(self, split: str, parity: int | None) -> list[int]:
        """Return the indices of tasks that are cheap enough, of one parity or of both. All of the fleet are."""
        if self.environment == FLEET_ID:
            return [index for index in range(count_tasks(split)) if parity is None or index % 2 == parity]
        cheap = [
            i for i in range(count_family_tasks(split)) if (family_task(split, i).cost_s or 0.0) <= self.max_cost_s
        ]
        return [i for i in cheap if parity is None or i % 2 == parity]

    @property
    def training_tasks(self) -> list[int]:
        """The indices of the tasks for training."""
        return self.tasks(self.split, 0 if self.split == self.held_out_split else None)

    @property
    def held_out_tasks(self) -> list[int]:
        """The indices of the tasks held out."""
        return self.tasks(self.held_out_split, 1 if self.split == self.held_out_split else None)

    @property
    def learning(self) -> Arguments:
        """Arguments of the environment for learning. The fleet's score needs no references then: they are dear."""
        return (("split", self.split), *((("scale", "loss"),) if self.environment == FLEET_ID else ()))

    def judging(self, split: str, references: Path) -> Arguments:
        """Return the arguments of the environment for evaluations.

        Args:
            split: The split.
            references: The file of the fleet's references.
        """
        return (("split", split), *((("references", str(references)),) if self.environment == FLEET_ID else ()))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    usual = Settings()
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--updates", type=int, default=60, help="updates in all; default: %(default)s")
    parser.add_argument("--processes", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--environment", choices=list(AGENTS), default=usual.environment, help="default: %(default)s")
    parser.add_argument("--split", help=f"default: {usual.split}; of the fleet train")
    parser.add_argument("--max-cost-s", type=float, default=usual.max_cost_s, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=usual.seed, help="default: %(default)s")
    parser.add_argument("--groups", type=int, default=usual.groups, help="tasks of an update; default: %(default)s")
    parser.add_argument("--group", type=int, default=usual.group, help="episodes of each; default: %(default)s")
    parser.add_argument(
        "--sample", type=int, default=usual.sample, help="tasks of an evaluation on the way; %(default)s"
    )
    parser.add_argument("--held-out", type=int, default=1_000, help="most tasks of the last evaluation of a split")
    parser.add_argument("--also", nargs="*", default=[], help="more splits for the last evaluation, such as test")
    given = parser.parse_args()
    is_fleet = given.environment == FLEET_ID
    settings = Settings(
        environment=given.environment,
        split=given.split or ("train" if is_fleet else usual.split),
        max_cost_s=given.max_cost_s,
        seed=given.seed,
        groups=given.groups,
        group=given.group,
        sample=given.sample,
        learner=FLEET_LEARNER if is_fleet else usual.learner,
    )
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    with Pool(given.processes, get_context("spawn")) as pool:
        run = Run(settings, given.out, pool)
        run.train(given.updates)
        run.finish(given.also, given.held_out)
    return 0


class Run:
    """A run in its folder.

    Args:
        settings: Its settings.
        folder: The folder. If it has a checkpoint, the run goes on from it.
        pool: Plays the episodes.

    Raises:
        SystemExit: The checkpoint is of a run with other settings.
    """

    def __init__(self, settings: Settings, folder: Path, pool: Pool) -> None:
        self._settings, self._folder, self._pool = settings, folder, pool
        features, parts, kept = shape_of(settings.environment, settings.learning)
        self._learner = Learner(features, parts, kept, settings.learner, settings.seed)
        self._updates = 0
        checkpoint = folder / "checkpoint.pt"
        if checkpoint.exists():
            found = torch.load(checkpoint, weights_only=True)
            if found["settings"] != (ours := _plain(settings)):
                different = [name for name in ours if ours[name] != found["settings"].get(name)]
                sys.exit(f"{checkpoint} is of a run with another {', '.join(different)}: take another --out")
            self._learner.restore(found)
            self._updates = found["updates"]
        self._log = [row for row in rows_of(folder / "updates.jsonl") if row["update"] < self._updates]
        self._evaluations = Evaluations(folder / "evaluations.jsonl", pool)

    def train(self, updates: int) -> None:
        """Learn until so many updates are done. The state is saved after each."""
        settings = self._settings
        while self._updates < updates:
            began, number = time.monotonic(), self._updates
            if number % settings.every == 0:
                self.evaluate(spread(settings.held_out_tasks, settings.sample), settings.held_out_split, [LEARNED])
            episodes = self._play(self._orders(number))
            batch = joined([self._relative(one, episodes) for one in episodes])
            told = self._learner.update(batch, settings.seed * 1_000_003 + number)
            self._updates += 1
            row = {
                "update": number,
                "reward": statistics.fmean(one.reward for one in episodes),
                "deviation": statistics.stdev(one.reward for one in episodes),
                "episodes": len(episodes),
                "steps": len(batch.rewards),
                **{name: round(value, 5) for name, value in told.items()},
                "cpu_s": round(sum(one.cpu_s for one in episodes), 2),
                "wall_s": round(time.monotonic() - began, 2),
            }
            self._log.append(row)
            self._save()
            print(json.dumps(row), flush=True)

    def finish(self, also: Sequence[str], most: int) -> None:
        """Let all players play the tasks held out, and write the result and the curve.

        Args:
            also: More splits.
            most: Number of tasks of a split, evenly spread, if it has more.
        """
        settings = self._settings
        players = [LEARNED, NOTHING, RANDOM, *AGENTS[settings.environment]]
        tables = {}
        places = {settings.held_out_split: settings.held_out_tasks} | {
            split: settings.tasks(split, None) for split in also
        }
        for split, all_indices in places.items():
            indices = spread(all_indices, most)
            rows = self.evaluate(indices, split, players)
            tables[split] = summary(rows, LEARNED, players)
            print(f"\n{split}, {len(indices)} tasks held out", *tables[split], sep="\n")
        result = {
            "settings": _plain(settings),
            "updates": self._updates,
            "episodes": sum(row["episodes"] for row in self._log),
            "steps": sum(row["steps"] for row in self._log),
            "cpu_s": round(sum(row["cpu_s"] for row in self._log)),
            "training_tasks": len(settings.training_tasks),
            "tables": tables,
        }
        (self._folder / "result.json").write_text(json.dumps(result, indent=1))
        draw(self._folder / "curve.png", self._log, self._evaluations.rows, settings.held_out_split)

    def evaluate(self, indices: Iterable[int], split: str, players: Sequence[str]) -> list[dict[str, Any]]:
        """Return a row for each task and player. What was played already is not played again."""
        settings, weights = self._settings, self._learner.weights
        arguments = settings.judging(split, self._folder / "references.jsonl")
        wanted = []
        for index in indices:
            for player in players:
                about = {"split": split, "index": index, "player": player}
                order = Order(
                    settings.environment,
                    arguments,
                    index,
                    HELD_OUT_SEED,
                    weights if player == LEARNED else player,
                    (settings.seed, index) if player == RANDOM else (),
                )
                wanted.append((about | {"update": self._updates if player == LEARNED else None}, order))
        return self._evaluations.of(wanted, together=len(players) if settings.environment == FLEET_ID else 1)

    def _orders(self, update: int) -> list[Order]:
        """Return the episodes of an update: some tasks, each for a group with one seed."""
        settings, weights = self._settings, self._learner.weights
        chance = np.random.default_rng((settings.seed, update))
        tasks = chance.choice(
            settings.training_tasks, settings.groups, replace=len(settings.training_tasks) < settings.groups
        )
        seeds = chance.integers(2, size=settings.groups)
        return [
            Order(
                settings.environment,
                settings.learning,
                int(index),
                int(seed),
                weights,
                (settings.seed, update, place, member),
            )
            for place, (index, seed) in enumerate(zip(tasks, seeds, strict=True))
            for member in range(settings.group)
        ]

    def _relative(self, episode: Episode, all_of_update: Sequence[Episode]) -> Any:
        """Return the steps of an episode. The last reward is relative to what the others of its group got."""
        place = next(number for number, one in enumerate(all_of_update) if one is episode)
        first = place - place % self._settings.group
        others = [one.reward for one in all_of_update[first : first + self._settings.group] if one is not episode]
        assert episode.steps is not None
        if others:
            episode.steps.rewards[-1] -= np.float32(statistics.fmean(others))
        return episode.steps

    def _play(self, orders: Sequence[Order]) -> list[Episode]:
        return list(self._pool.map(played, orders, chunksize=self._settings.group))

    def _save(self) -> None:
        part = self._folder / "checkpoint.part"
        torch.save({**self._learner.state, "updates": self._updates, "settings": _plain(self._settings)}, part)
        os.replace(part, self._folder / "checkpoint.pt")
        text = "".join(json.dumps(row) + "\n" for row in self._log)
        (self._folder / "updates.jsonl").write_text(text)


def _plain(settings: Settings) -> dict[str, Any]:
    return dict(json.loads(json.dumps(asdict(settings))))


if __name__ == "__main__":
    sys.exit(main())
