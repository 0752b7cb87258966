"""The heuristic agent's rules, each against replies that call for it."""

from dataclasses import replace

import pytest

from ml_trainer_env.baselines.agent import Outcome
from ml_trainer_env.baselines.heuristic import HeuristicAgent
from ml_trainer_env.baselines.play import play
from ml_trainer_env.baselines.recipes import recipe_for


@pytest.fixture
def brief(make_session):
    return make_session(difficulty="hard", budget=60, network="deeper_cnn").brief


def reply(epoch, *, best_epoch=None, train=0.6, val=0.6, signal="improving", **more):
    return {
        "current_epoch": epoch,
        "best_val_epoch": epoch if best_epoch is None else best_epoch,
        "train_accuracy": train,
        "val_accuracy": val,
        "convergence_signal": signal,
        "is_diverged": signal == "diverged",
        "done": False,
    } | more


class Game:
    """Plays the agent by hand: answers its calls with replies of the test's choosing."""

    def __init__(self, brief):
        self.script = HeuristicAgent().script(brief, ())
        self.call = next(self.script)

    def answered(self, given):
        self.call = self.script.send(Outcome(reply=given))
        return self.call


@pytest.fixture
def game(brief):
    """A game whose first look, at epoch 5, is about to be answered."""
    game = Game(brief)
    game.answered(reply(0))
    return game


def test_it_configures_everything_at_once_and_takes_a_first_look(brief):
    game = Game(brief)

    assert game.call.name == "configure_training"
    assert game.call.arguments["augmentation"] is True
    assert game.call.arguments["lr_schedule"] == "warmup_cosine"
    first_look = game.answered(reply(0))
    assert (first_look.name, first_look.arguments) == ("run_epochs", {"num_epochs": 5})


def test_while_all_is_well_it_goes_on(game):
    assert game.answered(reply(5)).arguments == {"num_epochs": 10}


def test_after_a_divergence_it_starts_afresh_at_a_third_of_the_rate(brief, game):
    again = game.answered(reply(2, best_epoch=1, signal="diverged", train=None, val=None))

    assert again.name == "configure_training"
    assert again.arguments["reinitialize"] is True
    assert again.arguments["learning_rate"] == pytest.approx(recipe_for(brief).learning_rate / 3)


def test_it_gives_up_after_a_few_divergences(game):
    names = []
    for epoch in range(1, 9):
        call = game.answered(reply(epoch, best_epoch=0, signal="diverged", train=None, val=None))
        names.append(call.name)
        if call.name == "configure_training":
            names.append(game.answered(reply(epoch)).name)
        if call.name == "submit_model":
            break

    assert names.count("configure_training") == 3
    assert names[-1] == "submit_model"


def test_a_wide_gap_asks_for_more_regularisation_without_a_new_schedule(brief, game):
    game.answered(reply(5))

    correction = game.answered(reply(15, train=0.85, val=0.6))

    start = recipe_for(brief)
    assert correction.name == "configure_training"
    assert set(correction.arguments) == {"dropout", "augmentation", "augmentation_strength"}
    assert correction.arguments["dropout"] > start.dropout
    assert correction.arguments["augmentation_strength"] > start.augmentation_strength


def test_the_overfitting_signal_asks_for_it_sooner(game):
    assert game.answered(reply(5, train=0.7, val=0.6)).name == "run_epochs"
    assert game.answered(reply(15, train=0.7, val=0.6, signal="overfitting")).name == "configure_training"


def test_a_gap_that_is_graded_is_tolerated_less(brief):
    game = Game(replace(brief, description="The gap between train and validation accuracy counts."))
    game.answered(reply(0))

    assert game.answered(reply(5, train=0.68, val=0.6)).name == "configure_training"


def test_regularisation_stays_within_what_the_tools_allow(game):
    call = game.call
    for epoch in range(5, 48):
        call = game.answered(reply(epoch, train=1.0, val=0.5))
        if call.name == "configure_training":
            assert call.arguments["dropout"] <= 0.5
            assert call.arguments["augmentation_strength"] <= 1.0
            call = game.answered(reply(epoch))
    assert call.name == "run_epochs"


def test_a_network_that_cannot_learn_its_training_images_gets_less_regularisation(brief, game):
    game.answered(reply(5))

    correction = game.answered(reply(25, train=0.3, val=0.35))

    assert correction.arguments["dropout"] < recipe_for(brief).dropout


def test_in_the_tail_it_goes_by_single_epochs_and_stops_at_a_new_best(game):
    game.answered(reply(38))
    assert game.answered(reply(48, best_epoch=46)).arguments == {"num_epochs": 1}
    assert game.answered(reply(49, best_epoch=46)).arguments == {"num_epochs": 1}
    assert game.answered(reply(50, best_epoch=50)).name == "submit_model"


def test_in_the_tail_it_does_not_wait_for_a_new_best_for_ever(game):
    assert game.answered(reply(55, best_epoch=47)).name == "submit_model"


def test_it_submits_when_the_budget_is_spent(game):
    assert game.answered(reply(60, best_epoch=56)).name == "submit_model"


def test_no_call_crosses_the_beginning_of_the_tail(game):
    assert game.answered(reply(45)).arguments == {"num_epochs": 3}


@pytest.fixture
def timed(brief):
    """A game against the clock, graded on the model submitted; its first look is about to be answered."""
    game = Game(replace(brief, budget_epochs=30, budget_seconds=60.0, target_metric="test_accuracy"))
    game.answered(reply(0))
    return game


def clock(epoch, seconds, epoch_time_s):
    return {"remaining_budget": 30 - epoch, "remaining_seconds": seconds, "epoch_time_s": epoch_time_s}


def test_seconds_that_will_not_last_for_the_epochs_ask_for_larger_batches_once(timed):
    assert timed.answered(reply(5, **clock(5, 49.0, 2.2))).arguments == {"batch_size": 256}
    assert timed.answered(reply(5)).arguments == {"num_epochs": 10}
    assert timed.answered(reply(15, **clock(15, 20.0, 2.0))).name == "run_epochs"


def test_seconds_that_last_change_nothing(timed):
    assert timed.answered(reply(5, **clock(5, 49.0, 1.9))).arguments == {"num_epochs": 10}


def test_it_submits_when_the_seconds_are_spent(timed):
    assert timed.answered(reply(12, best_epoch=9, **clock(30, 0.0, 2.0))).name == "submit_model"


def test_a_model_that_is_graded_as_it_stands_is_trained_to_the_end_of_the_schedule(timed):
    timed.answered(reply(15, **clock(15, 40.0, 1.0)))
    assert timed.answered(reply(24, best_epoch=24, **clock(24, 30.0, 1.0))).arguments == {"num_epochs": 1}
    assert timed.answered(reply(25, best_epoch=25, **clock(25, 29.0, 1.0))).arguments == {"num_epochs": 1}
    assert timed.answered(reply(30, best_epoch=30, **clock(30, 24.0, 1.0))).name == "submit_model"


def test_a_refusal_leaves_the_rest_to_the_loop(game):
    with pytest.raises(StopIteration):
        game.script.send(Outcome(refusal="no"))


@pytest.mark.parametrize("budget", [1, 4, 7, 30, 100])
@pytest.mark.parametrize("network", ["simple_mlp", "small_cnn", "deeper_cnn"])
def test_it_plays_any_task_to_its_grade(make_session, budget, network):
    session = make_session(budget=budget, network=network)

    turns = play(HeuristicAgent(), session)

    assert turns[-1].outcome.done
    assert not [turn for turn in turns if turn.outcome.refusal and "num_epochs" in turn.outcome.refusal]
