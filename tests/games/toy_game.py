"""A toy game, written against the contract of games alone: a counter that is trained.

`python toy_game.py PORT` serves it at the root, `python toy_game.py PORT /fleet` beside the tuning game. Its job
function runs in worker processes, which find this module on PYTHONPATH.
"""

import hashlib
import os
import sys
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np
from openenv.core.rubrics import Rubric

from ml_trainer_env.models import EpisodeObservation, EpisodeState
from ml_trainer_env.server.episodes.errors import EpisodeError, ResetError
from ml_trainer_env.server.episodes.game import About, Start
from ml_trainer_env.server.episodes.states import StateRef
from ml_trainer_env.server.episodes.tools import Effect, Tool, Toolbox, number, text
from ml_trainer_env.server.trainer.arrays import Outcome, State
from ml_trainer_env.server.trainer.limits import Limit


def digest(state):
    return hashlib.sha256(state.arrays["count"].tobytes()).hexdigest()


def add(state, step, _data, _interrupted):
    """The job function: one addition."""
    count = state.arrays["count"] if state.arrays else np.array([float(state.facts["seed"])])
    after = State({"count": count + step}, state.facts)
    return Outcome(after, {"count": float(after.arrays["count"][0])}, lambda: digest(after))


def prepare(data, _options):
    return data


@dataclass(frozen=True)
class Nothing:
    key = "nothing"
    nbytes = 0
    parts = ()


@dataclass(frozen=True)
class Addition:
    settings: int
    function, prepare, data, unit, figures, label = (
        "toy_game:add",
        "toy_game:prepare",
        Nothing(),
        "step",
        ("count",),
        "toy",
    )

    def key(self, identity, before, position):
        return hashlib.sha256(f"{identity} {before} {position} {self.settings}".encode()).hexdigest()

    def digest(self, state):
        return digest(state)

    def ends(self, _figures):
        return False


class Nought(Rubric):
    def forward(self, action, observation):
        return 0.0


class Counter:
    reward, counts_every_call, done, score, state_hash, withheld = Nought(), False, False, None, None, None

    def __init__(self, name, start, source):
        self.name, self.start, self.source, self.units, self.marks = name, start, source, [], {}
        self.ref = StateRef(f"{start.seed:064x}", 0, initial=State({}, {"seed": str(start.seed)}))

    @property
    def needed_keys(self):
        return [self.ref.key, *(ref.key for ref in self.marks.values())]

    async def call(self, tool, arguments, on_progress=None):
        return await TOOLS.find(tool).carry_out(self, arguments, on_progress)

    async def count(self, steps):
        if self.done:
            raise EpisodeError("the counter has stopped")
        async with aclosing(
            self.source.units(self.ref, Addition(2), int(Limit(1, 9, whole=True).check("steps", steps)))
        ) as units:
            async for unit in units:
                self.ref, self.state_hash = unit.ref, unit.ref.digest
                self.units.append(unit.without_state())
        self.ref = await self.source.keep(self.ref)
        return await self.look()

    async def mark(self, name):
        self.marks[name] = self.ref
        return await self.look()

    async def stop(self):
        self.done, self.score = True, float(len(self.units))
        return await self.look() | {"score": self.score}

    async def look(self):
        count = self.units[-1].figures["count"] if self.units else None
        return {"count": count, "steps": len(self.units), "reward": 0.0, "done": self.done, "message": "counting"}

    def describe(self):
        start = self.start
        return EpisodeObservation(
            episode_id=self.name, seed=start.seed, rubric=start.rubric, rules=start.rules, done=self.done, reward=0.0
        )

    def snapshot(self):
        return {}

    def interrupt(self, reason):
        pass

    def forget_interruption(self):
        pass

    def count_refused_call(self):
        pass


STEPS = Limit(1, 9, whole=True)
TOOLS = Toolbox(
    Tool(
        "count",
        "Count",
        "Count on.",
        Effect(spends="steps"),
        lambda episode, given, _: episode.count(given.get("steps")),
        {"steps": number(STEPS, "How far", required=True)},
    ),
    Tool(
        "mark",
        "Mark",
        "Mark a place.",
        Effect(marks="name"),
        lambda episode, given, _: episode.mark(given.get("name")),
        {"name": text("Its name", required=True)},
    ),
    Tool("look", "Look", "Look.", Effect(reads_only=True, idempotent=True), lambda episode, _, __: episode.look()),
    Tool("stop", "Stop", "Stop counting.", Effect(destroys=True), lambda episode, _, __: episode.stop()),
)


class ToyGame:
    about = About("toy", "1.0.0", "A counter.", "Count.", "You count.")
    unit, tools, rubrics, default_task, splits = "step", TOOLS, ("v1",), "counter", ("train",)
    reset_model, state_model, task_schema = EpisodeObservation, EpisodeState, {"type": "object"}

    def knows_task(self, task):
        return task == "counter"

    def task_count(self, split):
        return int(split == "train")

    def task_row(self, split, index):
        if (split, index) != ("train", 0):
            raise IndexError("there is one task")
        return {"id": "counter"}

    async def begin(self, task, seed, options):
        if task not in (None, "counter"):
            raise ResetError(f"unknown task {task!r}; the task is counter")
        return Counter(options.name, Start("counter", int(seed or 0), "v1", "nothing", 1), options.source)


if __name__ == "__main__":
    import uvicorn
    from toy_game import ToyGame  # by the name under which workers know it

    from ml_trainer_env.server.composition import build_app
    from ml_trainer_env.server.settings import Settings

    app = build_app(Settings.from_environment(os.environ), games={"": ToyGame()})
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
