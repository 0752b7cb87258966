"""Runs jobs with torch, in a worker process or in the thread of the in-process executor."""

import pkgutil
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ml_trainer_env.server.executors.bounded_map import BoundedMap
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.job import Job, UnitResult
from ml_trainer_env.server.executors.versions import versions
from ml_trainer_env.server.trainer.arrays import Outcome, State

__all__ = ["JobRunner", "Options", "is_out_of_memory"]

Options = Mapping[str, int | str]
"""Options of an executor by name. They may change bits, so they are part of the identity."""

PREPARED_BYTES = 1_000_000_000
"""Limit for the prepared data in memory, in bytes."""

_NO_MEMORY = ("can't allocate memory", "not enough memory", "bad_alloc")
"""Texts of torch's RuntimeError when memory runs out: on Linux, on Windows, and in C++ itself."""


class JobRunner:
    """Runs jobs one at a time and keeps the prepared data of the last ones.

    Args:
        torch_threads: Number of threads that torch computes with. It may change bits, so it is set only here, for the
            thread that computes. While native kernels compute with as many, torch has one.
        probe: Reference of the probe. It is called as `probe(options)` and returns facts of the identity, among them
            a digest of the results of the kernels that were chosen.
        options: The options of the executor.

    Attributes:
        identity: What results depend on besides their jobs. Computing the probe also warms torch up: torch imports
            many of its modules on first use.
    """

    def __init__(self, torch_threads: int, probe: str, options: Options) -> None:
        torch.set_num_threads(torch_threads)
        self._options = options
        named = {name: str(value) for name, value in options.items()}
        probed: Mapping[str, str] = pkgutil.resolve_name(probe)(options)
        self.identity = Identity({**versions(torch_threads, probe), **named, **probed})
        self._identity_key = self.identity.key
        self._prepared: BoundedMap[Any] = BoundedMap(PREPARED_BYTES)

    def run(
        self,
        job: Job,
        interrupted: Callable[[], bool],
        deliver: Callable[[Callable[[], UnitResult], bool], None],
        should_yield: Callable[[], bool],
    ) -> None:
        """Run the units of a job.

        Args:
            job: The job.
            interrupted: Called by the job function. Returns whether to stop.
            deliver: Called after each unit. Receives a function that completes the result, and whether the unit is
                the last one. That function must be called once; another thread may call it.
            should_yield: Called after each unit. Returns whether to end the job.

        Raises:
            Interrupted: `interrupted` returned true. The units delivered are done.
        """
        function = pkgutil.resolve_name(job.function)
        data, state = self._data(job), job.state
        for left in reversed(range(job.units)):
            began = time.perf_counter()
            outcome: Outcome = function(state, job.settings, data, interrupted)
            seconds = time.perf_counter() - began
            after = outcome.state
            is_last = left == 0 or outcome.ends or after is None or should_yield()
            deliver(self._completion(outcome, seconds), is_last)
            if is_last or after is None:
                return
            state = after

    def _completion(self, outcome: Outcome, seconds: float) -> Callable[[], UnitResult]:
        state: State | None = outcome.state
        return lambda: UnitResult(state, outcome.figures, outcome.digest(), seconds, self._identity_key, outcome.ends)

    def _data(self, job: Job) -> Any:
        """Return the job's prepared data."""
        key = f"{job.prepare} {job.data.key}"
        if key not in self._prepared:
            prepared = pkgutil.resolve_name(job.prepare)(job.data, self._options)
            self._prepared.keep(key, prepared, getattr(prepared, "nbytes", job.data.nbytes))
        return self._prepared[key]


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out."""
    words = str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError):  # the second is that of a GPU
        return True
    return isinstance(error, RuntimeError) and any(no in words for no in _NO_MEMORY)
