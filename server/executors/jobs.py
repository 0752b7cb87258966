"""Does jobs where torch is: in a worker process, or in the thread of the in-process executor."""

import time
from collections import OrderedDict
from collections.abc import Callable

import torch

from ml_trainer_env.server.datasets import Permutation
from ml_trainer_env.server.executors.contract import KEPT_TASKS, EpochJob, EpochResult, HeldOutJob, Job, JobResult
from ml_trainer_env.server.executors.fingerprint import versions
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.probe import probe
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.engine import advance, held_out_accuracy, initial_state, never
from ml_trainer_env.server.trainer.examples import PermutedExamples
from ml_trainer_env.server.trainer.state import FreshState, weights_hash

__all__ = ["JobRunner", "lacks_memory"]

_NO_MEMORY = ("can't allocate memory", "not enough memory", "bad_alloc")
"""How torch words it in a RuntimeError: on Linux, on Windows, and where C++ itself runs out."""


class JobRunner:
    """Runs jobs one at a time and keeps the tensors of the last few tasks.

    Args:
        torch_threads: How many threads torch computes with. It is a setting of the whole process
            and part of what fixes the bits of a result, so it is set once and for all here.

    Attributes:
        identity: What its results depend on besides their jobs. Taking the probe also warms torch up, which imports
            much of itself when it is first used.
    """

    def __init__(self, torch_threads: int) -> None:
        torch.set_num_threads(torch_threads)
        self.identity = Identity({**versions(torch_threads), "probe": probe()})
        self._identity_key = self.identity.key
        self._tensors: OrderedDict[tuple[str, Permutation | None], TensorData] = OrderedDict()

    def run(self, job: Job, interrupted: Callable[[], bool] = never) -> JobResult:
        """Do a job.

        Raises:
            Interrupted: The job is an epoch, and `interrupted`, asked before each batch, said yes.
        """
        if isinstance(job, HeldOutJob):
            return held_out_accuracy(job.state, self._data(job))
        return self._run_epoch(job, interrupted)

    def _run_epoch(self, job: EpochJob, interrupted: Callable[[], bool]) -> EpochResult:
        data = self._data(job)
        began = time.perf_counter()
        state = initial_state(job.state) if isinstance(job.state, FreshState) else job.state
        state, (metrics,) = advance(state, job.config, job.plan, data, interrupted=interrupted)
        return EpochResult(state, metrics, time.perf_counter() - began, weights_hash(state), self._identity_key)

    def _data(self, job: Job) -> TensorData:
        key = job.data.key, job.permutation
        if key not in self._tensors:
            examples = job.data if job.permutation is None else PermutedExamples(job.data, job.permutation)
            self._tensors[key] = TensorData(examples)
        self._tensors.move_to_end(key)
        while len(self._tensors) > KEPT_TASKS:
            self._tensors.popitem(last=False)
        return self._tensors[key]


def lacks_memory(error: Exception) -> bool:
    """Whether that is what an error says."""
    words = str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(no in words for no in _NO_MEMORY))
