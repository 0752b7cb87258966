"""A command that lets an agent play the tasks and writes a report.

    uv run inference.py --agent heuristic
    uv run inference.py --env fleet --agent detective --tasks fleet_straggler,fleet/validation/3
    ml-trainer-play --agent heuristic           # the same, where the package is installed

Without `ENV_URL` it starts a local environment server and stops it at the end. Settings come from the environment or a
`.env` file; `.env.example` lists them. The command needs no torch. Slow modules are imported only when they are needed.

Exit codes: 0 done; 2 bad usage or setting, or a folder is not writable; 3 no key for `--agent llm`; 4 the key was
refused; 5 no environment server; 6 the language model gave no answer; 7 an episode did not begin or ended without a
grade; 130 interrupted; 143 terminated.
"""

import argparse
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ml_trainer_env.baselines.llm_errors import KeyRefusedError, LlmError
from ml_trainer_env.baselines.registry import MODEL_NAMES, NAMES, LanguageModel, entrants
from ml_trainer_env.baselines.search.optuna_search import OptunaMissingError
from ml_trainer_env.baselines.session import CallRefusedError, EpisodeNotBegunError
from ml_trainer_env.baselines.settings import KEY_NAMES, Settings, SettingsError, read_settings
from ml_trainer_env.command_line import CommandParser, run_command
from ml_trainer_env.errors import CallTimeoutError

if TYPE_CHECKING:
    from ml_trainer_env.baselines.episode import Result
    from ml_trainer_env.baselines.forks import Entrant
    from ml_trainer_env.baselines.progress import Lines, Progress
    from ml_trainer_env.baselines.results import Report, RunResult
    from ml_trainer_env.baselines.run import OpenSession, OpenSessions, Plan, Summary
    from ml_trainer_env.baselines.run_log import RunLog
    from ml_trainer_env.baselines.session import EpisodeBrief

__all__ = ["EnvKind", "ExitCode", "main"]

SERVED_AT = "http://localhost:8000"
"""The address of `make serve`."""

MAX_AGENT_NAME = 64
"""Longest name of an agent that a server takes, in characters."""

TASKS = ("easy_mnist", "medium_fashion", "hard_cifar")
"""The default tasks."""

KNOWN_TASKS = (*TASKS, "permuted_mnist")
"""The named tasks of a local server. A server at `ENV_URL` may have others."""

FAMILY_TASK = re.compile(r"tuning/(train|validation|test)/(0|[1-9][0-9]{0,9})")
"""The ids of the tasks of the family."""

FLEET_TASKS = ("fleet_straggler", "fleet_bad_shards", "fleet_nothing_wrong")
"""The default tasks of the fleet."""

KNOWN_FLEET_TASKS = (
    *FLEET_TASKS,
    "fleet_poisoned_batch",
    "fleet_silent_corruption",
    "fleet_crashes",
    "fleet_sticky_node",
    "fleet_drifting_replica",
    "fleet_half_precision",
    "fleet_loader_stall",
    "fleet_corrupt_checkpoint",
    "fleet_slow_link",
)
"""The named tasks of the fleet."""

DRAWN_FLEET_TASK = re.compile(r"fleet/(train|validation|test)/(0|[1-9][0-9]{0,9})")
"""The ids of the drawn tasks of the fleet."""

RUBRICS = ("v1", "v2", "v3", "accuracy")
"""The grading rubrics of the tuning game. Without one, a task has its own."""


class EnvKind(StrEnum):
    """The games."""

    TUNING = "tuning"
    """Training networks on a budget."""
    FLEET = "fleet"
    """Watching a training run on eight ranks."""


DEFAULT_AGENTS = {EnvKind.TUNING: "heuristic", EnvKind.FLEET: "detective"}
"""The agent of each game where no key is set."""


class ExitCode(IntEnum):
    """Exit codes of the command."""

    DONE = 0
    BAD_SETTING = 2
    NO_KEY = 3
    KEY_REFUSED = 4
    NO_ENVIRONMENT = 5
    NO_MODEL = 6
    NO_GRADE = 7
    INTERRUPTED = 130
    TERMINATED = 143


class RunFailedError(Exception):
    """The run cannot start or continue. The message is shown to the user."""

    def __init__(self, code: ExitCode, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Options:
    """The parsed command line.

    Attributes:
        agent: The agent; None for the default.
        plan: Tasks, seed and number of episodes.
        rubric: The grading rubric; None for that of each task.
        output: Folder for logs and reports.
        env: The game.
        watch: Whether to open the training room in a browser.
    """

    agent: str | None
    plan: "Plan"
    rubric: str | None
    output: Path
    env: EnvKind = EnvKind.TUNING
    watch: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process if None.

    Returns:
        An `ExitCode`.
    """
    options = _parse_options(argv)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return run_command(_program_name(), lambda: _main(options))
    finally:
        signal.signal(signal.SIGTERM, before)


def _main(options: Options) -> ExitCode:
    try:
        settings = read_settings(os.environ, Path(".env"))
        if not settings.env_url:
            _require_known(options.env, options.plan.tasks)
        return _run(options, settings, _select_agent(options, settings))
    except RunFailedError as error:
        return _fail(error.code, str(error))


def _require_known(env: EnvKind, tasks: Sequence[str]) -> None:
    """Refuse unknown tasks before a local server is started."""
    is_fleet = env is EnvKind.FLEET
    named, drawn = (KNOWN_FLEET_TASKS, DRAWN_FLEET_TASK) if is_fleet else (KNOWN_TASKS, FAMILY_TASK)
    unknown = [task for task in tasks if task not in named and not drawn.fullmatch(task)]
    if unknown:
        known = ", ".join((*named, f"{env}/<split>/<index>"))
        raise SettingsError(f"there is no task {', '.join(unknown)}; the tasks are {known}")


def _program_name() -> str:
    """Get the name of the program as it was called."""
    return "ml-trainer-play" if Path(sys.argv[0]).stem == "ml-trainer-play" else "inference.py"


def _parse_options(argv: Sequence[str] | None) -> Options:
    from ml_trainer_env.baselines.run import Plan

    description = "Let an agent play tasks of the environment, and write a report."
    parser = CommandParser(prog=_program_name(), description=description)
    parser.add_version()
    agents = {env: (*NAMES[env], *MODEL_NAMES[env]) for env in EnvKind}
    kinds = list(dict.fromkeys(name for env in EnvKind for name in agents[env]))
    envs = [env.value for env in EnvKind]
    parser.add_argument("--env", choices=envs, default=EnvKind.TUNING.value, help="the game (default: %(default)s)")
    defaults = "llm if a key is set, otherwise heuristic, in the fleet detective"
    parser.add_argument("--agent", choices=kinds, metavar="NAME", help=f"{_list_agents(agents)} (default: {defaults})")
    known = ", ".join((*KNOWN_TASKS, "tuning/<split>/<index> (such as tuning/train/17)"))
    fleet = ", ".join((*KNOWN_FLEET_TASKS, "fleet/<split>/<index>"))
    parser.add_argument("--tasks", help=f"comma-separated ids of tasks: {known}; of the fleet: {fleet}")
    parser.add_argument("--seed", type=_seed, help="seed of the first episode of each task")
    parser.add_argument("--episodes", type=_positive, default=1, help="episodes of each task")
    parser.add_argument("--rubric", choices=RUBRICS, help="the grading rubric of tuning (default: that of each task)")
    parser.add_argument("--output", type=Path, default=Path("outputs"), help="folder for logs and reports")
    parser.add_argument("--watch", action="store_true", help="open the training room in a browser, to see the play")
    given = parser.parse_args(argv)
    env = EnvKind(given.env)
    usual = ",".join(FLEET_TASKS if env is EnvKind.FLEET else TASKS)
    tasks = tuple(name.strip() for name in (usual if given.tasks is None else given.tasks).split(",") if name.strip())
    agent: str | None = given.agent
    if not tasks:
        parser.error("--tasks names no task")
    if agent is not None and agent not in agents[env]:
        parser.error(f"--agent {agent} does not play {env}; its agents are {', '.join(agents[env])}")
    if given.rubric and env is EnvKind.FLEET:
        parser.error("--rubric is for tuning: the fleet has one rubric")
    return Options(
        agent=agent,
        plan=Plan(tasks, given.seed, given.episodes),
        rubric=given.rubric,
        output=given.output,
        env=env,
        watch=given.watch,
    )


def _positive(text: str) -> int:
    return _whole(text, 1)


def _seed(text: str) -> int:
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, not {text!r}")
    return int(text)


def _select_agent(options: Options, settings: Settings) -> str:
    if options.agent in MODEL_NAMES[options.env] and settings.llm is None:
        keys = f"{', '.join(KEY_NAMES[:-1])} or {KEY_NAMES[-1]}"
        raise RunFailedError(
            ExitCode.NO_KEY,
            f"--agent {options.agent} needs a key: set {keys} in the environment or in .env",
        )
    if options.agent is not None:
        return options.agent
    return DEFAULT_AGENTS[options.env] if settings.llm is None else "llm"


def _run(options: Options, settings: Settings, kind: str) -> ExitCode:
    """Play the plan. Writes the log, and a report of all finished episodes, also after an error."""
    from ml_trainer_env.baselines.progress import progress_for
    from ml_trainer_env.baselines.results import RunResult, write_run
    from ml_trainer_env.baselines.run_log import RunLog

    lines, summary, report_of_game = _game(options.env)
    progress = progress_for(sys.stdout, lines)
    progress.note(_describe_agent(kind, settings, chosen=options.agent is not None))
    started, clock = datetime.now(UTC), time.perf_counter()
    name = _free_name(options.output, f"{started:%Y%m%d-%H%M%S}-{kind}")
    results: list[Result] = []
    problem = "it was stopped"
    log_path = options.output / "logs" / f"{name}.jsonl"
    with RunLog(log_path, settings.secrets) as log:
        log("run", {"run": name, "agent": str(kind), "tasks": options.plan.tasks})
        try:
            with _errors_with_exit_codes(), _environment_url(options, settings, name) as url:
                progress.note(f"environment: {url}")
                progress.note(f"training room: {url}/room")
                if options.watch:
                    _open_browser(f"{url}/room")
                for result in _play_episodes(options, settings, kind, url, log, progress, summary):
                    results.append(result)
            problem = ""
        except RunFailedError as error:
            problem = str(error)
            raise
        finally:
            progress.close()
            log("end", {"problem": problem})
            if results:
                seconds = round(time.perf_counter() - clock, 1)
                run = RunResult(name, results[0].agent, started.isoformat(), seconds, problem, results)
                report = write_run(options.output / "evals" / name, run, settings.secrets, report_of_game)
                progress.note(_describe_outcome(run))
                progress.note(f"report: {report}")
                progress.note(_describe_room(options, settings, name))
            progress.note(f"log: {log_path}")
    return _exit_code(results)


def _describe_outcome(run: "RunResult") -> str:
    """Describe the mean score and the number of episodes."""
    closed = len(run.episodes) - run.played_to_end
    note = f"; {closed} closed by the program, counted 0" if closed else ""
    played = f"{run.played_to_end} of {len(run.episodes)} episodes played to the end"
    return f"mean score {run.mean_score:.4f}: {played}{note}"


def _describe_room(options: Options, settings: Settings, name: str) -> str:
    """Say where people can look at the run after it has ended."""
    if settings.env_url:
        return f"its episodes: {settings.env_url}/room"
    folder = "" if options.output == Path("outputs") else f"ML_TRAINER_RESULTS_DIR={shlex.quote(str(options.output))} "
    return f"look at it: {folder}make serve, then open {SERVED_AT}/room/results/evals/{name}"


def _open_browser(address: str) -> None:
    """Open a page in the user's browser, if there is one."""
    import webbrowser  # late: few runs need it

    webbrowser.open(address)


def _game(env: EnvKind) -> "tuple[Lines, Summary, Report]":
    """Return how the episodes of a game are shown, summarised and reported."""
    if env is EnvKind.FLEET:
        from ml_trainer_env.baselines.fleet.lines import FleetLines, FleetSummary
        from ml_trainer_env.baselines.fleet.report import FleetReport

        return FleetLines(), FleetSummary(), FleetReport()
    from ml_trainer_env.baselines.progress import TuningLines
    from ml_trainer_env.baselines.results import TuningReport
    from ml_trainer_env.baselines.run import TuningSummary

    return TuningLines(), TuningSummary(), TuningReport()


def _play_episodes(
    options: Options,
    settings: Settings,
    kind: str,
    url: str,
    log: "RunLog",
    progress: "Progress",
    summary: "Summary",
) -> "Iterator[Result]":
    # A late import, so that errors in settings are reported at once.
    from ml_trainer_env.baselines.run import play_all

    with ExitStack() as stack:
        agent, tokens_spent = _create_agent(kind, settings, options, log, progress, stack)
        open_session, open_sessions = _connect(options, settings, url, agent.name, progress, stack)
        yield from play_all(
            options.plan, agent, open_session, log, progress, tokens_spent, summary, open_sessions=open_sessions
        )


def _connect(
    options: Options, settings: Settings, url: str, agent: str, progress: "Progress", stack: ExitStack
) -> "tuple[OpenSession, OpenSessions]":
    """Connect to the game's path of a server. Returns what begins an episode, and what forks episodes, too."""
    from ml_trainer_env.baselines.env_session import ServedSession, brief_of
    from ml_trainer_env.baselines.forks import ServedSessions
    from ml_trainer_env.client import MLTrainerEnv

    headers, on_progress = settings.env_headers or None, progress.training
    read: Callable[[Any], EpisodeBrief] = brief_of
    if options.env is EnvKind.FLEET:
        from ml_trainer_env.baselines.fleet.brief import brief_of as brief_of_fleet
        from ml_trainer_env.fleet_client import FleetEnv

        read = brief_of_fleet
        env: MLTrainerEnv = FleetEnv(base_url=f"{url}/fleet", headers=headers, on_progress=on_progress)
    else:
        env = MLTrainerEnv(base_url=url, headers=headers, on_progress=on_progress)
    stack.enter_context(env)
    shown = agent[:MAX_AGENT_NAME].strip()
    return (
        lambda task, seed: ServedSession(env, read, task, seed, options.rubric, agent=shown),
        lambda task, seed: ServedSessions(env, read, task, seed, options.rubric, shown),
    )


def _create_agent(
    kind: str,
    settings: Settings,
    options: Options,
    log: "RunLog",
    progress: "Progress",
    stack: ExitStack,
) -> "tuple[Entrant, Callable[[], int]]":
    """Create the agent, and a function that returns the tokens it has used."""
    if kind not in MODEL_NAMES[options.env] or settings.llm is None:
        return entrants(options.env)[kind](), lambda: 0
    # A late import: the API's client takes a second to import.
    from ml_trainer_env.baselines.chat_model import ChatModel

    def record(event: str, fields: Mapping[str, object]) -> None:
        log(event, fields)
        if event in ("retry", "wait") and fields["wait_s"]:
            progress.note(f"  waiting {fields['wait_s']:.0f} s for {chat.host}: {fields['reason']}")

    chat = stack.enter_context(ChatModel(settings.llm, record))
    agent = entrants(options.env, LanguageModel(chat, settings.llm, log))[kind]()
    return agent, lambda: chat.tokens_spent


@contextmanager
def _environment_url(options: Options, settings: Settings, name: str) -> Iterator[str]:
    """Provide the URL of a server: the one in `ENV_URL`, or a local server that runs during the block."""
    from ml_trainer_env.baselines.local_server import local_server, wait_until_healthy

    if settings.env_url:
        wait_until_healthy(settings.env_url, headers=settings.env_headers)
        yield settings.env_url
        return
    log_path = options.output / "logs" / f"{name}.server.log"
    with local_server(log_path, settings.server_variables) as url:
        yield url


@contextmanager
def _errors_with_exit_codes() -> Iterator[None]:
    """Convert errors of the model, the environment and the user to errors with exit codes."""
    try:
        yield
    except KeyRefusedError as error:
        raise RunFailedError(ExitCode.KEY_REFUSED, str(error)) from error
    except LlmError as error:
        raise RunFailedError(ExitCode.NO_MODEL, str(error)) from error
    except OptunaMissingError as error:
        raise RunFailedError(ExitCode.BAD_SETTING, str(error)) from error
    except (EpisodeNotBegunError, CallRefusedError) as error:
        raise RunFailedError(ExitCode.NO_GRADE, str(error)) from error
    except (ConnectionError, CallTimeoutError) as error:
        raise RunFailedError(ExitCode.NO_ENVIRONMENT, str(error)) from error
    except KeyboardInterrupt as error:
        raise RunFailedError(ExitCode.INTERRUPTED, "interrupted") from error


def _list_agents(agents: "Mapping[EnvKind, Sequence[str]]") -> str:
    """List the agents of each game for the help."""
    return "the agent; " + "; ".join(f"{env}: {', '.join(names)}" for env, names in agents.items())


def _describe_agent(kind: str, settings: Settings, *, chosen: bool) -> str:
    if any(kind in names for names in MODEL_NAMES.values()) and settings.llm is not None:
        why = f"{settings.llm.model}, key from {settings.llm.key_name}"
    elif chosen:
        why = "as asked"
    else:
        why = f"the default, since none of {', '.join(KEY_NAMES)} is set"
    return f"agent: {kind} ({why})"


def _exit_code(results: "Sequence[Result]") -> ExitCode:
    ungraded = [result.task_id for result in results if result.score is None]
    if ungraded:
        return _fail(ExitCode.NO_GRADE, f"ended without a grade: {', '.join(ungraded)}")
    return ExitCode.DONE


def _free_name(output: Path, name: str) -> str:
    """Get an unused name. Appends a number if another run has the name."""
    taken = {path.name.split(".")[0] for path in (output / "logs").glob(f"{name}*")}
    numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return next(one for one in (name, *numbered) if one not in taken)


def _fail(code: ExitCode, text: str) -> ExitCode:
    print(f"{_program_name()}: {text}", file=sys.stderr)
    return code


def _terminate(_number: int, _frame: FrameType | None) -> None:
    """Exit with an exception, so that every `finally` runs and a local server is stopped."""
    raise SystemExit(int(ExitCode.TERMINATED))


if __name__ == "__main__":
    sys.exit(main())
