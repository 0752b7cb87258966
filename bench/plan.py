"""The plan of a run: which agents play which tasks, with which seeds. It may grow, and nothing in it changes.

An episode on the server is named after its place in the plan, so the journal alone tells who played it:
`bench:<run>:<agent>:<task>:<seed>:<attempt>`, and `.1`, `.2` and so on after that for forks. An attempt is the number
of a start of the program: what was running when the program was killed is played again under another name.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from pydantic import TypeAdapter, ValidationError

from ml_trainer_env.bench.games import BenchGame, find_game
from ml_trainer_env.errors import MLTrainerError

__all__ = [
    "OWN_SEED",
    "Cell",
    "EpisodeName",
    "Plan",
    "PlanError",
    "Subset",
    "describe_tasks",
    "draw_subset",
    "read_plan",
    "select_tasks",
    "write_plan",
]

PLAN_FILE = "plan.json"
OWN_SEED = "own"
"""The seed that a task has of its own."""

GIVEN_UP = "given-up"
"""What the last part of a name ends in, where the agent stopped before its episode had ended; see `sessions`."""

_LONGEST_NAME = 128
_AGENT = re.compile(r"[A-Za-z0-9][^@\n]{0,47}")
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_PREFIX = "bench"


class PlanError(MLTrainerError, ValueError):
    """A plan is invalid, or does not fit the one of the folder. The message says what to do."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One episode of the plan.

    Attributes:
        agent: Name of the agent.
        task: Id of the task.
        seed: The seed as text, or `own` for that of the task.
    """

    agent: str
    task: str
    seed: str

    @property
    def reset_seed(self) -> int | None:
        """The seed for a reset. None for the task's own."""
        return None if self.seed == OWN_SEED else int(self.seed)


@dataclass(frozen=True, slots=True)
class EpisodeName:
    """The name of an episode on the server.

    Attributes:
        run: Name of the run.
        cell: Its place in the plan.
        attempt: Number of the start of the program.
        fork: Number of the fork. 0 for the first episode of a cell.
        is_given_up: Whether it is no episode, but the mark that the agent gave up.
    """

    run: str
    cell: Cell
    attempt: int
    fork: int = 0
    is_given_up: bool = False

    def __str__(self) -> str:
        end = GIVEN_UP if self.is_given_up else str(self.fork) if self.fork else ""
        place = (_PREFIX, self.run, self.cell.agent, self.cell.task, self.cell.seed, str(self.attempt))
        return ":".join(place) + (f".{end}" if end else "")

    @classmethod
    def read(cls, text: str) -> "EpisodeName | None":
        """Read a name. None if it is not of this form."""
        try:
            head, task, seed, place = text.rsplit(":", 3)
            prefix, run, agent = head.split(":", 2)
            attempt, _, end = place.partition(".")
            given_up = end == GIVEN_UP
            name = cls(run, Cell(agent, task, seed), int(attempt), int(end) if end and not given_up else 0, given_up)
        except ValueError:
            return None
        return name if prefix == _PREFIX and str(name) == text else None


@dataclass(frozen=True, slots=True)
class Subset:
    """How tasks were drawn from those of the selection.

    Attributes:
        size: Number of tasks that were drawn.
        of: Number of tasks that they were drawn from.
        seed: Fixes the draw.
    """

    size: int
    of: int
    seed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a run.

    Attributes:
        name: Name of the run.
        game: Name of the game.
        split: The split of the tasks; "" for tasks that were named one by one.
        tasks: Ids of the tasks, in order.
        agents: Names of the agents, in order.
        seeds: The seeds of each task: numbers as text, or `own`.
        rubric: The grading rubric; None for that of each task.
        baseline: The agent that the others are compared with.
        subset: How the tasks were drawn. None if all of the selection are played.
        attempts: How often the program was started on the plan.
        facts: Facts about the machine and the versions, by name.
    """

    name: str
    game: str
    split: str
    tasks: tuple[str, ...]
    agents: tuple[str, ...]
    seeds: tuple[str, ...]
    rubric: str | None = None
    baseline: str = ""
    subset: Subset | None = None
    attempts: int = 0
    facts: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Check the plan.

        Raises:
            PlanError: It is invalid.
        """
        find_game(self.game)
        if not _RUN.fullmatch(self.name):
            raise PlanError(
                f"the name of a run must be up to 32 letters, digits, '.', '_' and '-', got {self.name!r}: "
                "choose another folder"
            )
        for kind, given in (("task", self.tasks), ("agent", self.agents), ("seed", self.seeds)):
            if not given:
                raise PlanError(f"the plan has no {kind}")
            if len(set(given)) < len(given):
                raise PlanError(f"the plan names a {kind} twice: {', '.join(given)}")
        for agent in self.agents:
            if not _AGENT.fullmatch(agent) or not agent.isprintable():
                raise PlanError(f"an agent's name must be 1 to 48 printable characters without @, got {agent!r}")
        for seed in self.seeds:
            if seed != OWN_SEED and not (seed.isascii() and seed.isdecimal()):
                raise PlanError(f"a seed must be a whole number of at least 0, or {OWN_SEED!r}, got {seed!r}")
        if self.baseline not in self.agents:
            raise PlanError(f"the baseline {self.baseline!r} is not among the agents {', '.join(self.agents)}")
        for cell in self.cells():
            longest = EpisodeName(self.name, cell, 10_000, is_given_up=True)
            if len(str(longest)) > _LONGEST_NAME:
                raise PlanError(f"the name of the episode {longest} is too long: choose a shorter folder or agent")

    def cells(self) -> Iterator[Cell]:
        """Yield the episodes of the plan in the order of play: all agents play a task before the next one."""
        for task in self.tasks:
            for seed in self.seeds:
                for agent in self.agents:
                    yield Cell(agent, task, seed)

    def grown(self, wanted: "Plan") -> "Plan":
        """Return this plan with the tasks, agents and seeds of another one that it lacks.

        Raises:
            PlanError: The two do not compare the same thing.
        """
        for what in ("game", "split", "rubric"):
            mine, other = getattr(self, what), getattr(wanted, what)
            if mine != other:
                raise PlanError(f"the run {self.name!r} has {what} {mine}, not {other}: choose another folder")
        return replace(
            self,
            tasks=_union(self.tasks, wanted.tasks),
            agents=_union(self.agents, wanted.agents),
            seeds=_union(self.seeds, wanted.seeds),
            baseline=wanted.baseline,
            subset=self.subset if set(wanted.tasks) <= set(self.tasks) else wanted.subset,
        )


def _union(old: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*old, *new)))


_PLAN = TypeAdapter(Plan)


def read_plan(folder: Path) -> Plan | None:
    """Read the plan of a folder. None if it has none.

    Raises:
        PlanError: It is not a plan.
    """
    file = folder / PLAN_FILE
    if not file.exists():
        return None
    try:
        return _PLAN.validate_json(file.read_bytes())
    except ValidationError as error:
        raise PlanError(f"{file} is not the plan of a run: {error.error_count()} fields are wrong") from error


def write_plan(folder: Path, plan: Plan) -> None:
    """Write the plan of a folder. A kill leaves the old plan or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / f"{PLAN_FILE}.new"
    written.write_bytes(_PLAN.dump_json(plan, indent=2) + b"\n")
    written.replace(folder / PLAN_FILE)


def select_tasks(game: BenchGame, split: str, selection: str) -> tuple[str, ...]:
    """Return the ids of tasks, without repetition.

    Args:
        game: The game.
        split: The split of the indices.
        selection: Parts, separated by commas: an index `3`, a range `0:32` (without 32), or the id of a task.

    >>> select_tasks(find_game("tuning"), "validation", "0:2,5")
    ('tuning/validation/0', 'tuning/validation/1', 'tuning/validation/5')

    Raises:
        PlanError: A part is none of these, or there are no tasks.
    """
    found: list[str] = []
    for part in filter(None, map(str.strip, selection.split(","))):
        if part.isdecimal():
            found.append(game.task_id(split, int(part)))
        elif bounds := re.fullmatch(r"([0-9]+):([0-9]+)", part):
            found += [game.task_id(split, index) for index in range(int(bounds[1]), int(bounds[2]))]
        elif part[0].isalpha() and ":" not in part:
            found.append(part)
        else:
            raise PlanError(f"tasks are given as 3, 0:32 or an id such as {game.task_id(split, 3)}, not as {part!r}")
    if not found:
        raise PlanError(f"{selection!r} selects no tasks")
    return tuple(dict.fromkeys(found))


def describe_tasks(tasks: Sequence[str]) -> str:
    """Write ids of tasks in a short way.

    >>> describe_tasks(["tuning/test/0", "tuning/test/1", "tuning/test/2", "tuning/test/7", "easy_mnist"])
    'tuning/test/ 0-2, 7; easy_mnist'
    """
    groups: dict[str, list[int]] = {}
    for task in tasks:
        folder, slash, index = task.rpartition("/")
        if index.isdecimal():
            groups.setdefault(folder + slash, []).append(int(index))
        else:
            groups.setdefault(task, [])
    return "; ".join(f"{name} {_ranges(indices)}".strip() for name, indices in groups.items())


def _ranges(indices: Sequence[int]) -> str:
    ends: list[list[int]] = []
    for index in indices:
        if ends and index == ends[-1][1] + 1:
            ends[-1][1] = index
        else:
            ends.append([index, index])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ends)


def draw_subset(tasks: Sequence[str], size: int, seed: int) -> tuple[tuple[str, ...], Subset]:
    """Draw tasks, without replacement, in their order. The same seed draws the same ones.

    Raises:
        PlanError: There are fewer tasks.
    """
    if not 1 <= size <= len(tasks):
        raise PlanError(f"{size} tasks cannot be drawn from {len(tasks)}")
    chosen = sorted(Random(f"subset {seed}").sample(range(len(tasks)), size))
    return tuple(tasks[place] for place in chosen), Subset(size, len(tasks), seed)
