"""Actions of MLTrainer-v0: every action means something at every step, and what is replaced is little."""

from dataclasses import replace
from itertools import product

import pytest

from ml_trainer_env.integrations.gymnasium.tuning_actions import (
    CHOICES,
    NOTHING,
    REGULARISATION,
    Choice,
    Optimizer,
    Plan,
    Regularisation,
    Weights,
    nearest_level,
)
from ml_trainer_env.server.trainer.config import TrainingConfig

SETTINGS = {
    "optimizer": "sgd",
    "learning_rate": 0.02,
    "batch_size": 64,
    "dropout": 0.2,
    "augmentation": True,
    "augmentation_strength": 0.5,
}
PLANS = [
    Plan(SETTINGS, 64, epochs, has_model, has_best and has_model, is_diverged and has_model)
    for epochs, has_model, has_best, is_diverged in product((0, 3), *[(False, True)] * 3)
    if epochs or has_model
]
ALL = list(product(*(range(count) for count in CHOICES)))


def choice(**parts: object) -> Choice:
    return replace(Choice.of(NOTHING), **parts)


@pytest.mark.parametrize("plan", PLANS)
def test_any_action_becomes_calls_that_the_game_accepts(plan: Plan) -> None:
    for action in ALL:
        possible = plan.possible(Choice.of(action))
        calls = list(plan.calls(possible))
        names = [name for name, _ in calls]

        assert names[-1] == ("submit_model" if possible.submits else "run_epochs")
        assert plan.has_model or not possible.submits
        assert plan.epochs > 0 or possible.submits
        assert plan.has_best or "restore_checkpoint" not in names
        fresh = any(arguments.get("reinitialize") for _, arguments in calls)
        assert not plan.is_diverged or possible.submits or fresh or "restore_checkpoint" in names
        for name, arguments in calls:
            if name == "configure_training":
                settings = {key: value for key, value in arguments.items() if key != "reinitialize"}
                changed = TrainingConfig().with_changes(settings)  # raises for a value out of bounds
                assert changed.batch_size <= plan.largest_batch


@pytest.mark.parametrize("plan", PLANS)
def test_what_the_mask_allows_is_not_replaced(plan: Plan) -> None:
    masks = plan.masks()

    assert [len(mask) for mask in masks] == list(CHOICES)
    assert all(any(mask) for mask in masks)
    for action in ALL:
        wanted = Choice.of(action)
        is_allowed = all(mask[number] for mask, number in zip(masks, action, strict=True))
        if is_allowed and not (wanted.submits and wanted.weights is Weights.FRESH):
            assert plan.possible(wanted).weights is wanted.weights or wanted.submits
            assert plan.possible(wanted).submits == wanted.submits


def test_doing_nothing_is_one_call_that_trains() -> None:
    assert list(PLANS[-2].calls(Choice.of(NOTHING))) == [("run_epochs", {"num_epochs": 3})]


def test_the_rate_is_multiplied_after_the_optimizer_is_chosen_and_the_batch_is_limited() -> None:
    plan = Plan(SETTINGS, 32, 3, True, True, False)

    (configure, _) = plan.calls(choice(rate=3.0, optimizer=Optimizer.ADAMW, weights=Weights.FRESH))

    assert configure[1] == {"optimizer": "adamw", "learning_rate": 0.009, "batch_size": 32, "reinitialize": True}


def test_regularisation_moves_one_level_from_the_nearest_and_stays_at_the_ends() -> None:
    weakest = SETTINGS | {"dropout": 0.0, "augmentation": False}

    assert nearest_level(SETTINGS) == 2
    (more, _) = PLANS[-2].calls(choice(regularisation=Regularisation.MORE))
    assert (more[1]["dropout"], more[1]["weight_decay"]) == (0.4, REGULARISATION[3][2] / 100)
    (less, _) = Plan(weakest, 32, 3, True, True, False).calls(choice(regularisation=Regularisation.LESS))
    assert (less[1]["dropout"], less[1]["augmentation"]) == (0.0, False)


@pytest.mark.parametrize("action", [(0,) * 5, (5, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, -1)])
def test_a_number_outside_of_the_space_is_an_error(action: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="an action has one number"):
        Choice.of(action)
