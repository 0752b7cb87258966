"""What breaks first when a deployment grows: simulations of deployments that do not exist.

Sessions are language models that think for some seconds before each call of five epochs, and so many that they ask for
a fifth more than all workers can train. A node has eight workers.
"""

import math
from dataclasses import dataclass

from simulation.constants import Constants
from simulation.deployment import EASY, HARD, MEDIUM, Deployment, Task, Workload
from simulation.model import Prediction, simulate

__all__ = ["print_outlook", "print_row"]

WORKERS_PER_NODE = 8
NODES = (8, 64, 1_000)
EPOCHS = 5
THINK_S = 5.0
SURPLUS = 1.2
SECONDS, WARM_UP_S = 30.0, 30.0
LINEAR = 0.9
"""A server feeds its workers if each trains at least this share of what it trains where there is only one node."""

MOST_WORKERS = 4_096
SESSIONS = 10_000
SESSIONS_THINK_S = 10.0
LOOKS_THINK_S = 3.5


@dataclass(frozen=True)
class _Server:
    """What one server can do: how many workers it feeds, and what the model says of it there and with twice as many."""

    workers: int
    fed: Prediction
    twice: Prediction


def print_outlook() -> None:
    """Print what one server feeds, and what several need."""
    constants = Constants.load()
    print(f"constants: {constants.circumstances}\n")
    print_row("task", "journal", "workers it feeds", "epochs/s", "sessions", "used there", "with twice as many")
    print_row(*["---"] * 7)
    servers = {}
    for task in (EASY, MEDIUM, HARD):
        for journal in ("sqlite", "postgresql"):
            servers[task, journal] = server = _largest(constants, task, journal)
            print_row(
                *(task.name, journal, server.workers, f"{server.fed.epochs_per_s:,.0f}"),
                *(f"{_sessions(task, server.workers):,}", _used(server.fed), _used(server.twice)),
            )
    print()
    print_row("deployment", "task", "servers", "epochs/s", "calls/s", "database", "sessions and memory of a server")
    print_row(*["---"] * 7)
    for nodes in NODES:
        for task in (EASY, MEDIUM, HARD):
            _print_grown(f"{nodes:,} nodes", constants, task, servers[task, "postgresql"], nodes * WORKERS_PER_NODE)
    demand = SESSIONS * EPOCHS / (SESSIONS_THINK_S + EPOCHS * MEDIUM.epoch_s)
    workers = math.ceil(demand * MEDIUM.epoch_s)
    _print_grown(
        f"{SESSIONS:,} sessions that train", constants, MEDIUM, servers[MEDIUM, "postgresql"], workers, SESSIONS
    )
    one = simulate(constants, Deployment(1), Workload(EASY, SESSIONS, 0, LOOKS_THINK_S), seconds=10.0, warm_up_s=10.0)
    print(
        f"\n{SESSIONS:,} sessions that look every {LOOKS_THINK_S} s ask for {SESSIONS / LOOKS_THINK_S:,.0f} calls/s; "
        f"one server answers {one.calls_per_s:,.0f}, with {_used(one)} and {one.memory_mb:,.0f} MB of sessions."
    )


def print_row(*cells: object) -> None:
    """Print a row of a table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def _sessions(task: Task, workers: int) -> int:
    return math.ceil(SURPLUS * workers * (1 + THINK_S / (EPOCHS * task.epoch_s)))


def _predict(constants: Constants, task: Task, journal: str, workers: int) -> Prediction:
    workload = Workload(task, _sessions(task, workers), EPOCHS, THINK_S)
    deployment = Deployment(workers, journal=journal)
    return simulate(constants, deployment, workload, seconds=SECONDS, warm_up_s=WARM_UP_S)


def _largest(constants: Constants, task: Task, journal: str) -> _Server:
    """Find the largest number of workers that a server feeds, to a sixteenth."""

    def rate(workers: int) -> float:
        return _predict(constants, task, journal, workers).epochs_per_s / workers

    least = LINEAR * rate(WORKERS_PER_NODE)
    fed = WORKERS_PER_NODE
    while fed < MOST_WORKERS and rate(2 * fed) >= least:
        fed *= 2
    step = fed // 2
    while step >= max(1, fed // 16):
        fed += step * (rate(fed + step) >= least)
        step //= 2
    predictions = (_predict(constants, task, journal, workers) for workers in (fed, 2 * fed))
    return _Server(fed, *predictions)


def _print_grown(
    name: str, constants: Constants, task: Task, server: _Server, workers: int, sessions: int | None = None
) -> None:
    """Print a deployment of several servers. What they share is used in proportion to what all of them do."""
    servers = math.ceil(workers / server.workers)
    share = workers / server.workers
    epochs = server.fed.epochs_per_s * share
    database = server.fed.utilisation["database"] * share
    each = math.ceil((sessions or _sessions(task, workers)) / servers)
    print_row(
        *(name, task.name, servers, f"{epochs:,.0f}", f"{epochs / EPOCHS:,.0f}"),
        f"{database:.0%}" + (" (breaks)" if database > 1 else ""),
        f"{each:,}, {each * constants.server.session_kb / 1000:,.0f} MB",
    )


def _used(prediction: Prediction) -> str:
    used = sorted(prediction.utilisation.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {share:.0%}" for name, share in used[:3])
