"""Runs jobs where torch is: in a worker process, or in the thread of the in-process executor."""

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

__all__ = ["JobRunner", "Options", "lacks_memory"]

Options = Mapping[str, int | str]
"""Options of an executor by name. They may change bits, so they belong to the identity."""

PREPARED_BYTES = 1_000_000_000
"""Limit for the prepared data in memory."""

_NO_MEMORY = ("can't allocate memory", "not enough memory", "bad_alloc")
"""How torch words it in a RuntimeError: on Linux, on Windows, and where C++ itself runs out."""


class JobRunner:
    """Runs jobs one at a time and keeps the prepared data of the last ones.

    Args:
        torch_threads: How many threads torch computes with. It is a setting of the whole process
            and part of what fixes the bits of a result, so it is set once and for all here.
        probe: Reference of the probe. It is called as `probe(options)` and returns a digest that tells which
            kernels this process was given.
        options: The options of the executor.

    Attributes:
        identity: What its results depend on besides their jobs. Taking the probe also warms torch up, which imports
            much of itself when it is first used.
    """

    def __init__(self, torch_threads: int, probe: str, options: Options) -> None:
        torch.set_num_threads(torch_threads)
        self._options = options
        named = {name: str(value) for name, value in options.items()}
        taken: str = pkgutil.resolve_name(probe)(options)
        self.identity = Identity({**versions(torch_threads, probe), **named, "probe": taken})
        self._identity_key = self.identity.key
        self._prepared: BoundedMap[Any] = BoundedMap(PREPARED_BYTES)

    def run(
        self,
        job: Job,
        interrupted: Callable[[], bool],
        deliver: Callable[[Callable[[], UnitResult], bool], None],
        gives_up: Callable[[], bool],
    ) -> None:
        """Run the units of a job.

        Args:
            job: The job.
            interrupted: Asked by the job function whether to stop.
            deliver: Receives after each unit a function that completes its result, to be called once and perhaps in
                another thread, and whether the unit is the last.
            gives_up: Asked after each unit whether to leave the rest of the job undone.

        Raises:
            Interrupted: `interrupted` said yes. The units delivered are done.
        """
        function = pkgutil.resolve_name(job.function)
        data, state = self._data(job), job.state
        for left in reversed(range(job.units)):
            began = time.perf_counter()
            outcome: Outcome = function(state, job.settings, data, interrupted)
            seconds = time.perf_counter() - began
            after = outcome.state
            is_last = left == 0 or outcome.ends or after is None or gives_up()
            deliver(self._completion(outcome, seconds), is_last)
            if is_last or after is None:
                return
            state = after

    def _completion(self, outcome: Outcome, seconds: float) -> Callable[[], UnitResult]:
        state: State | None = outcome.state
        return lambda: UnitResult(state, outcome.figures, outcome.digest(), seconds, self._identity_key, outcome.ends)

    def _data(self, job: Job) -> Any:
        """The job's data, prepared."""
        key = f"{job.prepare} {job.data.key}"
        if key not in self._prepared:
            prepared = pkgutil.resolve_name(job.prepare)(job.data, self._options)
            self._prepared.keep(key, prepared, getattr(prepared, "nbytes", job.data.nbytes))
        return self._prepared[key]


def lacks_memory(error: Exception) -> bool:
    """Whether an error says so."""
    words = str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(no in words for no in _NO_MEMORY))
