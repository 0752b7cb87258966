"""What is simulated: a deployment, and what its sessions do."""

from dataclasses import dataclass

__all__ = ["EASY", "HARD", "MEDIUM", "TASKS", "Deployment", "Task", "Workload"]


@dataclass(frozen=True)
class Task:
    """A task, as the model sees it.

    Attributes:
        name: Its name.
        epoch_s: Length of an epoch on two threads, in seconds (benchmarks/RESULTS.md).
        state_mb: Size of its state with Adam's buffers, in MB.
    """

    name: str
    epoch_s: float
    state_mb: float


EASY = Task("easy_mnist", 0.075, 1.22)
MEDIUM = Task("medium_fashion", 0.61, 2.33)
HARD = Task("hard_cifar", 1.30, 5.47)
TASKS = {task.name: task for task in (EASY, MEDIUM, HARD)}


@dataclass(frozen=True)
class Workload:
    """What each session does, again and again: think, then call `run_epochs`.

    Attributes:
        task: Its task.
        sessions: Number of sessions.
        epochs: Epochs of a call. 0 for a call that only reads.
        think_s: Mean pause before a call, in seconds. Exponentially distributed; 0 for none.
    """

    task: Task
    sessions: int
    epochs: int = 5
    think_s: float = 5.0


@dataclass(frozen=True)
class Deployment:
    """Servers and workers. Sessions and workers are spread over the servers evenly.

    Attributes:
        workers: Number of workers.
        servers: Number of servers.
        executor: Name of the executor.
        journal: Name of the journal. All servers share one that is no file.
        cores: Processors that servers, workers and clients share, for a run on one machine. None if each process has
            its own.
        network_mb_per_s: What a server's network carries in one direction, in MB/s. None for a run on one machine.
        round_trip_s: Time to a client and back, in seconds.
    """

    workers: int
    servers: int = 1
    executor: str = "ray"
    journal: str = "sqlite"
    cores: int | None = None
    network_mb_per_s: float | None = 1250.0
    round_trip_s: float = 0.0005
