"""The queue alone: who is next, who has left, and what those who wait hear."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ml_trainer_env.server.executors import job_queue
from ml_trainer_env.server.executors.contract import ExecutorError, wait_quietly
from ml_trainer_env.server.executors.job import Job, UnitResult
from ml_trainer_env.server.executors.job_queue import JobQueue

Run = Callable[[Awaitable[Any]], Any]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
LIMIT_S = 120.0
RESULT = UnitResult(None, {}, "", 0.5, "i")


@pytest.fixture
def queue() -> JobQueue:
    return JobQueue()


def test_tickets_are_taken_in_the_order_they_came(queue: JobQueue, job: Job) -> None:
    lined_up = [queue.put(job, LIMIT_S) for _ in range(3)]

    assert [queue.take() for _ in range(3)] == lined_up
    assert queue.take(timeout_s=0) is None


def test_a_ticket_that_was_put_back_is_next(queue: JobQueue, job: Job) -> None:
    first, _ = (queue.put(job, LIMIT_S) for _ in range(2))
    taken = queue.take()
    assert taken is first

    queue.put_back(taken)

    assert queue.take() is first


def test_the_queue_counts_who_waits_and_who_is_served(queue: JobQueue, job: Job) -> None:
    for _ in range(3):
        queue.put(job, LIMIT_S)
    one, other = queue.take(), queue.take()
    assert one
    assert other
    assert (queue.waiting, queue.busy) == (1, 2)

    queue.put_back(one)
    queue.finish(other)

    assert (queue.waiting, queue.busy) == (2, 0)


def test_a_job_that_waits_hears_its_place_until_it_is_taken(
    run: Run, queue: JobQueue, job: Job, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_queue, "POSITION_INTERVAL_S", 0.001)
    heard: list[int] = []

    async def wait_behind_another() -> object:
        first, second = (queue.put(job, LIMIT_S) for _ in range(2))
        waiting = asyncio.create_task(queue.wait_for(second, heard.append))
        await until(lambda: heard[-1:] == [2])
        assert queue.take() is first
        await until(lambda: heard[-1:] == [1])
        assert queue.take() is second
        count = len(heard)
        await asyncio.sleep(0.02)
        assert len(heard) == count
        second.deliver(RESULT)
        queue.finish(second)
        return await waiting

    assert run(wait_behind_another()) == (RESULT,)
    assert sorted(heard, reverse=True) == heard


def test_positions_are_counted_once_for_all_jobs_that_ask_at_the_same_time(
    queue: JobQueue, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_queue, "POSITION_INTERVAL_S", 1_000_000.0)
    lined_up = [queue.put(job, LIMIT_S) for _ in range(3)]
    first = queue.take()
    assert first

    counted = [queue._position(queued) for queued in lined_up]
    assert queue.take() is lined_up[1]

    assert counted == [0, 1, 2]
    assert [queue._position(queued) for queued in lined_up] == [0, 0, 2]


def test_the_position_of_a_job_is_found_without_a_look_at_its_results(queue: JobQueue, job: Job) -> None:
    class Secret:
        def __repr__(self) -> str:
            raise AssertionError("a state of megabytes must not become text")

    taken, waiting = (queue.put(job, LIMIT_S) for _ in range(2))
    assert queue.take() is taken
    for queued in (taken, waiting):
        queued.results.append(Secret())  # type: ignore[arg-type]

    assert [queue._position(queued) for queued in (taken, waiting)] == [0, 1]
    assert "QueuedJob" in repr(taken)


def test_those_who_wait_for_workers_are_woken_when_the_queue_becomes_crowded_and_not_for_each_job(
    queue: JobQueue, job: Job
) -> None:
    woken: list[int] = []
    queue.wakeups.append(lambda: woken.append(queue.waiting))

    for _ in range(3):
        queue.put(job, LIMIT_S)
    taken = [queue.take() for _ in range(3)]
    queue.put(job, LIMIT_S)
    assert taken[0]
    queue.put_back(taken[0])

    assert woken == [1, 1]


def test_a_job_that_is_put_back_into_an_empty_queue_wakes_those_who_wait_for_workers(queue: JobQueue, job: Job) -> None:
    queue.put(job, LIMIT_S)
    taken = queue.take()
    assert taken
    woken: list[int] = []
    queue.wakeups.append(lambda: woken.append(queue.waiting))

    queue.put_back(taken)

    assert woken == [1]


def test_a_listener_that_raises_ends_the_wait_and_takes_the_job_out(
    run: Run, queue: JobQueue, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_queue, "POSITION_INTERVAL_S", 0.001)

    def hang_up(place: int) -> None:
        raise ConnectionError(f"nobody listens at place {place}")

    with pytest.raises(ConnectionError, match="place 1"):
        run(queue.wait_for(queue.put(job, LIMIT_S), hang_up))

    assert queue.waiting == 0


def test_a_cancelled_ticket_leaves_the_queue_and_does_not_come_back(run: Run, queue: JobQueue, job: Job) -> None:
    async def cancel_both() -> None:
        tickets = [queue.put(job, LIMIT_S) for _ in range(2)]
        waits = [asyncio.create_task(queue.wait_for(ticket, wait_quietly)) for ticket in tickets]
        taken = queue.take()
        assert taken is tickets[0]
        await asyncio.sleep(0)
        for wait in waits:
            wait.cancel()
            with pytest.raises(asyncio.CancelledError):
                await wait
        assert queue.waiting == 0
        assert taken.cancelled.is_set()
        queue.put_back(taken)

    run(cancel_both())

    assert (queue.waiting, queue.busy) == (0, 0)


def test_a_closed_queue_fails_those_who_wait_and_those_put_back_and_takes_no_more(queue: JobQueue, job: Job) -> None:
    served, waiting = (queue.put(job, LIMIT_S) for _ in range(2))
    assert queue.take() is served

    queue.close()
    queue.put_back(served)

    for ticket in (served, waiting):
        with pytest.raises(ExecutorError, match="closed"):
            ticket.outcome()
    with pytest.raises(ExecutorError, match="closed"):
        queue.put(job, LIMIT_S)
    assert queue.take() is None
