"""How many episodes an hour a server plays, and what bounds it.

    python benchmarks/throughput.py [--tasks 32] [--fleet-tasks 8] [--workers 1,2]

The heuristic agent and the random one play calibrated tasks of `train` over WebSocket, on a server of 1 and of 2
workers of one thread, several episodes at a time. In the fleet the runbook (`scripted`) and `nothing` play drawn tasks.
Without the cache every episode is trained. With it the same episodes are played twice, so the second pass trains
nothing.

The bound is what the workers could play if they did nothing but train, without a client, a journal or a queue: the
number of workers divided by the processor seconds that a worker spent on an episode. Nothing else should run meanwhile.
A machine whose processors are as many as the workers has none left for the server and the clients.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.figures import circumstances
from serving.processes import Server, children

from ml_trainer_env.bench.games import find_game
from ml_trainer_env.bench.plan import OWN_SEED, Plan, select_tasks
from ml_trainer_env.bench.run import Target, play_cells

SPLIT = "train"
AGENTS = {"tuning": ("heuristic", "random"), "fleet": ("scripted", "nothing")}
EPISODES_A_WORKER = 3
"""Episodes at a time for each worker, so that no worker waits for a client that thinks."""

CACHED = "on, again"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Pass:
    """The episodes of one agent on one server.

    Attributes:
        episodes: Their number.
        wall_s: Seconds from the first reset to the last grade.
        worker_s: Processor seconds of the workers.
        server_s: Processor seconds of the server.
    """

    episodes: int
    wall_s: float
    worker_s: float
    server_s: float

    def row(self, workers: int, is_trained: bool) -> str:
        """Return the cells of a table."""
        rate = 3600 * self.episodes / self.wall_s
        each = f"{self.worker_s / self.episodes:.3f} | {self.server_s / self.episodes:.3f}"
        if not is_trained:
            return f"{rate:,.0f} | {each} | from the cache | |"
        bound = workers * 3600 * self.episodes / self.worker_s
        return f"{rate:,.0f} | {each} | {bound:,.0f} | {rate / bound:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=32, help="tasks of the tuning game (default: %(default)s)")
    parser.add_argument("--fleet-tasks", type=int, default=8, help="tasks of the fleet (default: %(default)s)")
    parser.add_argument("--workers", default="1,2", help="numbers of workers (default: %(default)s)")
    given = parser.parse_args()
    print(f"{circumstances()}\n", flush=True)
    print(
        "| game | agent | workers | cache | episodes an hour | worker, CPU s an episode | server, the same | bound "
        "| share of it |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    counts = {"tuning": given.tasks, "fleet": given.fleet_tasks}
    for workers in map(int, given.workers.split(",")):
        for game, count in counts.items():
            for cache in ("no", "yes"):
                for agent, name, played in _measure(game, count, workers, cache):
                    print(
                        f"| {game} | {agent} | {workers} | {name} | {played.row(workers, name != CACHED)}", flush=True
                    )


def _measure(game: str, count: int, workers: int, cache: str) -> Iterator[tuple[str, str, Pass]]:
    with (
        tempfile.TemporaryDirectory(prefix="throughput-") as folder,
        Server(Path(folder), workers=workers, torch_threads=1, cache=cache) as server,
    ):
        _play(server, _plan("warm", game, AGENTS[game][0], 2), workers)  # data are read, and all workers have seen some
        for agent in AGENTS[game]:
            names = ("off",) if cache == "no" else ("on, first time", CACHED)
            for number, name in enumerate(names):
                yield agent, name, _play(server, _plan(f"pass{number}", game, agent, count), workers)


def _plan(name: str, game: str, agent: str, count: int) -> Plan:
    tasks = select_tasks(find_game(game), SPLIT, f"0:{count}" if name != "warm" else f"100:{100 + count}")
    return Plan(name, game, SPLIT, tasks, (agent,), (OWN_SEED,), baseline=agent)


def _play(server: Server, plan: Plan, workers: int) -> Pass:
    target = Target(server.url, {}, parallel=EPISODES_A_WORKER * workers)
    cells = list(plan.cells())
    training, serving = _cpu_s(children(server.pid)), _cpu_s([server.pid])
    began = time.perf_counter()
    for row in play_cells(plan, cells, target):
        assert row.score is not None, row
    wall_s = time.perf_counter() - began
    return Pass(len(cells), wall_s, _cpu_s(children(server.pid)) - training, _cpu_s([server.pid]) - serving)


def _cpu_s(pids: list[int]) -> float:
    """Return the processor seconds that processes have used."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(one[11]) + int(one[12]) for one in fields) / TICKS


if __name__ == "__main__":
    main()
