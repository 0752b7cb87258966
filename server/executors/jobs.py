"""Does jobs where torch is: in a worker process, or in the thread of the in-process executor."""

import time
from collections import OrderedDict

import torch

from ml_trainer_env.server.executors.contract import KEPT_TASKS, EpochJob, EpochResult, HeldOutJob, Job
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.engine import advance, held_out_accuracy, initial_state
from ml_trainer_env.server.trainer.images import ImageArrays
from ml_trainer_env.server.trainer.state import FreshState

__all__ = ["JobRunner"]


class JobRunner:
    """Runs jobs one at a time and keeps the tensors of the last few tasks.

    Args:
        torch_threads: How many threads torch computes with. It is a setting of the whole process
            and part of what fixes the bits of a result, so it is set once and for all here.
    """

    def __init__(self, torch_threads: int) -> None:
        torch.set_num_threads(torch_threads)
        self._tensors: OrderedDict[str, TensorData] = OrderedDict()

    def run(self, job: Job) -> EpochResult | float:
        """Do a job. The data must be in it, unless this runner has seen them lately."""
        if isinstance(job, HeldOutJob):
            return held_out_accuracy(job.state, self._data(job.data))
        return self._run_epoch(job)

    def _run_epoch(self, job: EpochJob) -> EpochResult:
        data = self._data(job.data)
        began = time.perf_counter()
        state = initial_state(job.state) if isinstance(job.state, FreshState) else job.state
        state, (metrics,) = advance(state, job.config, job.plan, data)
        return EpochResult(state, metrics, time.perf_counter() - began)

    def _data(self, arrays: ImageArrays) -> TensorData:
        if arrays.key not in self._tensors:
            self._tensors[arrays.key] = TensorData(arrays)
        self._tensors.move_to_end(arrays.key)
        while len(self._tensors) > KEPT_TASKS:
            self._tensors.popitem(last=False)
        return self._tensors[arrays.key]
