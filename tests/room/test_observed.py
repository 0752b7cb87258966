"""What an observer may see: nothing that only an episode's end tells."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from ml_trainer_env.fleet_models import FleetStatus
from ml_trainer_env.models import TrainingStatus
from ml_trainer_env.server.fleet.draw import draw_setup
from ml_trainer_env.server.fleet.replies import STATUS_SCHEMA as FLEET_REPLY
from ml_trainer_env.server.room.fleet_view import FLEET
from ml_trainer_env.server.room.observed import HIDDEN, columns, without_hidden
from ml_trainer_env.server.room.tuning_view import TUNING
from ml_trainer_env.server.room.views import Views
from ml_trainer_env.server.store import EpisodeHeader
from ml_trainer_env.server.trainer.metrics import EPOCH_FIGURES
from ml_trainer_env.server.tuning.replies import STATUS_SCHEMA as TUNING_REPLY

names = st.sampled_from([*sorted(HIDDEN), "loss", "message"])
values = st.recursive(st.integers(), lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=20)


def named(value: Any) -> set[str]:
    """All names of a JSON value, however deep."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = set(value) if isinstance(value, dict) else set()
    return own.union(*map(named, parts))


@settings(max_examples=50, deadline=None)
@given(values)
def test_hidden_names_are_nowhere_before_the_end_and_nothing_is_lost_after_it(value: Any) -> None:
    assert not named(without_hidden(value, is_over=False)) & HIDDEN
    assert without_hidden(value, is_over=True) == value


@pytest.mark.parametrize(
    ("schema", "status"), [(TUNING_REPLY, TrainingStatus), (FLEET_REPLY, FleetStatus)], ids=["tuning", "fleet"]
)
def test_every_field_that_only_the_last_reply_has_is_hidden(schema: dict[str, Any], status: type[BaseModel]) -> None:
    """A new field of the end must be named as hidden, or here, if any reply may have it."""
    at_the_end = set(schema["properties"]) - set(schema["required"]) - set(status.model_fields) - {"reward_parts"}

    assert "score" in at_the_end
    assert at_the_end <= HIDDEN


@pytest.mark.parametrize("view", [TUNING, FLEET], ids=["tuning", "fleet"])
def test_a_figure_that_no_chart_names_is_not_shown(view: Any) -> None:
    figures = dict.fromkeys([*EPOCH_FIGURES, "loss", "stopped", "hung", "held_out_loss", "test_accuracy"], 0.5)

    shown = columns(view, [(figures, 1.0)])

    assert set(shown) == {*view.figures, "seconds"}
    assert not set(shown) & {"stopped", "hung", "held_out_loss", "test_accuracy"}


def test_figures_that_are_not_finite_are_null() -> None:
    shown = columns(TUNING, [({"val_loss": float("inf"), "train_loss": float("nan"), "val_accuracy": 0.123456}, 1.0)])

    assert (shown["val_loss"], shown["train_loss"], shown["val_accuracy"]) == ([None], [None], [0.1235])


def test_every_task_has_the_view_of_its_game() -> None:
    views = Views((TUNING, FLEET))

    assert [views.of_task(task).game for task in ("easy_mnist", "tuning/train/7", "ranked/0")] == ["tuning"] * 3
    assert [views.of_task(task).game for task in ("fleet_straggler", "fleet/train/7")] == ["fleet"] * 2


def test_a_run_whose_monitoring_is_late_is_not_shown_without_its_session() -> None:
    late = next(index for index in range(512) if draw_setup("train", index, 3).telemetry_delay_us)
    shown = {
        task: FLEET.shown_units(EpisodeHeader("e", task, 3, "recovery", "", {}, 1), None, 12)
        for task in (f"fleet/train/{late}", "fleet/train/0", "fleet/gone/1")
    }

    assert shown == {f"fleet/train/{late}": 0, "fleet/train/0": 12, "fleet/gone/1": 0}
