"""How messages pass: what both ends have is named instead of sent, and nothing gets out of step."""

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from ml_trainer_env.server.datasets import Permutation
from ml_trainer_env.server.executors.channel import Channel
from ml_trainer_env.server.executors.contract import KEPT_TASKS, EpochJob, EpochResult, Job, JobResult
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.jobs import JobRunner
from ml_trainer_env.server.executors.wire import Cancel, Done, Ready, Request, Stopped
from ml_trainer_env.server.executors.worker import serve
from ml_trainer_env.server.trainer.state import TrainingState, weights_hash

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


def answered(ends: Ends, result: JobResult) -> JobResult:
    """The result as the pool sees it."""
    done = passed(ends[1], ends[0], Done(result))
    assert isinstance(done, Done)
    return done.result


@pytest.fixture(scope="module")
def result() -> EpochResult:
    weights = {"large": np.arange(300_000, dtype=np.float32), "count": np.zeros((), np.int64)}
    state = TrainingState("net", weights, {"large/step": np.ones((), np.float32)}, "adam", 1, 0)
    return EpochResult(state, metrics=None, seconds=0.5, weights_hash=weights_hash(state), identity="i")  # type: ignore[arg-type]


def test_a_state_arrives_as_it_was_sent_and_read_only(ends: Ends, result: EpochResult) -> None:
    arrived = answered(ends, result)

    assert isinstance(arrived, EpochResult)
    assert weights_hash(arrived.state) == result.weights_hash
    assert not any(array.flags.writeable for array in arrived.state.weights.values())


def test_the_state_that_the_worker_returned_last_is_named_not_sent(
    ends: Ends, job: EpochJob, result: EpochResult
) -> None:
    arrived = answered(ends, result)
    assert isinstance(arrived, EpochResult)

    again = requested(ends, replace(job, state=arrived.state))

    assert again.state is result.state


def test_any_other_state_is_sent(ends: Ends, job: EpochJob, result: EpochResult) -> None:
    first, second = (answered(ends, replace(result, state=replace(result.state, epoch=n))) for n in (1, 2))
    assert isinstance(first, EpochResult)
    assert isinstance(second, EpochResult)

    earlier = requested(ends, replace(job, state=first.state))
    later = requested(ends, replace(job, state=second.state))

    assert isinstance(earlier.state, TrainingState)
    assert (earlier.state.epoch, later.state.epoch) == (1, 2)


def test_images_are_sent_once_and_again_when_they_are_forgotten(ends: Ends, job: EpochJob) -> None:
    def with_key(number: int) -> EpochJob:
        return replace(job, data=replace(job.data, key=f"task {number}"))

    first = requested(ends, with_key(0)).data
    assert requested(ends, with_key(0)).data is first
    others = [requested(ends, with_key(1 + number)).data for number in range(KEPT_TASKS)]
    again = requested(ends, with_key(0)).data

    assert again is not first
    assert np.array_equal(again.train_inputs, job.data.train_inputs)
    assert requested(ends, with_key(KEPT_TASKS)).data is others[-1]


def test_images_are_sent_once_however_they_are_permuted(ends: Ends, job: EpochJob) -> None:
    one, other = (Permutation.draw(np.random.default_rng(seed)) for seed in (1, 2))

    first = requested(ends, replace(job, permutation=one))
    second = requested(ends, replace(job, permutation=other))

    assert second.data is first.data
    assert (first.permutation, second.permutation) == (one, other)


def test_an_end_that_is_gone_can_be_seen_and_raises(ends: Ends) -> None:
    pool, worker = ends
    assert not worker.has_message()

    pool.close()

    assert worker.has_message()
    with pytest.raises(EOFError):
        worker.receive()


class Answering(JobRunner):
    """Does a job at once, or, once told to, waits until it is interrupted."""

    def __init__(self) -> None:
        self.waits = False
        self.identity = Identity({})

    def run(self, job: Job, interrupted: Callable[[], bool] = lambda: False) -> JobResult:
        from ml_trainer_env.server.trainer.errors import Interrupted

        while self.waits:
            if interrupted():
                raise Interrupted
        return 0.5


def test_a_cancel_that_crosses_the_answer_does_no_harm(ends: Ends, job: EpochJob) -> None:
    pool, worker = ends
    runner = Answering()

    def work() -> None:
        with pytest.raises((EOFError, OSError)):
            serve(worker, runner)

    thread = threading.Thread(target=work)
    thread.start()
    assert isinstance(pool.receive(), Ready)

    pool.send(Request(job))
    assert pool.has_message(LIMIT_S)
    pool.send(Cancel())
    late = pool.receive()
    pool.send(Request(job))
    next_one = pool.receive()
    runner.waits = True
    pool.send(Request(job))
    pool.send(Cancel())
    stopped = pool.receive()
    runner.waits = False
    pool.send(Request(job))
    last = pool.receive()
    pool.close()
    thread.join()

    assert [type(answer) for answer in (late, next_one, stopped, last)] == [Done, Done, Stopped, Done]
