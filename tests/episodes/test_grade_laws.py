"""Laws of grades: a grade is about one model, whatever an agent did on the way to it.

The oracle knows nothing of episodes. It follows the weights of the submitted model back through the jobs that the
executor was given, and computes the published formula on what it finds.
"""

import asyncio
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from epoch_executor import EpochExecutor, EpochJob, EpochResult, HeldOutJob
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ml_trainer_env.server.datasets import Source, TaskExamples
from ml_trainer_env.server.episodes.call_counts import MAX_CHANGES
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.game import TimeLimits
from ml_trainer_env.server.episodes.units import LiveSource
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.metrics import EpochMetrics
from ml_trainer_env.server.trainer.state import FreshState, TrainingState, weights_hash
from ml_trainer_env.server.tuning.episode import TuningEpisode
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.named_tasks import TASKS

Call = tuple[str, dict[str, Any]]

IDENTITY = Identity({"engine": "digest"})

RUN = ("run_epochs", {"num_epochs": 1})
SUBMIT = ("submit_model", {})


@dataclass
class TracingExecutor(EpochExecutor):
    """Trains by digest: the figures of an epoch follow from its job alone. Remembers which weights came from which.

    Attributes:
        parents: The weights that each weights came from, None where those were fresh.
        figures: The figures of each weights.
        spent: The figures of all epochs, in order.
        measured: Hashes of the weights that were measured on the test images.
    """

    parents: dict[str, str | None] = field(default_factory=dict)
    figures: dict[str, EpochMetrics] = field(default_factory=dict)
    spent: list[EpochMetrics] = field(default_factory=list)
    measured: list[str] = field(default_factory=list)

    async def start(self) -> None: ...

    async def identity(self) -> Identity:
        return IDENTITY

    async def run_epoch(self, job: EpochJob, timeout_s: float, on_wait: object = None) -> EpochResult:
        start, config, rate = job.state, job.config, job.plan.rate_at(job.state.epoch)
        before = None if isinstance(start, FreshState) else weights_hash(start)
        facts = (start.epoch, before, config.optimizer, config.dropout, rate)
        draw = np.random.default_rng(list(repr(facts).encode()))
        weights = {"w": draw.integers(0, 2**31, 4)}
        state = TrainingState(start.network, weights, {}, config.optimizer, start.epoch + 1, start.seed)
        loss = math.inf if rate > 5 else float(draw.uniform(0.5, 0.7))
        # So coarse that many epochs are equals.
        val_accuracy, gap = 0.40 + 0.02 * int(draw.integers(0, 26)), 0.02 * int(draw.integers(-1, 7))
        metrics = EpochMetrics(loss, val_accuracy + gap, loss, val_accuracy, rate, diverged=not loss <= 100)
        name = weights_hash(state)
        self.parents[name], self.figures[name] = before, metrics
        self.spent.append(metrics)
        return EpochResult(state, metrics, 0.1, IDENTITY.key)

    async def held_out_accuracy(self, job: HeldOutJob, timeout_s: float, on_wait: object = None) -> float:
        self.measured.append(weights_hash(job.state))
        return 0.5

    async def close(self) -> None: ...

    def path(self, name: str | None) -> list[str]:
        """The weights from the first epoch on that led to these."""
        path: list[str] = []
        while name is not None:
            path.append(name)
            name = self.parents[name]
        return path[::-1]


@dataclass
class Played:
    """What came of some calls."""

    executor: TracingExecutor
    last: dict[str, Any]
    weights_hash: str | None

    @property
    def score(self) -> float:
        return float(self.last["score"])


def play(task: str, rubric: str, calls: Sequence[Call]) -> Played:
    """Carry out calls; those that are refused change nothing."""
    nothing, labels = np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.int64)
    executor = TracingExecutor()
    episode = TuningEpisode(
        name="e",
        task=TASKS[task],
        examples=TaskExamples(nothing, labels, nothing, labels, nothing, labels, Source.BUNDLED, "checksum"),
        seed=1,
        rubric=RubricVersion(rubric),
        source=LiveSource(executor),  # type: ignore[arg-type]
        limits=TimeLimits(),
    )

    async def run() -> Played:
        last: dict[str, Any] = {}
        for tool, arguments in calls:
            if tool == "submit_model":
                name = episode.state_hash
            try:
                last = await episode.call(tool, arguments)
            except (EpisodeError, ConfigError):
                continue
        return Played(executor, last, name if calls[-1] == SUBMIT else episode.state_hash)

    return asyncio.run(run())


def clamp(value: float) -> float:
    return max(0.0001, min(0.9999, value))


def published(task: str, rubric: str, accuracy: float, gap: float, wasted: int, losses: Sequence[float]) -> float:
    """The published formulas, written down once more."""
    losses = list(losses)[-10:]
    variance = statistics.pvariance(losses) if all(map(math.isfinite, losses)) else math.inf
    if task == "easy_mnist":
        return round(clamp((accuracy - 0.88) / 0.095), 4)
    if task == "medium_fashion":
        score, weight, rest = clamp((accuracy - 0.75) / 0.15), 0.6, 0.4 * clamp(1 - gap / 0.12)
    else:
        score, weight = clamp((accuracy - 0.40) / 0.28), 0.5
        rest = 0.3 * clamp(1 - wasted / 60) + 0.2 * clamp(1 - variance / 0.01)
    return round(weight * score + rest * (score if rubric == "v2" else 1), 4)


tasks = st.sampled_from(["easy_mnist", "medium_fashion", "hard_cifar"])
rubrics = st.sampled_from(["v1", "v2"])
names = st.sampled_from(["a", "b"])
trainings = st.one_of(
    st.tuples(st.just("run_epochs"), st.fixed_dictionaries({"num_epochs": st.integers(1, 6)})),
    st.tuples(
        st.just("configure_training"),
        st.fixed_dictionaries({}, optional={"dropout": st.sampled_from([0.0, 0.3]), "lr_schedule": st.just("cosine")}),
    ),
    st.tuples(st.just("adjust_learning_rate"), st.fixed_dictionaries({"new_lr": st.sampled_from([0.01, 1e-9])})),
)
turns = st.one_of(
    st.just(("configure_training", {"reinitialize": True})),
    st.just(("adjust_learning_rate", {"new_lr": 10.0})),
    st.tuples(st.sampled_from(["save_checkpoint", "restore_checkpoint"]), st.fixed_dictionaries({"name": names})),
)
calls = st.lists(st.one_of(trainings, trainings, turns), max_size=16)
straight = st.lists(trainings, max_size=10)
idle = st.sampled_from(
    [
        ("get_training_status", {}),
        ("list_checkpoints", {}),
        ("run_epochs", {"num_epochs": 0}),
        ("save_checkpoint", {"name": "z"}),
        ("restore_checkpoint", {"name": "nobody"}),
        ("configure_training", {"dropout": 7}),
    ]
)
many = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)


@many
@given(task=tasks, rubric=rubrics, before=calls)
def test_a_grade_depends_on_the_ancestry_of_the_submitted_model_and_the_epochs_spent(
    task: str, rubric: str, before: list[Call]
) -> None:
    played = play(task, rubric, [*before, SUBMIT])
    executor, path = played.executor, played.executor.path(played.weights_hash)
    assume(path)

    accuracies = [executor.figures[name].val_accuracy for name in path]
    place = accuracies.index(max(accuracies))
    best = executor.figures[path[place]]
    reached = [metrics.val_accuracy >= best.val_accuracy for metrics in executor.spent].index(True)
    losses = [executor.figures[name].val_loss for name in path[: place + 1]]
    gap, wasted = best.train_accuracy - best.val_accuracy, len(executor.spent) - reached - 1
    assert played.score == published(task, rubric, best.val_accuracy, gap, wasted, losses)
    assert executor.measured == [path[place]]
    assert played.last["grade"] == {"score": played.last["score"], "details": played.last["details"]}


@many
@given(task=tasks, rubric=rubrics, before=calls, noise=st.lists(st.tuples(st.integers(0, 16), idle), max_size=8))
def test_calls_that_train_nothing_and_bring_nothing_back_change_no_grade(
    task: str, rubric: str, before: list[Call], noise: list[tuple[int, Call]]
) -> None:
    noisy = list(before)
    for place, call in noise:
        noisy.insert(place, call)
    assume(len(noisy) < MAX_CHANGES)

    plain, disturbed = play(task, rubric, [*before, SUBMIT]), play(task, rubric, [*noisy, SUBMIT])

    assert disturbed.last.get("grade") == plain.last.get("grade")


@many
@given(task=tasks, rubric=rubrics, before=calls, again=straight)
def test_restoring_and_repeating_refunds_nothing(task: str, rubric: str, before: list[Call], again: list[Call]) -> None:
    before = [RUN, *before, ("save_checkpoint", {"name": "z"})]
    restored = [*before, *again, ("restore_checkpoint", {"name": "z"}), *again, SUBMIT]

    once, twice = play(task, rubric, [*before, *again, SUBMIT]), play(task, rubric, restored)

    assume(once.weights_hash == twice.weights_hash is not None)
    assert twice.score <= once.score
    assert len(twice.executor.spent) >= len(once.executor.spent)


@many
@given(task=tasks, rubric=rubrics, before=calls)
def test_no_epoch_that_sets_no_new_best_on_its_path_raises_a_grade(task: str, rubric: str, before: list[Call]) -> None:
    now, later = play(task, rubric, [*before, SUBMIT]), play(task, rubric, [*before, RUN, SUBMIT])
    path = later.executor.path(later.weights_hash)
    accuracies = [later.executor.figures[name].val_accuracy for name in path]
    assume(now.weights_hash is not None and len(later.executor.spent) > len(now.executor.spent))
    assume(accuracies[-1] <= max(accuracies[:-1]))

    assert later.score <= now.score


@many
@given(task=tasks, rubric=rubrics, before=straight)
def test_submitting_at_the_best_epoch_gives_the_published_formula(task: str, rubric: str, before: list[Call]) -> None:
    """All figures of the published formula are those of the whole episode."""
    played = play(task, rubric, [*before, RUN, SUBMIT])
    spent = played.executor.spent
    last = spent[-1]
    assume(all(last.val_accuracy > metrics.val_accuracy for metrics in spent[:-1]))

    gap, losses = last.train_accuracy - last.val_accuracy, [metrics.val_loss for metrics in spent]
    assert played.score == published(task, rubric, last.val_accuracy, gap, 0, losses)
    assert played.last["graded_epoch"] == len(spent)


@pytest.mark.parametrize("rubric", [RubricVersion.V1, RubricVersion.V2])
@pytest.mark.parametrize("task", ["easy_mnist", "medium_fashion", "hard_cifar"])
@pytest.mark.parametrize("trick", ["fresh", "destroyed", "frozen"])
def test_the_tricks_that_paid_pay_no_more(task: str, rubric: str, trick: str) -> None:
    train = [("run_epochs", {"num_epochs": 20})]
    honest = play(task, rubric, [*train, SUBMIT])
    calls: dict[str, list[Call]] = {
        "fresh": [("configure_training", {"reinitialize": True, "learning_rate": 1e-9}), RUN],
        "destroyed": [("adjust_learning_rate", {"new_lr": 4.9}), RUN],
        "frozen": [("adjust_learning_rate", {"new_lr": 1e-9}), ("run_epochs", {"num_epochs": 10})],
    }

    tricked = play(task, rubric, [*train, *calls[trick], SUBMIT])

    if trick == "fresh":
        only = tricked.executor.spent[-1]
        assert tricked.last["details"]["val_accuracy"] == round(only.val_accuracy, 4)
    else:
        accuracies = [metrics.val_accuracy for metrics in tricked.executor.spent]
        assert max(accuracies[20:]) <= max(accuracies[:20])
        assert tricked.score <= honest.score


@pytest.mark.parametrize("task", TASKS)
def test_fresh_weights_are_no_model(task: str) -> None:
    """A submission of them is refused; one that comes by itself is worth nothing."""
    train = [("run_epochs", {"num_epochs": 5}), ("configure_training", {"reinitialize": True})]

    refused = play(task, "v1", [*train, SUBMIT])
    by_itself = play(task, "v1", [*train, *[("configure_training", {"dropout": 0.1})] * MAX_CHANGES])

    assert not refused.last["done"]
    assert by_itself.last["done"]
    assert by_itself.last["score"] == 0.0
    assert by_itself.last["reward"] == 0.0
