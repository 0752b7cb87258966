"""A call is written down before it is answered; calls take turns; a call that is cut short keeps what it trained."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ml_trainer_env.server.episodes import open_episode
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.store import StoreError

Serve = Callable[..., Any]


async def started(executor: Any, epochs: int) -> None:
    while executor.trained < epochs:
        await asyncio.sleep(0)


def test_a_reply_is_in_the_journal_when_it_is_given(serve: Serve) -> None:
    async def play() -> tuple[list[dict[str, Any]], Any]:
        async with serve() as server:
            opened = await server.open(episode_id="e", seed=5, rubric="v2")
            replies = [
                await opened.call("configure_training", {"optimizer": "sgd"}),
                await opened.call("run_epochs", {"num_epochs": 3}),
                await opened.call("get_training_status", {}),
            ]
            return replies, await server.journal.load("e")

    replies, journaled = asyncio.run(play())

    assert [call.reply for call in journaled.calls] == replies
    assert [call.tool for call in journaled.calls] == ["configure_training", "run_epochs", "get_training_status"]
    assert journaled.calls[0].arguments == {"optimizer": "sgd"}
    assert len(journaled.calls[1].units) == 3
    assert journaled.calls[1].weights_hash == replies[1]["weights_hash"]
    assert (journaled.header.seed, journaled.header.rubric, journaled.header.task) == (5, "v2", "easy_mnist")
    assert journaled.header.versions == {"engine": "pure"}


def test_a_refusal_is_in_the_journal_and_changes_nothing(serve: Serve) -> None:
    async def play() -> Any:
        async with serve() as server:
            opened = await server.open(episode_id="e")
            with pytest.raises(EpisodeError, match="nothing to submit"):
                await opened.call("submit_model", {})
            await opened.refuse("run_epochs", {"epochs": 3}, "Unexpected keyword argument")
            return await server.journal.load("e"), opened.step_count

    journaled, steps = asyncio.run(play())

    assert [call.reply for call in journaled.calls] == [None, None]
    assert "nothing to submit" in journaled.calls[0].error
    assert [call.reached for call in journaled.calls] == [True, False]
    assert steps == 2


def test_calls_that_change_something_take_turns(serve: Serve) -> None:
    async def play() -> list[list[int]]:
        async with serve() as server:
            opened = await server.open()
            replies = await asyncio.gather(*(opened.call("run_epochs", {"num_epochs": 2}) for _ in range(3)))
            return [[row["epoch"] for row in reply["epochs"]] for reply in replies]

    assert asyncio.run(play()) == [[1, 2], [3, 4], [5, 6]]


def test_a_look_is_answered_while_another_call_trains(serve: Serve) -> None:
    async def play() -> tuple[int, int]:
        async with serve() as server:
            opened = await server.open()
            server.executor.hold.clear()
            training = asyncio.create_task(opened.call("run_epochs", {"num_epochs": 2}))
            await started(server.executor, 1)
            seen = await opened.call("get_training_status", {})
            server.executor.hold.set()
            return seen["current_epoch"], (await training)["current_epoch"]

    assert asyncio.run(play()) == (0, 2)


def test_a_cancelled_call_stops_and_what_it_trained_is_spent(serve: Serve) -> None:
    async def play() -> tuple[int, Any]:
        async with serve() as server:
            opened = await server.open(episode_id="e")
            told: list[int] = []

            def tell(progress: Any) -> None:
                told.append(progress.done)
                if progress.done == 3:
                    server.executor.hold.clear()

            call = asyncio.create_task(opened.call("run_epochs", {"num_epochs": 20}, tell))
            await started(server.executor, 4)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            server.executor.hold.set()
            # The next call waits until the cancelled one is written down.
            reply = await opened.call("run_epochs", {"num_epochs": 1})
            return reply["current_epoch"], await server.journal.load("e")

    epoch, journaled = asyncio.run(play())

    assert epoch == 4
    assert len(journaled.calls[0].units) == 3
    assert "the call was cancelled. 3 of 20 epochs completed" in journaled.calls[0].error


def test_a_call_that_is_cancelled_in_the_queue_never_happened(serve: Serve) -> None:
    async def play() -> tuple[list[str], int]:
        async with serve() as server:
            opened = await server.open(episode_id="e")
            server.executor.hold.clear()
            first = asyncio.create_task(opened.call("run_epochs", {"num_epochs": 1}))
            await started(server.executor, 1)
            second = asyncio.create_task(opened.call("run_epochs", {"num_epochs": 5}))
            await asyncio.sleep(0)
            second.cancel()
            server.executor.hold.set()
            await asyncio.wait({first, second})
            return [call.tool for call in (await server.journal.load("e")).calls], opened.episode.history.epochs

    assert asyncio.run(play()) == (["run_epochs"], 1)


def test_reopening_stops_the_other_session_and_keeps_what_it_trained(serve: Serve) -> None:
    async def play() -> tuple[int, str]:
        async with serve() as server:
            first = await server.open(episode_id="e")
            server.executor.hold.clear()
            lost = asyncio.create_task(first.call("run_epochs", {"num_epochs": 5}))
            await started(server.executor, 1)
            second = await server.open(episode_id="e", resume=True)
            server.executor.hold.set()
            with pytest.raises(EpisodeError, match="another session goes on with it"):
                await lost
            with pytest.raises(EpisodeError, match=r"does not play the episode any more.*resume=true"):
                await first.call("run_epochs", {"num_epochs": 1})
            reply = await second.call("run_epochs", {"num_epochs": 2})
            assert second.last_call is not None
            return reply["current_epoch"], str(second.last_call.error)

    epoch, error = asyncio.run(play())

    assert epoch == 2
    assert "0 of 5 epochs completed" in error


def test_a_server_that_lost_an_episode_to_another_one_cannot_write_to_it(serve: Serve) -> None:
    async def play() -> tuple[int, int]:
        async with serve() as one, serve() as other:
            ours = await one.open(episode_id="e")
            await ours.call("run_epochs", {"num_epochs": 1})
            theirs = await other.open(episode_id="e", resume=True)
            with pytest.raises(EpisodeError, match=r"another session has taken this episode over; this call does not"):
                await ours.call("run_epochs", {"num_epochs": 1})
            reply = await theirs.call("run_epochs", {"num_epochs": 1})
            return reply["current_epoch"], len((await other.journal.load("e")).calls)

    assert asyncio.run(play()) == (2, 2)


def test_a_call_that_cannot_be_written_down_does_not_count(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> tuple[int, int]:
        async with serve() as server:
            opened = await server.open(episode_id="e")
            await opened.call("run_epochs", {"num_epochs": 1})

            async def full(*_: object) -> None:
                raise StoreError("the journal cannot be written: the disk is full")

            with monkeypatch.context() as patch:
                patch.setattr(server.journal, "append", full)
                with pytest.raises(EpisodeError, match=r"disk is full; this call does not count. Go on with it by"):
                    await opened.call("run_epochs", {"num_epochs": 3})
            with pytest.raises(EpisodeError, match="does not play the episode any more"):
                await opened.call("get_training_status", {})
            back = await server.open(episode_id="e", resume=True)
            return back.episode.history.epochs, (await back.call("run_epochs", {"num_epochs": 1}))["current_epoch"]

    assert asyncio.run(play()) == (1, 2)


def test_a_client_that_polls_does_not_fill_the_disk(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_episode, "MAX_IDLE_CALLS", 3)

    async def play() -> int:
        async with serve() as server:
            opened = await server.open(episode_id="e")
            for _ in range(10):
                await opened.call("get_training_status", {})
            await opened.call("run_epochs", {"num_epochs": 1})
            return len((await server.journal.load("e")).calls)

    assert asyncio.run(play()) == 3 + 1


def test_sessions_that_want_the_same_epoch_train_it_once(serve: Serve) -> None:
    async def play() -> tuple[int, list[str], list[bool]]:
        async with serve() as server:
            sessions = [await server.open() for _ in range(8)]
            replies = await asyncio.gather(*(s.call("run_epochs", {"num_epochs": 5}) for s in sessions))
            return (
                server.executor.trained,
                [reply["weights_hash"] for reply in replies],
                [reply["from_cache"] for reply in replies],
            )

    trained, hashes, from_cache = asyncio.run(play())

    assert trained == 5
    assert len(set(hashes)) == 1
    assert 1 <= from_cache.count(False) <= trained, "each epoch is new to the session that began it, and to no other"


def test_an_epoch_that_is_shared_goes_on_when_one_of_its_sessions_leaves(serve: Serve) -> None:
    async def play() -> tuple[int, int]:
        async with serve() as server:
            leaver, stayer = await server.open(), await server.open()
            server.executor.hold.clear()
            first = asyncio.create_task(leaver.call("run_epochs", {"num_epochs": 2}))
            await started(server.executor, 1)
            second = asyncio.create_task(stayer.call("run_epochs", {"num_epochs": 2}))
            for _ in range(5):
                await asyncio.sleep(0.01)
            first.cancel()
            await asyncio.wait({first})
            server.executor.hold.set()
            return (await second)["current_epoch"], server.executor.trained

    assert asyncio.run(play()) == (2, 2)


def test_with_the_cache_off_every_epoch_is_trained(serve: Serve) -> None:
    async def play() -> tuple[int, list[bool]]:
        async with serve(cache=False) as server:
            replies = [await (await server.open()).call("run_epochs", {"num_epochs": 2}) for _ in range(2)]
            return server.executor.trained, [reply["from_cache"] for reply in replies]

    assert asyncio.run(play()) == (4, [False, False])


def test_an_episode_holds_the_arrays_of_no_epoch_it_has_left_behind(serve: Serve) -> None:
    async def play() -> list[bool]:
        async with serve() as server:
            opened = await server.open()
            await opened.call("run_epochs", {"num_epochs": 5})
            models = [record.trained.ref for record in opened.episode.history.records]
            parents = [model.parent for model in models if model.parent is not None]
            return [model.state is None for model in (*models, *parents)]

    held = asyncio.run(play())

    assert len(held) == 10
    assert all(held)
