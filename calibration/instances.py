"""Calibrates one instance: plays the portfolio on it, accepts or rejects it, and measures how difficult it is."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ml_trainer_env.baselines.agent import Agent, Call, Script
from ml_trainer_env.baselines.heuristic import HeuristicAgent
from ml_trainer_env.baselines.play import play
from ml_trainer_env.baselines.session import Brief, ToolSpec
from ml_trainer_env.calibration.portfolio import (
    DEFAULT,
    EXPERTS,
    NEIGHBOURS,
    RANDOM_RUNS,
    RECIPES,
    UNTOUCHED,
    FixedRecipe,
    neighbour,
    random_recipe,
)
from ml_trainer_env.in_process.training import Trainer
from ml_trainer_env.in_process.tuning import LocalSession
from ml_trainer_env.server.datasets import TaskExamples, draw_examples
from ml_trainer_env.server.tuning.families.instance import Instance
from ml_trainer_env.server.tuning.families.tasks import task_of
from ml_trainer_env.server.tuning.reference import HiddenFigures, Metric, Reference
from ml_trainer_env.server.tuning.tasks import Task

__all__ = [
    "Measured",
    "RecordedCalls",
    "Trial",
    "calibrate",
    "calibrate_task",
    "guess",
    "judge",
    "measure_difficulty",
    "play_trial",
]

DEVIATIONS = 4.0
"""An instance is accepted if oracle and default differ by at least this many standard deviations of a repeat."""

LEAST_HEADROOM = 0.03
"""And by at least this much, in accuracy or nats."""

SOLVED = 0.95
"""An instance is rejected if a fixed recipe reaches this share of the way from default to oracle."""

LEAST_PROMISE = DEVIATIONS / math.sqrt(2)
"""An instance is rejected before the search if no player is better than the default by this many standard deviations of
the default. Then even an oracle whose repeats were all equal would be too close."""

FIRST_LOOK = 4
"""Number of recipes, the default among them, after which an instance can be rejected."""

SEEDS = (1, 2)
"""Seeds, relative to the instance's own, with which the default and the oracle are repeated."""

DIFFICULTY_SEEDS = range(5)
"""Seeds, relative to the instance's own, with which the heuristic plays an accepted instance. With one seed, chance
gave every second task another tier."""

Calls = Sequence[tuple[str, Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class Trial:
    """An episode of calibration.

    Attributes:
        player: Name of the player.
        value: `m` of the submitted model on the hidden examples.
        validation: The same figure of the submitted model on the validation examples.
        seconds: Processor time of the episode, in seconds.
        calls: The calls, as tool and arguments.
    """

    player: str
    value: float
    validation: float
    seconds: float
    calls: Calls


@dataclass(frozen=True, slots=True)
class Measured:
    """What calibration found for an instance.

    Attributes:
        trials: All trials with the instance's own seed.
        default: `m` by seed of the settings that the task begins with, left alone, or of its weights, left as they are:
            of the better ones. A single figure if rejected early.
        oracle: `m` of the oracle's calls by seed. The first is that of the trial itself. Empty if rejected early.
        reference: The references. None if the instance was rejected.
        oracle_calls: The calls of the oracle.
        checksum: Checksum of the examples.
        heuristic: `m` of the heuristic by seed, which says how difficult an accepted instance is.
    """

    trials: Sequence[Trial]
    default: Sequence[float]
    oracle: Sequence[float] = ()
    reference: Reference | None = None
    oracle_calls: Calls = ()
    checksum: str = ""
    heuristic: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class RecordedCalls:
    """Plays recorded calls.

    Attributes:
        name: Its name.
        calls: The calls, as tool and arguments.
    """

    name: str
    calls: Calls

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode."""
        for tool, arguments in self.calls:
            yield Call(tool, arguments)


def calibrate(instance: Instance, trainer: Trainer) -> Measured:
    """Play the portfolio on an instance (see `calibrate_task`), and the heuristic again if it is accepted."""
    examples = draw_examples(instance.examples)
    measured = calibrate_task(task_of(instance, "train", 0), examples, instance.metric, trainer)
    return replace(measured, heuristic=measure_difficulty(instance, trainer)) if measured.reference else measured


def measure_difficulty(instance: Instance, trainer: Trainer) -> tuple[float, ...]:
    """Return `m` of the heuristic on an instance, with each of `DIFFICULTY_SEEDS`."""
    task, examples = task_of(instance, "train", 0), draw_examples(instance.examples)
    agent = HeuristicAgent()
    return tuple(play_trial(agent, trainer, task, examples, instance.metric, seed).value for seed in DIFFICULTY_SEEDS)


def calibrate_task(
    task: Task, examples: TaskExamples, metric: Metric, trainer: Trainer, *, is_named: bool = False
) -> Measured:
    """Play the portfolio on a task.

    The default is the better one of two players that decide nothing: one leaves the settings alone, the other one the
    weights. `judge` accepts or rejects an instance. It is rejected early if no player is much better than the default,
    after the first recipes or before the search.

    Args:
        task: The task.
        examples: Its examples.
        metric: What `m` is.
        trainer: Trains the epochs.
        is_named: Accept a task that a fixed recipe solves, too, and one whose oracle is less than `LEAST_HEADROOM`
            above the default. The distance in standard deviations is demanded of every task.
    """
    least_headroom = 0.0 if is_named else LEAST_HEADROOM

    def run(agent: Agent, seed: int = 0) -> Trial:
        return play_trial(agent, trainer, task, examples, metric, seed)

    idle: list[Agent] = [DEFAULT, UNTOUCHED] if task.start else [DEFAULT]
    trials = [run(agent) for agent in (*idle, *RECIPES[1:FIRST_LOOK])]
    if _best(trials) - _best(trials[: len(idle)]) < least_headroom / 2:
        return Measured(trials, [_best(trials[: len(idle)])], checksum=examples.checksum)
    trials += [run(agent) for agent in RECIPES[FIRST_LOOK:]]
    by_recipes = _best(trials)
    trials += [run(agent) for agent in EXPERTS]
    repeats = ([trials[place].value, *(run(agent, seed).value for seed in SEEDS)] for place, agent in enumerate(idle))
    default = max(repeats, key=statistics.fmean)
    level, noise = statistics.fmean(default), statistics.stdev(default)
    if _best(trials) - level < max(least_headroom, LEAST_PROMISE * noise):
        return Measured(trials, default, checksum=examples.checksum)
    trials += _search(task.seed, trials, run)
    best = max(trials, key=lambda trial: trial.validation)
    oracle = [best.value, *(run(RecordedCalls("oracle", best.calls), seed).value for seed in SEEDS)]
    solved = -math.inf if is_named else by_recipes
    reference = judge(default, oracle, solved, guess(task, metric), metric, least_headroom)
    return Measured(trials, default, oracle, reference, best.calls, examples.checksum)


def judge(
    default: Sequence[float],
    oracle: Sequence[float],
    by_recipes: float,
    guessed: float,
    metric: Metric,
    least_headroom: float = LEAST_HEADROOM,
) -> Reference | None:
    """Return the references of an instance, or None if it is rejected.

    Args:
        default: `m` of the default by seed.
        oracle: `m` of the oracle's calls by seed.
        by_recipes: `m` of the best fixed recipe. Minus infinity accepts a task that one solves.
        guessed: `m` of a guess. If the default is worse, a model that was destroyed would beat it.
        metric: What `m` is.
        least_headroom: The oracle must be at least this much above the default.
    """
    level, headroom = statistics.fmean(default), oracle[0] - statistics.fmean(default)
    deviation = math.sqrt((statistics.variance(default) + statistics.variance(oracle)) / 2)
    is_clear = headroom >= max(least_headroom, DEVIATIONS * deviation)
    if not is_clear or by_recipes - level >= SOLVED * headroom or level < guessed:
        return None
    return Reference(round(level, 6), round(oracle[0], 6), round(deviation, 6), metric)


def guess(task: Task, metric: Metric) -> float:
    """Return `m` of a guess: the accuracy of one class, or minus the loss of equal probabilities.

    All classes are equally frequent among the hidden examples.
    """
    outputs = task.network.outputs
    return 1 / outputs if metric is Metric.ACCURACY else -math.log(outputs)


def _best(trials: Sequence[Trial]) -> float:
    return max(trial.value for trial in trials)


def _search(seed: int, known: Sequence[Trial], run: Callable[[Agent], Trial]) -> list[Trial]:
    """Run random settings, and then settings near the best ones by validation.

    Args:
        seed: Fixes the settings.
        known: The trials so far.
        run: Plays a trial.
    """
    recipes = {agent.name: agent for agent in (*RECIPES, *EXPERTS) if isinstance(agent, FixedRecipe)}
    found: list[Trial] = []
    for number in range(RANDOM_RUNS + NEIGHBOURS):
        if number < RANDOM_RUNS:
            recipe = random_recipe(f"{seed}/{number}")
        else:
            best = max((one for one in (*known, *found) if one.player in recipes), key=lambda one: one.validation)
            recipe = neighbour(recipes[best.player], f"{seed}/{number}")
        recipes[recipe.name] = recipe
        found.append(run(recipe))
    return found


def play_trial(
    agent: Agent, trainer: Trainer, task: Task, examples: TaskExamples, metric: Metric, seed: int = 0
) -> Trial:
    """Let an agent play an episode, and measure the submitted model.

    Args:
        agent: The agent.
        trainer: Trains its epochs.
        task: The task.
        examples: The examples of the task.
        metric: What `m` is.
        seed: Added to the task's own seed.
    """
    session = LocalSession(trainer, task, examples, task.seed + seed)
    began = time.process_time()
    play(agent, session)
    seconds = time.process_time() - began
    reply, history = session.reply, session.episode.history
    hidden = HiddenFigures(reply["submitted_accuracy"], reply["submitted_loss"])
    value = hidden.accuracy if metric is Metric.ACCURACY else -hidden.loss
    last = history.ancestry[-1].metrics
    validation = last.val_accuracy if metric is Metric.ACCURACY else -last.val_loss
    validation = validation if math.isfinite(validation) else -math.inf
    return Trial(agent.name, value, validation, seconds, session.calls)
