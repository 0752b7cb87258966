"""Calibration of a tiny instance, trained for real: its references, and its oracle's calls."""

import json
import math
from dataclasses import replace

import pytest

from ml_trainer_env.baselines.play import play
from ml_trainer_env.calibration.candidates import candidate_of
from ml_trainer_env.calibration.instances import RecordedCalls, calibrate, guess, judge, play_trial
from ml_trainer_env.calibration.portfolio import DEFAULT, UNTOUCHED, neighbour, random_recipe
from ml_trainer_env.in_process.training import Trainer
from ml_trainer_env.in_process.tuning import LocalSession
from ml_trainer_env.server.datasets import draw_examples
from ml_trainer_env.server.trainer.config import OptimizerKind, TrainingConfig
from ml_trainer_env.server.trainer.starts import StartKind, StartSpec
from ml_trainer_env.server.tuning.families.instance import Instance
from ml_trainer_env.server.tuning.families.table import Row
from ml_trainer_env.server.tuning.families.tasks import task_of
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.reference import Metric, Reference


def test_an_accepted_instance_has_headroom_and_its_oracle_replays_to_x_1(tiny: Instance, trainer_here: Trainer) -> None:
    measured = calibrate(tiny, trainer_here)
    found = measured.reference
    one = candidate_of(0, tiny, measured, trainer_here.identity.key)

    assert found is not None
    assert found.oracle - found.default >= max(0.03, 4 * found.deviation)
    assert found.default == pytest.approx(sum(measured.default) / 3, abs=1e-6)
    assert {"default", "heuristic", "prober", "one-epoch probes"} <= set(one.players)
    assert one.players[one.oracle_player] == pytest.approx(found.oracle)
    assert one.heuristic[0] == one.players["heuristic"]
    assert len(set(one.heuristic)) > 1

    task = task_of(tiny, "train", 0, Row(0, tiny, found, 1, one.cost_s, one.checksum, one.identity))
    session = LocalSession(trainer_here, task, draw_examples(tiny.examples), rubric=RubricVersion.V3)
    calls = json.loads(json.dumps([{"tool": tool, "arguments": dict(given)} for tool, given in one.oracle_calls]))
    for call in calls:
        session.call(call["tool"], call["arguments"])
    assert session.reply["details"]["x"] == 1
    assert session.reply["score"] == 1
    assert session.brief.status["current_epoch"] <= tiny.budget


def test_an_instance_without_headroom_is_rejected_after_few_runs(tiny: Instance, trainer_here: Trainer) -> None:
    noise = replace(tiny, examples=replace(tiny.examples, label_noise=1.0), budget=1)

    measured = calibrate(noise, trainer_here)
    one = candidate_of(0, noise, measured, trainer_here.identity.key)

    assert measured.reference is None
    assert (one.oracle_player, one.oracle_calls, one.heuristic) == ("", (), ())
    assert len(measured.trials) <= 6


@pytest.mark.parametrize(
    ("default", "oracle", "by_recipes", "accepted"),
    [
        ((0.50, 0.49, 0.51), (0.9, 0.89, 0.91), 0.8, True),
        ((0.50, 0.38, 0.62), (0.9, 0.78, 1.02), 0.8, False),
        ((0.50, 0.50, 0.50), (0.52, 0.52, 0.52), 0.5, False),
        ((0.50, 0.49, 0.51), (0.9, 0.89, 0.91), 0.89, False),
        ((0.15, 0.14, 0.16), (0.9, 0.89, 0.91), 0.8, False),
    ],
    ids=["clear", "noise", "little headroom", "solved by a recipe", "worse than a guess"],
)
def test_an_instance_is_accepted_where_decisions_matter(
    default: tuple[float, ...], oracle: tuple[float, ...], by_recipes: float, *, accepted: bool
) -> None:
    found = judge(default, oracle, by_recipes, guessed=0.2, metric=Metric.ACCURACY)

    assert found == (Reference(0.5, 0.9, 0.01, Metric.ACCURACY) if accepted else None)


@pytest.mark.parametrize(("oracle", "accepted"), [((0.52, 0.52, 0.52), True), ((0.502, 0.502, 0.502), False)])
def test_a_named_task_needs_no_headroom_beyond_the_noise(oracle: tuple[float, ...], *, accepted: bool) -> None:
    default = (0.5, 0.499, 0.501)

    found = judge(default, oracle, -math.inf, guessed=0.2, metric=Metric.ACCURACY, least_headroom=0.0)

    assert (found is not None) == accepted
    assert judge(default, oracle, -math.inf, guessed=0.2, metric=Metric.ACCURACY) is None


def test_a_guess_names_one_class_or_takes_all_tokens_for_equally_likely(tiny: Instance) -> None:
    task = task_of(tiny, "train", 0)

    assert guess(task, Metric.ACCURACY) == 1 / len(tiny.examples.classes)
    assert guess(task, Metric.LOSS) == -math.log(len(tiny.examples.classes))


def test_the_default_is_the_settings_that_an_episode_begins_with(tiny: Instance, trainer_here: Trainer) -> None:
    task, examples = task_of(tiny, "train", 0), draw_examples(tiny.examples)
    first = play_trial(DEFAULT, trainer_here, task, examples, Metric.ACCURACY)
    again = play_trial(RecordedCalls("again", first.calls), trainer_here, task, examples, Metric.ACCURACY)
    other = play_trial(DEFAULT, trainer_here, task, examples, Metric.ACCURACY, seed=1)

    assert [tool for tool, _ in first.calls] == ["run_epochs", "submit_model"]
    assert (again.value, again.validation) == (first.value, first.validation)
    assert other.calls == first.calls
    assert math.isfinite(other.validation)


@pytest.mark.slow
def test_the_default_is_the_better_of_settings_and_weights_left_alone(tiny: Instance, trainer_here: Trainer) -> None:
    hot = TrainingConfig(optimizer=OptimizerKind.SGD, learning_rate=10.0)
    taken_over = replace(tiny, start=StartSpec(StartKind.HOT, 0.0, 60), settings=hot, budget=4)
    task, examples = task_of(taken_over, "train", 0), draw_examples(taken_over.examples)

    measured = calibrate(taken_over, trainer_here)
    values = {trial.player: trial.value for trial in measured.trials}
    untouched = play_trial(UNTOUCHED, trainer_here, task, examples, Metric.ACCURACY)

    assert values["untouched"] == untouched.value > values["default"]
    assert measured.default[0] == untouched.value


def test_random_settings_and_their_neighbours_are_always_allowed(tiny: Instance, trainer_here: Trainer) -> None:
    task, examples = task_of(replace(tiny, budget=1), "train", 0), draw_examples(tiny.examples)
    default = TrainingConfig()
    for number in range(200):
        recipe = random_recipe(f"7/{number}")
        for known in (recipe, neighbour(recipe, f"8/{number}")):
            settings = {name: value for name, value in known.settings.items() if name != "reinitialize"}
            assert default.with_changes(settings) is not None
        assert random_recipe(f"7/{number}") == recipe
    session = LocalSession(trainer_here, task, examples)
    play(random_recipe("7/0"), session)
    assert session.reply["done"]
