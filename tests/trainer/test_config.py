"""Settings are checked wherever they come from, and every refusal reads the same."""

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_trainer_env.server.trainer.config import LIMITS, TrainingConfig
from ml_trainer_env.server.trainer.errors import ConfigError

SETTINGS = (*LIMITS, "optimizer", "lr_schedule", "augmentation")

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("learning_rate", 0, "a number in (0, 10]"),
        ("learning_rate", 10.01, "a number in (0, 10]"),
        ("learning_rate", math.nan, "a number in (0, 10]"),
        ("learning_rate", "0.1", "a number in (0, 10]"),
        ("learning_rate", True, "a number in (0, 10]"),
        ("batch_size", 63, "one of 32, 64, 128, 256"),
        ("weight_decay", -0.1, "a number in [0, 1]"),
        ("dropout", 0.51, "a number in [0, 0.5]"),
        ("warmup_epochs", 1.5, "a whole number in [0, 20]"),
        ("warmup_epochs", 21, "a whole number in [0, 20]"),
        ("augmentation_strength", 1.1, "a number in [0, 1]"),
        ("augmentation", "yes", "true or false"),
        ("optimizer", "lion", "one of sgd, adam, adamw"),
        ("lr_schedule", None, "one of constant, step, cosine, warmup_cosine"),
    ],
)
def test_a_refusal_names_the_setting_what_came_and_what_is_allowed(name: str, value: object, allowed: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        TrainingConfig().with_changes({name: value})

    assert str(refusal.value) == f"{name} must be {allowed}, got {value!r}"


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 10},
        {"learning_rate": 1e-9},
        {"batch_size": 64.0},
        {"weight_decay": 0},
        {"weight_decay": 1},
        {"dropout": 0.5},
        {"warmup_epochs": 20},
        {"augmentation_strength": 1},
        {"optimizer": "sgd", "lr_schedule": "step"},
    ],
)
def test_the_bounds_themselves_are_allowed(changes: dict[str, object]) -> None:
    config = TrainingConfig().with_changes(changes)

    assert all(getattr(config, name) == value for name, value in changes.items())


@given(st.sampled_from(SETTINGS), anything)
def test_any_value_is_taken_as_it_is_or_refused_in_one_short_line(name: str, value: object) -> None:
    refusal = ""
    config = TrainingConfig()
    try:
        config = config.with_changes({name: value})
    except ConfigError as error:
        refusal = str(error)

    assert getattr(config, name) == value or refusal.startswith(f"{name} must be ")
    assert len(refusal) < 250


def test_an_unknown_setting_is_refused_with_the_list_of_settings() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'momentum'; the settings are .*weight_decay"):
        TrainingConfig().with_changes({"momentum": 0.5})


def test_a_config_survives_pickling() -> None:
    config = TrainingConfig(optimizer="sgd", learning_rate=0.05, augmentation=True)

    assert pickle.loads(pickle.dumps(config)) == config
