"""Episodes of the fleet without a server: an agent's calls on an episode in this process."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ml_trainer_env.in_process.fleet import LocalFleetSession
from ml_trainer_env.in_process.fleet import references_of as trained_references
from ml_trainer_env.in_process.training import trainer_of_process
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.fleet.episode import FleetEpisode
from ml_trainer_env.server.fleet.incidents import Incident
from ml_trainer_env.server.fleet.tasks import NAMED_TASKS, FleetTask, find_task
from ml_trainer_env.server.trainer.figures import Figures

__all__ = ["Job", "lone_task", "play", "references_of"]


@dataclass
class Job:
    """An episode that is played here.

    Attributes:
        episode: The episode.
        last: The last reply.
        rewards: The rewards so far.
        calls: The calls so far that were accepted, with their arguments; those of `run_steps` with the steps they took.
    """

    episode: FleetEpisode
    loop: asyncio.AbstractEventLoop
    last: dict[str, Any] = field(default_factory=dict)
    rewards: list[float] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether the episode is over."""
        return self.episode.done

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Carry out a call. A call that is refused answers with its message."""
        first = len(self.episode.units)
        try:
            self.last = self.loop.run_until_complete(self.episode.call(tool, arguments))
        except EpisodeError as error:
            return {"error": str(error)}
        self.rewards.append(self.last["reward"])
        taken = len(self.episode.units) - first
        self.calls.append((tool, {"num_steps": taken} if tool == "run_steps" else arguments))
        return self.last

    def to_step(self, step: int) -> None:
        """Let the job train until a step."""
        while not self.done and self.episode.run.step < step:
            self.call("run_steps", num_steps=min(50, step - self.episode.run.step))

    def to_time(self, seconds: float) -> None:
        """Let the job train until a moment of virtual time."""
        while not self.done and self.episode.run.now_us < seconds * 1e6:
            self.call("run_steps", num_steps=1)

    def to_end(self) -> None:
        """Let the job train until the reservation is spent."""
        while not self.done:
            self.call("run_steps", num_steps=50)


def lone_task(name: str, incident: Incident) -> str:
    """Add a task in which an incident comes alone, and return its id."""
    task = f"lone/{name}"
    NAMED_TASKS.setdefault(task, FleetTask(task, "lone", 0, name, "", "lone", name, incident))
    return task


def references_of(task: str, seed: int) -> dict[str, float]:
    """Train the references of an episode."""
    return trained_references(trainer_of_process(), find_task(task), seed)


def play(task: str, seed: int, policy: Callable[[Job], None], known: Figures | None = None) -> dict[str, Any]:
    """Play an episode to its end and return the last reply, with `total_reward`."""
    trainer = trainer_of_process()
    job = Job(LocalFleetSession(trainer, find_task(task), seed, known).episode, trainer.loop)
    policy(job)
    job.to_end()
    return {**job.last, "total_reward": sum(job.rewards)}
