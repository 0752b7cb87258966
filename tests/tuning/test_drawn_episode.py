"""Laws of an episode of a drawn task with a start and a change on the way, trained for real."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from ml_trainer_env.baselines.session import CallRefusedError
from ml_trainer_env.in_process.tuning import LocalSession
from ml_trainer_env.server.datasets import DataSettings
from ml_trainer_env.server.episodes.errors import ResetError
from ml_trainer_env.server.episodes.game import BeginOptions, TimeLimits
from ml_trainer_env.server.tuning.families.instance import Instance
from ml_trainer_env.server.tuning.game import TuningGame
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.rewards import SHAPING_WEIGHT

NewSession = Callable[..., LocalSession]

BUNDLED = DataSettings(None, False)
BUDGET, CHANGE_AFTER, LARGEST_BATCH = 8, 3, 32
HIDDEN = {"submitted_accuracy", "submitted_loss", "best_accuracy", "best_loss", "x", "oracle", "default", "submitted"}


def run(session: LocalSession, *counts: int) -> list[dict[str, Any]]:
    return [dict(session.call("run_epochs", {"num_epochs": epochs})) for epochs in counts]


def keys_of(value: Any) -> Iterator[str]:
    """Yield all keys of a reply, at any depth."""
    if isinstance(value, dict):
        yield from value
        for part in value.values():
            yield from keys_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from keys_of(part)


@pytest.mark.parametrize("split", [(8,), (2, 1, 1, 4), (3, 5), (1, 7)])
def test_splitting_the_epochs_over_calls_changes_no_bit_also_across_the_change(
    new_session: NewSession, split: Sequence[int]
) -> None:
    one, other = new_session(), new_session()

    whole = run(one, 4, 4)
    parts = run(other, *split)

    assert sum(split) == BUDGET
    assert parts[-1]["weights_hash"] == whole[-1]["weights_hash"]
    losses = [[row["val_loss"] for reply in replies for row in reply["epochs"]] for replies in (whole, parts)]
    assert losses[0] == losses[1]


def test_the_change_shows_in_the_figures_after_it_and_in_none_before(new_session: NewSession) -> None:
    plain, changed = new_session(change=None, change_after=0), new_session()

    before = [run(session, CHANGE_AFTER)[0] for session in (plain, changed)]
    after = [run(session, 1)[0] for session in (plain, changed)]

    assert before[0]["weights_hash"] == before[1]["weights_hash"]
    assert after[0]["weights_hash"] != after[1]["weights_hash"]
    assert after[0]["val_loss"] != after[1]["val_loss"]


def test_restoring_does_not_evade_the_change_since_spent_epochs_count(new_session: NewSession) -> None:
    session, straight = new_session(), new_session(change_after=1)
    session.call("save_checkpoint", {"name": "start"})
    run(session, 1)
    session.call("save_checkpoint", {"name": "early"})
    run(session, CHANGE_AFTER - 1)
    session.call("restore_checkpoint", {"name": "early"})
    restored = run(session, 1)[0]
    other = run(straight, 2)[0]

    assert restored["weights_hash"] == other["weights_hash"], "an old model meets the changed examples"


def test_the_start_can_be_saved_and_tried_again(new_session: NewSession) -> None:
    session = new_session(change=None, change_after=0)
    saved = session.call("save_checkpoint", {"name": "start"})
    first = run(session, 1)[0]
    session.call("restore_checkpoint", {"name": "start"})
    again = run(session, 1)[0]

    assert saved["checkpoints"] == [{"name": "start", "epoch": 0, "val_accuracy": None}]
    assert again["weights_hash"] == first["weights_hash"]
    assert again["current_epoch"] == 2


def test_fresh_weights_know_nothing_of_the_start(new_session: NewSession) -> None:
    hashes = []
    for start in ({}, {"start": None}):
        session = new_session(**start)
        session.call("configure_training", {"reinitialize": True})
        hashes.append(run(session, 1)[0]["weights_hash"])

    assert hashes[0] == hashes[1]
    assert hashes[0] != run(new_session(), 1)[0]["weights_hash"]


def test_a_reset_tells_nothing_of_start_change_and_scales(new_session: NewSession, instance: Instance) -> None:
    network = replace(instance.network, initial_scale=2.5)
    quiet = new_session(start=None, change=None, change_after=0, network=network, input_scale=3.0)

    assert quiet.episode.describe() == new_session().episode.describe()
    assert quiet.brief == new_session().brief


@pytest.mark.parametrize("rubric", [RubricVersion.ACCURACY, RubricVersion.V3])
def test_hidden_figures_are_in_no_reply_before_the_end(new_session: NewSession, rubric: RubricVersion) -> None:
    session = new_session(rubric)
    replies: list[Any] = [session.episode.describe().model_dump(), session.episode.snapshot()]
    replies += run(session, 2, 2)
    for tool in ("get_training_status", "list_checkpoints"):
        replies.append(session.call(tool, {}))
    replies += [session.call("save_checkpoint", {"name": "a"}), session.call("restore_checkpoint", {"name": "a"})]
    submitted = session.call("submit_model", {})

    assert not [HIDDEN & set(keys_of(reply)) for reply in replies if HIDDEN & set(keys_of(reply))]
    assert {"submitted_accuracy", "submitted_loss", "best_accuracy", "best_loss"} <= set(submitted)
    json.dumps(submitted, allow_nan=False)
    if rubric is RubricVersion.ACCURACY:
        assert submitted["score"] == submitted["submitted_accuracy"]
    else:
        x = (submitted["submitted_accuracy"] - 0.4) / (0.8 - 0.4)
        assert submitted["details"]["x"] == pytest.approx(x, abs=1e-4)
        assert submitted["score"] == pytest.approx(max(-0.25, min(1, x)), abs=1e-4)


def test_the_model_is_graded_as_it_stands(new_session: NewSession) -> None:
    session = new_session()
    good = run(session, 2)[0]
    session.call("configure_training", {"optimizer": "sgd", "learning_rate": 10.0})
    spoilt = run(session, 1)[0]
    submitted = session.call("submit_model", {})

    assert spoilt["weights_hash"] != good["weights_hash"]
    assert submitted["graded_epoch"] == 3
    assert submitted["best_accuracy"] != submitted["submitted_accuracy"] or good["val_accuracy"] == 0.0


@pytest.mark.parametrize("rubric", [RubricVersion.ACCURACY, RubricVersion.V3])
def test_rewards_sum_to_the_score_and_a_twentieth_of_the_best_accuracy_in_one_call_or_many(
    new_session: NewSession, rubric: RubricVersion
) -> None:
    for counts in ((6,), (1, 2, 3)):
        session = new_session(rubric)
        replies = [*run(session, *counts), session.call("submit_model", {})]
        total = sum(reply["reward"] for reply in replies)
        best = max(record.metrics.val_accuracy for record in session.episode.history.records)

        assert total == pytest.approx(replies[-1]["score"] + SHAPING_WEIGHT * best, abs=1e-5)
        assert all(one["current_epoch"] <= other["current_epoch"] for one, other in pairwise(replies))


def test_a_batch_above_the_largest_is_refused_in_words_and_changes_nothing(new_session: NewSession) -> None:
    session = new_session()
    before = session.call("get_training_status", {})["configuration"]

    with pytest.raises(CallRefusedError, match=f"batch_size may be at most {LARGEST_BATCH} here, got 256"):
        session.call("configure_training", {"batch_size": 256, "learning_rate": 0.1})

    assert session.call("get_training_status", {})["configuration"] == before
    assert before["batch_size"] == LARGEST_BATCH
    assert session.brief.largest_batch == LARGEST_BATCH


def test_a_hidden_loss_that_is_not_finite_is_a_number_in_the_reply(new_session: NewSession) -> None:
    session = new_session(change=None, change_after=0)
    session.call("configure_training", {"optimizer": "sgd", "learning_rate": 10.0})
    run(session, 4)
    reply = session.call("submit_model", {})

    json.dumps(reply, allow_nan=False)
    assert 0 <= reply["submitted_loss"] <= 1e6
    assert 0 <= reply["score"] <= 1


@pytest.mark.parametrize("task", ["tuning/train/1000000", "permuted_mnist"])
def test_v3_is_refused_in_words_where_nothing_was_calibrated(run_game: Any, task: str) -> None:
    with pytest.raises(ResetError, match=f"rubric v3 compares with a calibrated reference, and {task} has none"):
        run_game(task, "v3")


def test_a_rubric_that_cannot_grade_the_task_is_refused_and_none_is_the_tasks_own(run_game: Any) -> None:
    with pytest.raises(ResetError, match=r"rubric v1 does not grade tuning/train/1000000; choose one of accuracy$"):
        run_game("tuning/train/1000000", "v1")
    with pytest.raises(ResetError, match=r"rubric accuracy does not grade easy_mnist; choose one of v1, v2"):
        run_game("easy_mnist", "accuracy")

    assert run_game("tuning/train/1000000", None).rubric_version is RubricVersion.ACCURACY
    assert run_game("easy_mnist", None).rubric_version is RubricVersion.V1


@pytest.mark.parametrize("rubric", RubricVersion)
def test_the_servers_rubric_holds_for_tasks_that_it_can_grade(trainer_here: Any, rubric: RubricVersion) -> None:
    def own(task: str) -> RubricVersion:
        game, options = TuningGame(BUNDLED, TimeLimits(), rubric), BeginOptions("e", trainer_here.source)
        return trainer_here.loop.run_until_complete(game.begin(task, None, options)).rubric_version

    assert own("permuted_mnist") == (rubric if rubric in {"v1", "v2"} else "v1")
    assert own("tuning/train/1000000") == "accuracy"


@pytest.fixture
def run_game(trainer_here: Any) -> Callable[[str, str | None], Any]:
    """Begins an episode as a server does."""
    game = TuningGame(BUNDLED, TimeLimits())

    def begin(task: str, rubric: str | None) -> Any:
        options = BeginOptions(name="e", rubric=rubric, source=trainer_here.source)
        return trainer_here.loop.run_until_complete(game.begin(task, None, options))

    return begin
