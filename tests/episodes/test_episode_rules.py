"""The rules of an episode: budgets, refusals, divergence, checkpoints and endings."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from ml_trainer_env.server.episodes.call_counts import MAX_CHANGES
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.state import FreshState
from ml_trainer_env.server.tuning.episode import TuningEpisode

Begin = Callable[..., Any]
Epoch = Callable[..., Any]


def test_an_episode_starts_with_the_whole_budget_and_nothing_to_show(begin: Begin) -> None:
    reply = begin().status()

    assert reply["current_epoch"] == 0
    assert reply["remaining_budget"] == reply["max_epochs"] == 100
    assert reply["train_loss"] is None
    assert reply["best_val_accuracy"] == 0.0
    assert reply["convergence_signal"] == "not_started"
    assert reply["reward"] == 0.0
    assert not reply["done"]


def test_running_epochs_spends_budget_and_shows_a_row_for_each(begin: Begin, epoch: Epoch) -> None:
    reply = begin(epoch(0.5), epoch(0.6), epoch(0.55)).run(3)

    assert reply["current_epoch"] == 3
    assert reply["remaining_budget"] == 97
    assert [row["val_accuracy"] for row in reply["epochs"]] == [0.5, 0.6, 0.55]
    assert [row["epoch"] for row in reply["epochs"]] == [1, 2, 3]
    assert reply["best_val_accuracy"] == 0.6
    assert reply["best_val_epoch"] == 2


@pytest.mark.parametrize("bad", [0, 21, -1, 1.5, "3", None, True, math.nan, [1], 10**30])
def test_a_refused_number_of_epochs_names_the_bounds_and_changes_nothing(begin: Begin, bad: object) -> None:
    play = begin()

    with pytest.raises(ConfigError, match=r"num_epochs must be a whole number in \[1, 20\], got "):
        play.run(bad)

    assert play.status()["current_epoch"] == 0
    assert not play.executor.jobs


def test_training_stops_at_the_end_of_the_budget_and_is_refused_after_it(begin: Begin) -> None:
    play = begin(task="hard_cifar")
    for _ in range(3):
        play.run(20)

    with pytest.raises(EpisodeError, match="budget of 60 epochs is used up; call submit_model"):
        play.run(1)

    assert len(play.executor.jobs) == 60


def test_the_last_call_of_the_budget_runs_only_what_is_left(begin: Begin) -> None:
    play = begin(task="hard_cifar")
    play.run(19)
    play.run(20)
    play.run(20)

    reply = play.run(20)

    assert len(reply["epochs"]) == 1
    assert reply["remaining_budget"] == 0


@pytest.mark.parametrize(
    "act",
    [
        lambda e: e.configure({"dropout": 0.3}),
        lambda e: e.configure({"optimizer": "sgd"}),
        lambda e: e.configure({}, reinitialize=True),
        lambda e: e.adjust_learning_rate(0.01),
        lambda e: e.toggle_augmentation(True, 0.7),
        lambda e: e.save_checkpoint("kept"),
        lambda e: e.restore_checkpoint("before"),
        lambda e: e.list_checkpoints(),
        lambda e: e.status(),
    ],
    ids=["dropout", "optimizer", "reinitialize", "rate", "augmentation", "save", "restore", "list", "status"],
)
def test_no_call_gives_budget_back_or_pays_anything(begin: Begin, act: Callable[[TuningEpisode], Any]) -> None:
    play = begin()
    play.run(2)
    play(lambda e: e.save_checkpoint("before"))
    play.run(3)

    reply = play(act)

    assert reply["current_epoch"] == 5
    assert reply["remaining_budget"] == 95
    assert reply["reward"] == 0.0


def test_divergence_stops_the_call_and_training_is_refused_until_the_weights_are_new(
    begin: Begin, epoch: Epoch
) -> None:
    play = begin(epoch(0.5), epoch(0.1, val_loss=math.nan, train_loss=math.inf), epoch(0.6))

    reply = play.run(5)

    assert reply["current_epoch"] == 2
    assert reply["is_diverged"]
    assert reply["convergence_signal"] == "diverged"
    assert reply["train_loss"] is None
    with pytest.raises(EpisodeError, match=r"diverged.*reinitialize=true.*restore_checkpoint"):
        play.run(1)
    with pytest.raises(EpisodeError, match="diverged"):
        play(lambda e: e.save_checkpoint("broken"))
    fresh = play.configure(reinitialize=True, learning_rate=0.0001)
    assert not fresh["is_diverged"]
    assert fresh["remaining_budget"] == 98
    assert play.run(1)["val_accuracy"] == 0.6


def test_a_checkpoint_brings_back_the_state_but_no_budget(begin: Begin, epoch: Epoch) -> None:
    play = begin(epoch(0.5), epoch(0.6), epoch(0.1, train_loss=1e9), epoch(0.7))
    play.run(2)
    play(lambda e: e.save_checkpoint("good"))
    play.run(1)

    reply = play(lambda e: e.restore_checkpoint("good"))
    play.run(1)

    assert not reply["is_diverged"]
    assert reply["remaining_budget"] == 97
    assert reply["checkpoints"] == [{"name": "good", "epoch": 2, "val_accuracy": 0.6}]
    assert play.executor.jobs[-1].state.epoch == 2
    assert play.executor.jobs[-1].state.weights["weight"] == 2


def test_reinitialising_draws_other_weights_each_time(begin: Begin) -> None:
    play = begin()
    starts = []
    for _ in range(3):
        play.run(1)
        starts.append(play.executor.jobs[-1].state)
        play.configure(reinitialize=True)

    assert all(isinstance(start, FreshState) for start in starts)
    assert len({start.epoch for start in starts}) == 3


def test_weights_and_momentum_are_kept_when_settings_change(begin: Begin) -> None:
    play = begin()
    play.run(1)
    play.configure(dropout=0.4, batch_size=128, weight_decay=0.01, learning_rate=0.1)
    play.run(1)

    state = play.executor.jobs[-1].state
    assert state.weights["weight"] == 1
    assert state.optimizer_kind == play.executor.jobs[-1].config.optimizer


def test_a_schedule_spans_the_budget_left_when_it_is_configured(begin: Begin) -> None:
    play = begin()
    play.run(20)
    play.configure(lr_schedule="cosine", learning_rate=0.1)

    plan = play.executor.jobs and play.episode.run.plan

    assert (plan.start_epoch, plan.span_epochs) == (20, 80)
    assert play.status()["learning_rate"] == 0.1


def test_settings_apart_from_the_schedule_do_not_restart_it(begin: Begin) -> None:
    play = begin()
    play.configure(lr_schedule="cosine", learning_rate=0.1)
    play.run(20)
    before = play.status()["learning_rate"]

    reply = play.configure(dropout=0.2, lr_schedule="cosine", learning_rate=0.1)

    assert reply["learning_rate"] == before < 0.1


def test_a_manual_rate_lasts_and_the_schedule_goes_on_from_it(begin: Begin) -> None:
    play = begin()
    play.configure(lr_schedule="cosine", learning_rate=0.1)
    play.run(10)

    assert play(lambda e: e.adjust_learning_rate(0.01))["learning_rate"] == pytest.approx(0.01)
    after = play.run(5)["learning_rate"]

    assert 0.005 < after < 0.01
    assert play.status()["configuration"]["learning_rate"] == 0.01


def test_a_submit_before_any_epoch_is_refused(begin: Begin) -> None:
    with pytest.raises(EpisodeError, match="before an epoch has run; call run_epochs first"):
        begin().submit()


def test_a_submission_ends_the_episode_with_its_score_and_figures(begin: Begin, epoch: Epoch) -> None:
    play = begin(epoch(0.9275))
    play.run(1)

    reply = play.submit()

    assert reply["done"]
    assert reply["score"] == 0.5
    assert reply["details"] == {"val_accuracy": 0.9275, "accuracy_score": 0.5}
    assert reply["test_accuracy"] == 0.4321
    assert reply["reward"] == 0.5


@pytest.mark.parametrize("act", [lambda e: e.run_epochs(1), lambda e: e.submit(), lambda e: e.configure({})])
def test_after_the_end_everything_that_changes_something_is_refused(
    begin: Begin, act: Callable[[TuningEpisode], Any]
) -> None:
    play = begin()
    play.run(1)
    play.submit()

    with pytest.raises(EpisodeError, match="episode is over; call reset"):
        play(act)

    assert play.status()["reward"] == 0.0


def test_the_sixtieth_change_submits_by_itself_and_pays_once(begin: Begin, epoch: Epoch) -> None:
    play = begin(epoch(0.9275))
    replies = [play.run(1) for _ in range(MAX_CHANGES)]

    assert not any(reply["done"] for reply in replies[:-1])
    assert replies[-1]["done"]
    assert replies[-1]["score"] == 0.5
    assert sum(reply["reward"] for reply in replies) == pytest.approx(0.3 * 0.9275 + 0.5)


def test_refused_calls_and_questions_do_not_count_as_changes(begin: Begin) -> None:
    play = begin()
    for _ in range(2 * MAX_CHANGES):
        play.status()
        with pytest.raises(ConfigError):
            play.run(0)

    assert not play.status()["done"]


def test_the_fifth_call_after_the_budget_submits_by_itself(begin: Begin, epoch: Epoch) -> None:
    play = begin(epoch(0.9275), task="hard_cifar")
    for _ in range(3):
        play.run(20)
    play.status()
    for _ in range(3):
        with pytest.raises(EpisodeError, match="used up"):
            play.run(1)

    reply = play.run(1)

    assert reply["done"]
    assert reply["reward"] == reply["score"] > 0.7
    assert play.status()["reward"] == 0.0


def test_an_episode_that_never_trained_ends_with_nothing(begin: Begin) -> None:
    play = begin()
    for _ in range(MAX_CHANGES):
        reply = play.configure(dropout=0.1)

    assert reply["done"]
    assert reply["score"] == 0.0
    assert reply["reward"] == 0.0


def test_a_worker_that_fails_costs_the_call_but_no_finished_epoch(begin: Begin, epoch: Epoch) -> None:
    play = begin(epoch(0.5), epoch(0.6), ExecutorError("the worker process died (SIGKILL)"), epoch(0.7))

    with pytest.raises(EpisodeError, match=r"died \(SIGKILL\)\. 2 of 5 epochs completed.*goes on from epoch 2"):
        play.run(5)

    assert play.status()["current_epoch"] == 2
    reply = play.run(1)
    assert reply["current_epoch"] == 3
    assert reply["reward_parts"]["progress"] == pytest.approx(0.3 * 0.7)


def test_a_call_over_its_time_stops_with_an_error_and_nothing_trains_on(begin: Begin) -> None:
    play = begin(call_s=0.2, epoch_s=0.15)

    with pytest.raises(EpisodeError, match=r"took longer than 0\.2 s\. \d+ of 20 epochs completed") as refused:
        play.run(20)

    assert f"the episode goes on from epoch {play.status()['current_epoch']}" in str(refused.value)
    assert play.status()["current_epoch"] < 20
    assert len(play.executor.jobs) == 1


def test_a_question_is_answered_while_training_runs(begin: Begin) -> None:
    play = begin(epoch_s=0.01)

    async def ask_meanwhile(episode: TuningEpisode) -> dict[str, Any]:
        training = asyncio.create_task(episode.run_epochs(20))
        await asyncio.sleep(0.05)
        reply = await episode.status()
        assert not training.done()
        await training
        return reply

    assert 0 < play(ask_meanwhile)["current_epoch"] < 20


def test_an_interruption_fails_the_call_and_keeps_the_epochs_it_completed(begin: Begin) -> None:
    play = begin(epoch_s=0.01)

    async def interrupt_meanwhile(episode: TuningEpisode) -> dict[str, Any]:
        training = asyncio.create_task(episode.run_epochs(20))
        while not episode.history.epochs:
            await asyncio.sleep(0.005)
        episode.interrupt("the client has gone")
        with pytest.raises(EpisodeError, match=r"training failed: the client has gone\. \d+ of 20 epochs completed"):
            await training
        return await episode.status()

    reply = play(interrupt_meanwhile)

    assert 0 < reply["current_epoch"] < 20
    assert play.run(1)["current_epoch"] == reply["current_epoch"] + 1


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, 3, None, "é", ".hidden", "a\n"])
def test_a_checkpoint_needs_a_plain_name(begin: Begin, name: object) -> None:
    play = begin()
    play.run(1)

    with pytest.raises(EpisodeError, match="name must be 1 to 64 letters"):
        play(lambda e: e.save_checkpoint(name))

    assert play(lambda e: e.list_checkpoints())["checkpoints"] == []


def test_an_episode_keeps_ten_checkpoints_and_a_name_can_be_used_again(begin: Begin) -> None:
    play = begin()
    play.run(1)
    for index in range(10):
        play(lambda e, index=index: e.save_checkpoint(f"c{index}"))

    with pytest.raises(EpisodeError, match="at most 10 checkpoints"):
        play(lambda e: e.save_checkpoint("one-more"))

    play.run(1)
    listing = play(lambda e: e.save_checkpoint("c3"))["checkpoints"]
    assert len(listing) == 10
    assert listing[3] == {"name": "c3", "epoch": 2, "val_accuracy": 0.5}


def test_signals_look_only_at_the_present_run(begin: Begin, epoch: Epoch) -> None:
    falling = [epoch(val_loss=2.0 - 0.1 * i) for i in range(6)]
    play = begin(*falling)
    assert play.run(6)["convergence_signal"] == "improving"

    play.configure(reinitialize=True)

    assert play.status()["convergence_signal"] == "warming_up"
    assert len(play.status()["val_loss_history_last_10"]) == 6


def test_checkpoint_calls_do_not_count_among_the_sixty(begin: Begin) -> None:
    play = begin()
    play.run(1)
    for _ in range(MAX_CHANGES // 2):
        play(lambda e: e.save_checkpoint("kept"))
        play(lambda e: e.restore_checkpoint("kept"))
        play(lambda e: e.list_checkpoints())
    replies = [play.configure(dropout=0.1) for _ in range(MAX_CHANGES - 1)]

    assert [reply["done"] for reply in replies] == [False] * (MAX_CHANGES - 2) + [True]


def test_an_episode_saves_64_times_and_restores_128_times(begin: Begin) -> None:
    play = begin()
    play.run(1)
    for _ in range(64):
        play(lambda e: e.save_checkpoint("kept"))
    for _ in range(128):
        play(lambda e: e.restore_checkpoint("kept"))

    with pytest.raises(EpisodeError, match="may save a checkpoint 64 times, and has done so"):
        play(lambda e: e.save_checkpoint("kept"))
    with pytest.raises(EpisodeError, match="may restore a checkpoint 128 times, and has done so"):
        play(lambda e: e.restore_checkpoint("kept"))

    assert not play.run(1)["done"]


def test_the_thousandth_call_of_any_kind_submits_and_pays_once(begin: Begin, epoch: Epoch) -> None:
    play = begin(epoch(0.9275))

    async def look(episode: TuningEpisode) -> list[dict[str, Any]]:
        first = await episode.run_epochs(1)
        for _ in range(499):
            with pytest.raises(ConfigError):
                await episode.run_epochs(0)
        for _ in range(100):
            episode.count_refused_call()
        return [first, *[await episode.status() for _ in range(401)]]

    replies = play(look)

    assert [reply["done"] for reply in replies] == [False] * 400 + [True, True]
    assert replies[-2]["score"] == 0.5
    assert sum(reply["reward"] for reply in replies) == pytest.approx(0.3 * 0.9275 + 0.5)


def test_a_checkpoint_saved_after_a_restore_is_listed_with_the_accuracy_of_its_model(
    begin: Begin, epoch: Epoch
) -> None:
    play = begin(epoch(0.6), epoch(0.2))
    play.run(1)
    play(lambda e: e.save_checkpoint("good"))
    play.run(1)
    play(lambda e: e.restore_checkpoint("good"))

    listing = play(lambda e: e.save_checkpoint("copy"))["checkpoints"]

    assert [kept["val_accuracy"] for kept in listing] == [0.6, 0.6]


def test_the_end_of_an_episode_tells_its_grade_in_one_place_too(begin: Begin, epoch: Epoch) -> None:
    submitted, by_itself = begin(epoch(0.9275)), begin(epoch(0.9275))
    submitted.run(1)
    by_itself.run(1)
    last = [by_itself.configure(dropout=0.1) for _ in range(MAX_CHANGES - 1)][-1]

    for reply in (submitted.submit(), submitted.status(), last):
        assert reply["grade"] == {"score": 0.5, "details": {"val_accuracy": 0.9275, "accuracy_score": 0.5}}
        assert reply["grade"] == {"score": reply["score"], "details": reply["details"]}
