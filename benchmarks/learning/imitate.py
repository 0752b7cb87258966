"""A learning curve of the fleet: a small policy learns from a teacher that knows what goes wrong.

    python benchmarks/learning/imitate.py --out outputs/fleet --rounds 3

An episode of the fleet costs 5 CPU seconds, and acts are seldom right: they are dear to find by trial. So a teacher
that reads what goes wrong says at each step what it would do (learning by cheating, Chen et al. 2019), and the policy
learns to do the same from what it sees, which is observations alone. Nobody acts in the first round but the teacher,
which carries out three of ten acts that it advises: what it puts off it advises again, and that is more to learn from.
In the later rounds the policy decides, as it is by then, and the teacher still advises and carries out three of ten. So
the policy learns about the situations that it comes into (DAgger, Ross et al. 2011). Each round has other tasks of
`train`, the first one any, the others those with the incidents that were seen least. After each round the policy learns
from all rounds anew.

At the end the most likely acts are played on tasks of `test` and `validation`, beside `nothing`, `random`, `scripted`
and `detective`, paired by task. Nobody is told there what goes wrong. On `validation` the policies of all rounds play,
for the curve.

In the folder are left: an episode of training a file, `rounds.jsonl`, `evaluations.jsonl` (a row an episode held out),
`references.jsonl`, `policy.pt`, `result.json` and `curve.png`. A command that was stopped goes on to the same bits,
with any number of processes.
"""

import argparse
import json
import platform
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from curve import draw, summary
from episodes import AGENTS, NOTHING, RANDOM, Episode, Order, Player, joined, played, shape_of
from evaluations import Evaluations, Row, spread
from policy import Batch, Hyperparameters, Learner, Weights, act

from ml_trainer_env.integrations.gymnasium import FLEET_ID
from ml_trainer_env.integrations.gymnasium.fleet_actions import Act
from ml_trainer_env.server.fleet.tasks import count_tasks, task_at

LEARNED = "learned"
LEARNING = (("split", "train"), ("scale", "loss"))
"""Arguments of the environment for learning. No score is used, so no references are trained."""
HELD_OUT_SEED = 100
"""Episodes held out are played with the task's seed plus this, those for training with 0."""
CURVE_SPLIT = "validation"
SPLITS = ("test", CURVE_SPLIT)


@dataclass(frozen=True)
class Settings:
    """What decides the result of a run.

    Attributes:
        seed: Seed of the policy and of all draws.
        episodes: Episodes of a round, each of a task of its own.
        taught: Probability with which an act that the teacher advises is carried out.
        passes: Passes over all steps so far when the policy learns.
        learner: The hyperparameters. Those of PPO are not used.
        versions: Versions that bits depend on.
    """

    seed: int = 0
    episodes: int = 32
    taught: float = 0.3
    passes: int = 200
    learner: Hyperparameters = field(default_factory=lambda: Hyperparameters(keep=0.95))
    versions: dict[str, str] = field(
        default_factory=lambda: {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        }
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    usual = Settings()
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--rounds", type=int, default=3, help="rounds in all; default: %(default)s")
    parser.add_argument("--episodes", type=int, default=usual.episodes, help="episodes of each; default: %(default)s")
    parser.add_argument("--seed", type=int, default=usual.seed, help="default: %(default)s")
    parser.add_argument("--held-out", type=int, default=24, help="tasks of an evaluation; default: %(default)s")
    parser.add_argument("--splits", nargs="*", default=SPLITS, help=f"default: {' '.join(SPLITS)}")
    parser.add_argument("--processes", type=int, default=2, help="default: %(default)s")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        run = Run(Settings(seed=given.seed, episodes=given.episodes), given.out, pool)
        run.train(given.rounds)
        run.finish(given.splits, given.held_out)
    return 0


class Run:
    """A run in its folder. It goes on from what it finds there.

    Args:
        settings: Its settings.
        folder: The folder.
        pool: Plays the episodes.

    Raises:
        SystemExit: The folder is of a run with other settings.
    """

    def __init__(self, settings: Settings, folder: Path, pool: ProcessPoolExecutor) -> None:
        self._settings, self._folder, self._pool = settings, folder, pool
        self._evaluations = Evaluations(folder / "evaluations.jsonl", pool)
        self._policies: list[Weights] = []
        self._log: list[Row] = []
        (folder / "episodes").mkdir(parents=True, exist_ok=True)
        kept, text = folder / "settings.json", json.dumps(asdict(settings), indent=1)
        if kept.exists() and kept.read_text() != text:
            sys.exit(f"{folder} is of a run with other settings: take another --out")
        kept.write_text(text)

    def train(self, rounds: int) -> None:
        """Play and learn."""
        settings = self._settings
        tasks = list(map(int, np.random.default_rng(settings.seed).permutation(count_tasks("train"))))
        features, parts, nothing = shape_of(FLEET_ID, LEARNING)
        known: list[Episode] = []
        seen: Counter[str] = Counter()
        for number in range(rounds):
            chosen = tasks[: settings.episodes] if number == 0 else rarest(tasks, seen, settings.episodes)
            tasks = [index for index in tasks if index not in chosen]
            seen.update(incident for index in chosen for incident in incidents_of(index))
            new = self._played(number, chosen, self._policies[-1] if self._policies else NOTHING)
            told = self._told(new)
            known += new
            learner = Learner(features, parts, nothing, settings.learner, settings.seed)
            batch, advice = joined([_steps(one) for one in known]), np.concatenate([_advice(one) for one in known])
            loss = learner.imitate(batch, advice[:, None], settings.passes, settings.seed)
            self._policies.append(learner.weights)
            row = {"update": number, **told, "learnt_from": len(advice), "loss": round(loss, 4)}
            self._log.append(row)
            print(json.dumps(row), flush=True)
            torch.save(learner.state, self._folder / "policy.pt")
        (self._folder / "rounds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in self._log))

    def finish(self, splits: Sequence[str], most: int) -> None:
        """Let all players play the tasks held out, and write the result and the curve.

        Args:
            splits: The splits.
            most: Tasks of each, evenly spread.
        """
        agents = [NOTHING, *AGENTS[FLEET_ID], RANDOM]
        tables = {}
        for split in splits:
            indices = spread(range(count_tasks(split)), most)
            wanted = [one for index in indices for one in self._wanted(split, index, agents)]
            rows = self._evaluations.of(wanted, together=len(wanted) // len(indices))
            last = [row for row in rows if row["update"] in {None, len(self._policies)}]
            tables[split] = summary(last, LEARNED, [LEARNED, *agents])
            print(f"\n{split}, {len(indices)} tasks held out", *tables[split], sep="\n")
        result = {
            "settings": asdict(self._settings),
            "episodes": sum(row["episodes"] for row in self._log),
            "steps": self._log[-1]["learnt_from"],
            "cpu_s": round(sum(row["cpu_s"] for row in self._log)),
            "evaluation_cpu_s": round(sum(row["cpu_s"] for row in self._evaluations.rows)),
            "tables": tables,
        }
        (self._folder / "result.json").write_text(json.dumps(result, indent=1))
        if CURVE_SPLIT in splits:
            draw(self._folder / "curve.png", self._log, self._evaluations.rows, CURVE_SPLIT, with_training=False)

    def _wanted(self, split: str, index: int, agents: Sequence[str]) -> list[tuple[Row, Order]]:
        """Return the episodes of a task held out: those of agents, and those of the policy."""
        arguments = (("split", split), ("references", str(self._folder / "references.jsonl")))
        players: list[tuple[int | None, str, Player]] = [(None, agent, agent) for agent in agents]
        policies = list(enumerate(self._policies, 1))
        players += [
            (rounds, LEARNED, weights) for rounds, weights in (policies if split == CURVE_SPLIT else policies[-1:])
        ]
        return [
            (
                {"split": split, "index": index, "player": name, "update": update},
                Order(
                    FLEET_ID,
                    arguments,
                    index,
                    HELD_OUT_SEED,
                    player,
                    (self._settings.seed, index) if name == RANDOM else (),
                ),
            )
            for update, name, player in players
        ]

    def _told(self, new: Sequence[Episode]) -> Row:
        """Return what is to be said of new episodes: also how far the policy agrees with the teacher about them."""
        batch, advice = joined([_steps(one) for one in new]), np.concatenate([_advice(one) for one in new])
        row: Row = {
            "episodes": len(new),
            "reward": round(float(np.mean([one.reward for one in new])), 4),
            "cpu_s": round(sum(one.cpu_s for one in new), 1),
            "advised": int((advice != Act.NOTHING).sum()),
        }
        if self._policies:
            _, parts, _ = shape_of(FLEET_ID, LEARNING)
            weights, pairs = self._policies[-1], zip(batch.observations, batch.masks, strict=True)
            own = np.array([act(weights, parts, observation, mask, None)[0] for observation, mask in pairs])
            row["agreed"] = int(((advice != Act.NOTHING) & (own == advice)).sum())
            row["needless"] = int(((advice == Act.NOTHING) & (own != advice)).sum())
        return row

    def _played(self, number: int, tasks: Sequence[int], player: Player) -> list[Episode]:
        """Return the episodes of a round, and play those that are missing."""
        settings = self._settings
        files = [self._folder / f"episodes/{number}-{place}.npz" for place in range(len(tasks))]
        missing = [place for place, file in enumerate(files) if not file.exists()]
        orders = [
            Order(
                FLEET_ID, LEARNING, int(tasks[place]), 0, player, (self._settings.seed, number, place), settings.taught
            )
            for place in missing
        ]
        for place, episode in zip(missing, self._pool.map(played, orders), strict=True):
            _write(files[place], episode)
        return [_read(file) for file in files]


def incidents_of(index: int) -> tuple[str, ...]:
    """Return what goes wrong in a task of `train`."""
    task = task_at("train", index)
    return task.setup(task.seed).incidents


def rarest(tasks: Sequence[int], seen: Mapping[str, int], count: int) -> list[int]:
    """Return tasks whose incidents were seen least, one after another.

    Args:
        tasks: Indices in `train`.
        seen: How often each incident was seen.
        count: Number of tasks to return.
    """
    known, left = Counter(seen), list(tasks)
    for _ in range(count):
        best = max(left, key=lambda index: sum(1 / (1 + known[incident]) for incident in incidents_of(index)))
        left.remove(best)
        known.update(incidents_of(best))
    return [index for index in tasks if index not in left]


def _steps(episode: Episode) -> Batch:
    assert episode.steps is not None
    return episode.steps


def _advice(episode: Episode) -> Any:
    assert episode.advice is not None
    return episode.advice


def _write(file: Path, episode: Episode) -> None:
    steps = {one.name: getattr(episode.steps, one.name) for one in fields(Batch)}
    about = {one.name: getattr(episode, one.name) for one in fields(Episode) if one.name != "steps"}
    part = file.with_suffix(".part.npz")
    np.savez(part, **steps, **about)
    part.replace(file)


def _read(file: Path) -> Episode:
    with np.load(file) as kept:
        steps = Batch(**{one.name: kept[one.name] for one in fields(Batch)})
        return Episode(
            int(kept["index"]), steps, float(kept["reward"]), float(kept["score"]), float(kept["cpu_s"]), kept["advice"]
        )


if __name__ == "__main__":
    sys.exit(main())
