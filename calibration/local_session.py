"""Episodes without a server: the session of an agent on an episode in this process."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing.util import Finalize
from typing import Any

from ml_trainer_env.baselines.env_session import brief_of
from ml_trainer_env.baselines.session import Brief, CallRefusedError, Reply, ToolSpec
from ml_trainer_env.server.datasets import TaskExamples
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.game import TimeLimits
from ml_trainer_env.server.episodes.units import LiveSource
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.tuning.episode import TuningEpisode
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.tasks import Task
from ml_trainer_env.server.tuning.tools import TOOLS

__all__ = ["LocalSession", "Trainer", "trainer", "trainer_of_process"]

PROBE = "ml_trainer_env.server.trainer.probe:probe"


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains in this process.

    Attributes:
        loop: The event loop of its episodes.
        source: The source of epochs.
        identity: What its results depend on.
    """

    loop: asyncio.AbstractEventLoop
    source: LiveSource
    identity: Identity


@contextmanager
def trainer(threads: int) -> Iterator[Trainer]:
    """Open a trainer.

    Args:
        threads: Number of threads that torch computes with.
    """
    with asyncio.Runner() as runner:
        executor = InProcessExecutor(threads, probe=PROBE)
        runner.run(executor.start())
        try:
            source = LiveSource(executor)
            yield Trainer(runner.get_loop(), source, runner.run(source.identity()))
        finally:
            runner.run(executor.close())


@cache
def trainer_of_process() -> Trainer:
    """Return the trainer of this process, with one thread. It starts once, which takes a second.

    It is closed when the process ends, before Python waits for its threads.
    """
    stack = ExitStack()
    opened = stack.enter_context(trainer(threads=1))
    Finalize(None, stack.close, exitpriority=1)
    return opened


class LocalSession:
    """An episode that an agent plays; see `baselines.session.Session`.

    Args:
        trainer: Trains its epochs.
        task: The task.
        examples: The examples of the task.
        seed: The seed of the episode. None for the task's own.
        rubric: The rubric. By default the hidden figures alone.

    Attributes:
        calls: The calls that were not refused, as tool and arguments.
        reply: The last reply.
    """

    def __init__(
        self,
        trainer: Trainer,
        task: Task,
        examples: TaskExamples,
        seed: int | None = None,
        rubric: RubricVersion = RubricVersion.ACCURACY,
    ) -> None:
        self._loop = trainer.loop
        self.episode = TuningEpisode(
            name="calibration",
            task=task,
            examples=examples,
            seed=task.seed if seed is None else seed,
            rubric=rubric,
            source=trainer.source,
            limits=TimeLimits(),
        )
        self.calls: list[tuple[str, dict[str, object]]] = []
        self.reply: dict[str, Any] = {}

    @property
    def brief(self) -> Brief:
        """Description of the episode."""
        return brief_of(self.episode.describe())

    @property
    def tools(self) -> Sequence[ToolSpec]:
        """The tools that may be called."""
        return [ToolSpec(tool.name, tool.description, tool.input_schema) for tool in TOOLS]

    def call(self, name: str, arguments: Mapping[str, object]) -> Reply:
        """Call a tool.

        Raises:
            CallRefusedError: The episode refused the call.
        """
        try:
            reply = self._loop.run_until_complete(self.episode.call(name, dict(arguments)))
        except (EpisodeError, ConfigError) as error:
            raise CallRefusedError(str(error)) from error
        self.calls.append((name, dict(arguments)))
        self.reply = reply
        return reply
