"""How messages pass: what both ends have is named instead of sent, and nothing gets out of step."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ml_trainer_env.server.datasets import Permutation
from ml_trainer_env.server.executors import channel
from ml_trainer_env.server.executors.channel import Channel
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.job import Job, UnitResult
from ml_trainer_env.server.executors.runner import JobRunner
from ml_trainer_env.server.executors.wire import Cancel, Done, Ready, Request, Stopped, Unit, Yield
from ml_trainer_env.server.executors.worker import serve
from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.errors import Interrupted
from ml_trainer_env.server.trainer.examples import permuted

Ends = tuple[Channel, Channel]
LIMIT_S = 120.0


@pytest.fixture
def ends() -> Iterator[Ends]:
    """The pool's end and the worker's."""
    ends = tuple(Channel(end) for end in socket.socketpair())
    yield ends
    for end in ends:
        end.close()


def passed(source: Channel, target: Channel, message: object) -> object:
    """What comes out at the other end. A thread sends, since a large message waits for its reader."""
    sender = threading.Thread(target=source.send, args=(message,))
    sender.start()
    received = target.receive()
    sender.join()
    return received


def requested(ends: Ends, job: Job) -> Job:
    """The job as the worker sees it."""
    request = passed(ends[0], ends[1], Request(job))
    assert isinstance(request, Request)
    return request.job


def answered(ends: Ends, result: UnitResult) -> UnitResult:
    """The result as the pool sees it."""
    unit = passed(ends[1], ends[0], Unit(result))
    assert isinstance(unit, Unit)
    return unit.result


@pytest.fixture(scope="module")
def result() -> UnitResult:
    arrays = {"large": np.arange(300_000, dtype=np.float32), "count": np.zeros((), np.int64)}
    return UnitResult(State(arrays, {"epoch": "1"}), {"loss": 0.5}, "digest", 0.5, "i")


def test_a_state_arrives_as_it_was_sent_and_read_only(ends: Ends, result: UnitResult) -> None:
    arrived = answered(ends, result).state

    assert arrived is not None
    assert result.state is not None
    assert arrived.facts == result.state.facts
    for name, array in result.state.arrays.items():
        assert np.array_equal(arrived.arrays[name], array)
        assert not arrived.arrays[name].flags.writeable


def test_the_state_that_the_worker_returned_last_is_named_not_sent(ends: Ends, job: Job, result: UnitResult) -> None:
    arrived = answered(ends, result)

    again = requested(ends, replace(job, state=arrived.state))

    assert again.state is result.state


def test_any_other_state_is_sent(ends: Ends, job: Job, result: UnitResult) -> None:
    first, second = (
        answered(ends, replace(result, state=State(result.state.arrays, {"epoch": str(n)}))) for n in (1, 2)
    )

    earlier = requested(ends, replace(job, state=first.state))
    later = requested(ends, replace(job, state=second.state))

    assert (earlier.state.facts["epoch"], later.state.facts["epoch"]) == ("1", "2")


def test_data_are_sent_once_and_again_when_they_are_forgotten(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    images = job.data
    monkeypatch.setattr(channel, "KEPT_BYTES", 3 * images.nbytes)
    pool, worker = (Channel(end) for end in socket.socketpair())

    def with_key(number: int) -> Job:
        return replace(job, data=replace(images, key=f"task {number}"))

    try:
        first = requested((pool, worker), with_key(0)).data
        assert requested((pool, worker), with_key(0)).data is first
        others = [requested((pool, worker), with_key(1 + number)).data for number in range(3)]
        again = requested((pool, worker), with_key(0)).data

        assert again is not first
        assert np.array_equal(again.train_inputs, images.train_inputs)
        assert requested((pool, worker), with_key(3)).data is others[-1]
    finally:
        pool.close()
        worker.close()


def test_images_are_sent_once_however_they_are_permuted(ends: Ends, job: Job) -> None:
    one, other = (Permutation.draw(np.random.default_rng(seed)) for seed in (1, 2))

    first = requested(ends, replace(job, data=permuted(job.data, one))).data
    second = requested(ends, replace(job, data=permuted(job.data, other))).data

    assert second.base is first.base
    assert (first.permutation, second.permutation) == (one, other)


def test_an_end_that_is_gone_can_be_seen_and_raises(ends: Ends) -> None:
    pool, worker = ends
    assert not worker.has_message()

    pool.close()

    assert worker.has_message()
    with pytest.raises(EOFError):
        worker.receive()


class Answering(JobRunner):
    """Runs a job at once, or, once told to, waits until it is interrupted or is to yield."""

    def __init__(self) -> None:
        self.waits = False
        self.identity = Identity({})

    def run(self, job: Job, interrupted: Any, deliver: Any, should_yield: Any) -> None:
        while self.waits and not should_yield():
            if interrupted():
                raise Interrupted
        deliver(lambda: UnitResult(None, {}, "", 0.0, ""), True)


def test_a_cancel_that_crosses_the_answer_does_no_harm(ends: Ends, job: Job) -> None:
    pool, worker = ends
    runner = Answering()

    def work() -> None:
        with pytest.raises((EOFError, OSError)):
            serve(worker, runner)

    def answer() -> object:
        while isinstance(message := pool.receive(), Unit):
            pass
        return message

    thread = threading.Thread(target=work)
    thread.start()
    assert isinstance(pool.receive(), Ready)

    pool.send(Request(job))
    assert pool.has_message(LIMIT_S)
    pool.send(Cancel())
    late = answer()
    pool.send(Request(job))
    next_one = answer()
    runner.waits = True
    pool.send(Request(job))
    pool.send(Cancel())
    stopped = answer()
    pool.send(Request(job))
    pool.send(Yield())
    yielded = answer()
    runner.waits = False
    pool.send(Request(job))
    last = answer()
    pool.close()
    thread.join()

    assert [type(answer) for answer in (late, next_one, stopped, yielded, last)] == [Done, Done, Stopped, Done, Done]
