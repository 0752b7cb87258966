"""Compares agents on the tasks of a game: `ml-trainer-bench`.

    ml-trainer-bench run --split validation --tasks 0:32 --agents nothing,heuristic,prober --out outputs/bench/first
    ml-trainer-bench report outputs/bench/first            # tables, figures and the page again, from results.jsonl
    ml-trainer-bench from-journal outputs/bench/first      # results.jsonl again, from the journal, and then the rest

`run` can be stopped at any time, also by a kill. The same command goes on where it was.
"""

import argparse
import os
import platform
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ml_trainer_env.command_line import DISTRIBUTION, CommandParser, run_command

if TYPE_CHECKING:
    from ml_trainer_env.baselines.settings import Settings
    from ml_trainer_env.bench.plan import Plan
    from ml_trainer_env.bench.rows import Row

__all__ = ["main"]

PROGRAM = "ml-trainer-bench"
TERMINATED = 143

_LOCK_FILE = ".lock"
_STATE = "ML_TRAINER_STATE_DIR"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0 done, 2 what the user can mend, 130 interrupted, 143 terminated.

    Args:
        arguments: The command line; `sys.argv` if None.
    """
    options = _parser().parse_args(arguments)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return run_command(PROGRAM, lambda: int(options.run(options)), _fixable())
    finally:
        signal.signal(signal.SIGTERM, before)


def _fixable() -> tuple[type[Exception], ...]:
    """Return the errors of the connection that are neither of this package nor of the system."""
    import httpx

    return (httpx.HTTPError,)


def _run(options: argparse.Namespace) -> int:
    from ml_trainer_env.baselines.registry import MODEL_NAMES
    from ml_trainer_env.baselines.settings import SettingsError, read_settings
    from ml_trainer_env.bench.plan import write_plan
    from ml_trainer_env.bench.record import RESULTS_FILE, append_row, read_rows
    from ml_trainer_env.bench.report import write_report
    from ml_trainer_env.bench.run import Target, count_workers, play_cells, wait_until_ready

    settings = replace(read_settings(os.environ, Path(".env")), env_url=(options.base_url or "").rstrip("/"))
    folder: Path = options.out
    with _alone(folder):
        plan = _plan_of(options, folder)
        if settings.llm is None and set(plan.agents) & set(MODEL_NAMES[plan.game]):
            raise SettingsError(
                "an agent with a language model needs a key: set OPENAI_API_KEY in the environment or .env"
            )
        file = folder / RESULTS_FILE
        rows = read_rows(file)
        left = [cell for cell in plan.cells() if cell not in rows]
        if left:
            plan = replace(plan, attempts=plan.attempts + 1)
            write_plan(folder, plan)
            with _server(folder, settings) as url:
                headers = settings.env_headers
                wait_until_ready(url, headers)
                parallel = options.parallel or count_workers(url, headers)
                target = Target(url, headers, parallel, settings.llm)
                plan = replace(plan, facts=_facts(settings, parallel))
                write_plan(folder, plan)
                with _bar(plan, len(left)) as bar:
                    for row in play_cells(plan, left, target):
                        append_row(file, row)
                        rows[row.cell] = row
                        bar.write(_line(row), file=sys.stdout)
                        bar.update()
        else:
            write_plan(folder, plan)
        print(f"report: {write_report(folder, plan, rows)}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from ml_trainer_env.bench.record import RESULTS_FILE, read_rows
    from ml_trainer_env.bench.report import write_report

    plan = _known_plan(options)
    print(f"report: {write_report(options.folder, plan, read_rows(options.folder / RESULTS_FILE))}")
    return 0


def _from_journal(options: argparse.Namespace) -> int:
    from ml_trainer_env.bench.from_journal import rows_from_journal
    from ml_trainer_env.bench.record import RESULTS_FILE, read_rows, write_rows
    from ml_trainer_env.bench.report import write_report

    with _alone(options.folder):
        plan = _known_plan(options)
        file = options.folder / RESULTS_FILE
        known = {row.episode_id: row for row in read_rows(file).values()}
        found = rows_from_journal(plan, options.state_dir or _state_folder(options.folder), os.environ)
        rows = [
            replace(row, seconds=known[row.episode_id].seconds, tokens=known[row.episode_id].tokens)
            if row.episode_id in known
            else row
            for row in found
        ]
        write_rows(file, rows)
        print(f"{len(rows)} plays from the journal")
        print(f"report: {write_report(options.folder, plan, {row.cell: row for row in rows})}")
    return 0


def _plan_of(options: argparse.Namespace, folder: Path) -> "Plan":
    """Return the plan that the command line asks for, together with what the folder's plan has already."""
    from ml_trainer_env.baselines.registry import MODEL_NAMES, NAMES, NO_DEFAULT
    from ml_trainer_env.bench.games import find_game
    from ml_trainer_env.bench.plan import Plan, PlanError, draw_subset, read_plan, select_tasks

    game = find_game(options.game)
    known = (*NAMES[game.name], *MODEL_NAMES[game.name])
    agents = _parts(options.agents) or tuple(name for name in NAMES[game.name] if not name.endswith(NO_DEFAULT))
    if unknown := [agent for agent in agents if agent not in known]:
        raise PlanError(f"no agent of {game.name} is called {', '.join(unknown)}; the agents are {', '.join(known)}")
    tasks = select_tasks(game, options.split, options.tasks)
    tasks, subset = draw_subset(tasks, options.sample, options.sample_seed) if options.sample else (tasks, None)
    wanted = Plan(
        name=folder.resolve().name,
        game=game.name,
        split=options.split,
        tasks=tasks,
        agents=agents,
        seeds=_parts(options.seeds),
        rubric=options.rubric,
        baseline=options.baseline or agents[0],
        subset=subset,
    )
    wanted.check()
    old = read_plan(folder)
    plan = wanted if old is None else old.grown(wanted)
    plan.check()
    return plan


def _known_plan(options: argparse.Namespace) -> "Plan":
    from ml_trainer_env.bench.plan import PlanError, read_plan

    plan = read_plan(options.folder)
    if plan is None:
        raise PlanError(f"{options.folder} is not the folder of a run: it has no plan.json")
    plan = replace(plan, baseline=getattr(options, "baseline", None) or plan.baseline)
    plan.check()
    return plan


@contextmanager
def _server(folder: Path, settings: "Settings") -> Iterator[str]:
    """Provide the URL of a server: the given one, or a local one, with its journal in the folder, during the block."""
    from ml_trainer_env.baselines.local_server import local_server, wait_until_healthy
    from ml_trainer_env.bench.run import READY_LIMIT_S

    if settings.env_url:
        wait_until_healthy(settings.env_url, headers=settings.env_headers)
        yield settings.env_url
        return
    variables = {_STATE: str(_state_folder(folder)), **settings.server_variables}
    with local_server(folder / "server.log", variables, limit_s=READY_LIMIT_S) as url:
        yield url


def _state_folder(folder: Path) -> Path:
    """Return the folder with the journal of a local server."""
    return Path(os.environ.get(_STATE) or folder / "state").absolute()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder, so that two programs do not write its record. The system lets go of it after a kill."""
    from filelock import FileLock, Timeout

    from ml_trainer_env.bench.plan import PlanError

    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / _LOCK_FILE, timeout=0):
            yield
    except Timeout as error:
        raise PlanError(f"another program plays in {folder}: wait for it, or choose another folder") from error


@contextmanager
def _bar(plan: "Plan", left: int) -> Iterator[Any]:
    """Show how many plays have ended, on a terminal."""
    from tqdm import tqdm  # type: ignore[import-untyped]  # it has no stubs of its own

    total = len(plan.tasks) * len(plan.agents) * len(plan.seeds)
    with tqdm(total=total, initial=total - left, unit="play", disable=None, dynamic_ncols=True) as bar:
        yield bar


def _line(row: "Row") -> str:
    score = "gave up" if row.score is None else f"{row.score:.4f}"
    return (
        f"{row.agent} {row.task} seed {row.seed}: {score} ({row.spent:g} of {row.budget:g}, {row.seconds or 0.0:.1f} s)"
    )


def _facts(settings: "Settings", parallel: int) -> dict[str, str]:
    """Return what the figures were measured with, as far as the program knows."""
    facts = {
        "Version": version(DISTRIBUTION),
        "Python": platform.python_version(),
        "System": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "Server": settings.env_url or "local",
        "Plays at a time": str(parallel),
    }
    return facts | ({"Language model": settings.llm.model} if settings.llm else {})


def _parts(text: str | None) -> tuple[str, ...]:
    return tuple(part for part in map(str.strip, (text or "").split(",")) if part)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog=PROGRAM, description="Compare agents on the tasks of a game.")
    parser.add_version()
    commands = parser.add_subparsers(required=True, metavar="command")
    run = commands.add_parser("run", help="play what is not played yet, and write the report")
    run.set_defaults(run=_run)
    run.add_argument("--game", default="tuning", help="tuning or fleet (default: %(default)s)")
    run.add_argument("--split", default="validation", help="split of the tasks (default: %(default)s)")
    run.add_argument("--tasks", default="0:32", help="indices 3,5, ranges 0:32, or ids (default: %(default)s)")
    run.add_argument("--sample", type=int, metavar="N", help="draw N of these tasks")
    run.add_argument("--sample-seed", type=int, default=0, help="seed of that draw (default: %(default)s)")
    run.add_argument("--agents", help="comma-separated names (default: all that need no language model)")
    run.add_argument("--seeds", default="own", help="comma-separated numbers, or own: that of each task (default)")
    run.add_argument("--rubric", help="the grading rubric (default: that of each task)")
    run.add_argument("--baseline", help="the agent that others are compared with (default: the first)")
    run.add_argument("--out", type=Path, required=True, help="folder of the run; its name is the name of the run")
    run.add_argument("--base-url", help="URL of a running server (default: a local one during the run)")
    run.add_argument("--parallel", type=int, help="plays at a time (default: the number of workers of the server)")
    report = commands.add_parser("report", help="write tables, figures and the page again")
    report.set_defaults(run=_report)
    report.add_argument("folder", type=Path, help="folder of a run")
    report.add_argument("--baseline", help="the agent that others are compared with (default: that of the run)")
    journal = commands.add_parser("from-journal", help="make the results again from the journal of the server")
    journal.set_defaults(run=_from_journal)
    journal.add_argument("folder", type=Path, help="folder of a run")
    journal.add_argument("--state-dir", type=Path, help="state folder of the server (default: that of the local one)")
    return parser


def _terminate(_number: int, _frame: FrameType | None) -> None:
    """Exit with an exception, so that a local server is stopped."""
    raise SystemExit(TERMINATED)


if __name__ == "__main__":
    sys.exit(main())
