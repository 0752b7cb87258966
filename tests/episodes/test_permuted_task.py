"""The task against the clock: seconds are spent once, by the record; and its grade is the test images'."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.recorded import VerifyingSource
from ml_trainer_env.server.episodes.replay import replay_calls
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.store.tables import CALLS
from ml_trainer_env.server.trainer.state import weights_hash
from ml_trainer_env.server.tuning.episode import TuningEpisode
from ml_trainer_env.server.tuning.tools import TOOLS
from permuted_mnist.mnist import load_mnist
from permuted_mnist.tasks import draw_task

Begin = Callable[..., Any]
Serve = Callable[..., Any]
TASK = "permuted_mnist"


def test_an_episode_begins_with_30_epochs_and_60_seconds(begin: Begin) -> None:
    reply = begin(task=TASK).status()

    assert (reply["remaining_budget"], reply["remaining_seconds"]) == (30, 60.0)


def test_where_time_is_no_matter_the_seconds_left_are_null(begin: Begin) -> None:
    play = begin(seconds=1000.0)
    play.run(2)

    assert play.status()["remaining_seconds"] is None
    assert play.status()["remaining_budget"] == 98


def test_an_epoch_costs_what_it_took(begin: Begin) -> None:
    play = begin(task=TASK, seconds=1.25)

    assert play.run(3)["remaining_seconds"] == 56.25
    assert play.run(1)["remaining_seconds"] == 55.0


@pytest.mark.parametrize(("seconds", "epochs"), [(60.0, 1), (59.9, 2), (10.0, 6), (7.0, 9), (100.0, 1), (0.1, 20)])
def test_no_epoch_begins_once_the_seconds_are_spent(begin: Begin, seconds: float, epochs: int) -> None:
    reply = begin(task=TASK, seconds=seconds).run(20)

    assert reply["current_epoch"] == len(reply["epochs"]) == epochs


def test_the_end_of_the_seconds_is_the_end_of_the_budget(begin: Begin) -> None:
    play = begin(task=TASK, seconds=7.0, held_out=0.9425)

    reply = play.run(20)

    assert (reply["remaining_budget"], reply["remaining_seconds"]) == (0, 0.0)
    assert "The budget is used up" in reply["message"]
    for _ in range(4):
        with pytest.raises(EpisodeError, match=r"budget of 60 seconds of training is used up; call submit_model"):
            play.run(1)
    ended = play.run(1)
    assert ended["done"]
    assert ended["score"] == ended["reward"] == 0.5


def test_the_epochs_may_end_first(begin: Begin) -> None:
    play = begin(task=TASK, seconds=0.5)
    play.run(20)
    play.run(20)

    assert play.status()["remaining_seconds"] == 45.0
    with pytest.raises(EpisodeError, match="budget of 30 epochs is used up"):
        play.run(1)


@pytest.mark.parametrize(
    "act",
    [
        lambda e: e.configure({"optimizer": "sgd", "lr_schedule": "cosine"}),
        lambda e: e.configure({}, reinitialize=True),
        lambda e: e.adjust_learning_rate(0.01),
        lambda e: e.toggle_augmentation(True, 0.7),
        lambda e: e.save_checkpoint("kept"),
        lambda e: e.restore_checkpoint("before"),
        lambda e: e.status(),
    ],
    ids=["configure", "reinitialize", "rate", "augmentation", "save", "restore", "status"],
)
def test_no_call_gives_a_second_back(begin: Begin, act: Callable[[TuningEpisode], Any]) -> None:
    play = begin(task=TASK, seconds=3.0)
    play.run(2)
    play(lambda e: e.save_checkpoint("before"))
    play.run(3)

    assert play(act)["remaining_seconds"] == 45.0


def test_a_schedule_spans_the_epochs_left_however_long_they_take(begin: Begin) -> None:
    play = begin(task=TASK, seconds=5.0)
    play.run(4)
    play.configure(lr_schedule="cosine")

    assert play.episode.run.plan.span_epochs == 26


def test_an_epoch_from_the_cache_costs_what_it_took_when_it_was_trained(serve: Serve) -> None:
    async def twice() -> list[dict[str, Any]]:
        async with serve() as server:
            server.executor.slowness = 2.0
            first = await (await server.open(task_id=TASK)).call("run_epochs", {"num_epochs": 20})
            server.executor.slowness = 0.0
            second = await (await server.open(task_id=TASK)).call("run_epochs", {"num_epochs": 20})
            return [first, second]

    first, second = asyncio.run(twice())

    assert second["from_cache"]
    assert 0 < first["current_epoch"] < 20
    for figure in ("current_epoch", "remaining_budget", "remaining_seconds", "weights_hash"):
        assert second[figure] == first[figure]


def test_a_fork_has_spent_its_parents_seconds(serve: Serve) -> None:
    async def fork() -> tuple[dict[str, Any], dict[str, Any]]:
        async with serve() as server:
            parent = await server.open(task_id=TASK, episode_id="parent")
            spent = await parent.call("run_epochs", {"num_epochs": 3})
            server.executor.slowness = 0.0
            child = await server.open(fork_from="parent")
            return spent, await child.call("get_training_status", {})

    spent, begun = asyncio.run(fork())

    assert begun["remaining_seconds"] == spent["remaining_seconds"] < 60.0


@pytest.mark.parametrize("slowness", [0.0, 100.0])
def test_the_recorded_seconds_decide_when_an_episode_is_trained_again_on_a_faster_or_slower_machine(
    serve: Serve, slowness: float
) -> None:
    async def again() -> tuple[int, int, list[object]]:
        async with serve(cache=False) as server:
            server.executor.slowness = 2.0
            played = await server.open(task_id=TASK, episode_id="e")
            for epochs in (2, 20):
                await played.call("run_epochs", {"num_epochs": epochs})
            await played.call("submit_model", {})
            journaled = await server.journal.load("e")
            server.executor.slowness = slowness
            episode = await server.registry.recreate(journaled.header)
            verifying = VerifyingSource(episode.source)
            await replay_calls(episode, TOOLS, journaled.calls, verifying)
            return played.episode.history.epochs, verifying.count, verifying.differences

    spent, trained_again, differences = asyncio.run(again())

    assert 2 < spent < 20
    assert trained_again == spent
    assert differences == []


def test_the_score_is_that_of_the_model_submitted_on_the_test_images(begin: Begin, epoch: Callable[..., Any]) -> None:
    play = begin(epoch(0.999), epoch(0.5), task=TASK, held_out=0.98)
    assert "test_accuracy" not in play.run(2)

    reply = play.submit()

    assert reply["score"] == 0.9412
    assert reply["details"] == {"test_accuracy": 0.98, "accuracy_score": 0.9412}
    assert reply["test_accuracy"] == 0.98


def test_a_submit_before_any_epoch_is_refused(begin: Begin) -> None:
    with pytest.raises(EpisodeError, match="before an epoch has run; call run_epochs first"):
        begin(task=TASK).submit()


def test_a_submit_of_fresh_weights_is_refused(begin: Begin) -> None:
    play = begin(task=TASK, held_out=0.98)
    play.run(1)
    play.configure(reinitialize=True)

    with pytest.raises(EpisodeError, match="before an epoch has run"):
        play.submit()


def test_the_model_is_graded_as_it_stands_and_not_at_its_best_epoch(begin: Begin, epoch: Callable[..., Any]) -> None:
    play = begin(epoch(0.999), epoch(0.1), task=TASK, held_out=0.98)
    play.run(2)
    handed_in = play.status()["weights_hash"]

    reply = play.submit()

    assert reply["graded_epoch"] == 2
    assert weights_hash(play.executor.measured[-1].state) == handed_in


def test_a_model_that_cannot_be_measured_is_not_graded_until_it_can_be(begin: Begin) -> None:
    play = begin(task=TASK, held_out=ExecutorError("the worker process died (SIGKILL)"))
    play.run(1)

    with pytest.raises(EpisodeError, match=r"could not be measured.*SIGKILL.*call submit_model again"):
        play.submit()

    assert not play.status()["done"]
    play.executor.held_out = 0.985
    assert play.submit()["score"] == 0.9999


def test_the_permutation_is_that_of_the_challenges_first_task_of_the_seed(begin: Begin) -> None:
    task = draw_task(load_mnist(), seed=7, number=0)
    play = begin(task=TASK, seed=7)
    play.run(1)

    permutation = play.executor.jobs[0].permutation

    assert np.array_equal(permutation.pixels, task.pixel_permutation)
    assert np.array_equal(permutation.classes, task.label_permutation)


def test_another_seed_has_another_permutation_of_the_same_images(begin: Begin) -> None:
    jobs = []
    for seed in (1, 1, 2):
        play = begin(task=TASK, seed=seed)
        play.run(1)
        jobs.append(play.executor.jobs[0])

    assert jobs[0].permutation == jobs[1].permutation != jobs[2].permutation
    assert jobs[0].data.key == jobs[2].data.key


def test_other_tasks_have_no_permutation(begin: Begin) -> None:
    play = begin()
    play.run(1)

    assert play.executor.jobs[0].permutation is None


def forget_remaining_seconds(connection: sa.Connection) -> None:
    """Remove the field from the replies in a journal. JSON is text in both databases."""
    for number, reply in connection.execute(sa.select(CALLS.c.number, CALLS.c.reply)).fetchall():
        older = {name: value for name, value in reply.items() if name != "remaining_seconds"}
        connection.execute(CALLS.update().where(CALLS.c.number == number).values(reply=older))


def test_an_episode_written_down_before_replies_had_a_field_can_be_resumed(serve: Serve) -> None:
    async def resume() -> dict[str, Any]:
        async with serve() as server:
            played = await server.open(episode_id="e")
            await played.call("run_epochs", {"num_epochs": 2})
            server.database.submit(forget_remaining_seconds).result()
            resumed = await server.open(episode_id="e", resume=True)
            return await resumed.call("get_training_status", {})

    assert asyncio.run(resume())["current_epoch"] == 2
