"""One command that lets an agent play the tasks and leaves a report.

    uv run inference.py --agent heuristic
    ml-trainer-play --agent heuristic           # the same, where the package is installed

Without `ENV_URL` it starts an environment server of its own and ends it again. Settings come
from the environment or a `.env` file; `.env.example` lists them. Needs no torch itself, and imports what is slow
only when it is needed.

Exit codes: 0 done; 2 bad usage or setting, or a folder that cannot be written; 3 no key for `--agent llm`;
4 the key was refused; 5 no environment server; 6 the language model gave no answer; 7 an episode did not
begin or ended without a grade; 130 interrupted; 143 terminated.
"""

import argparse
import os
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
from typing import TYPE_CHECKING

from ml_trainer_env.baselines.llm_errors import KeyRefusedError, LlmError
from ml_trainer_env.baselines.session import EpisodeNotBegunError
from ml_trainer_env.baselines.settings import KEY_NAMES, LlmSettings, Settings, SettingsError, read_settings
from ml_trainer_env.command_line import CommandParser, run_command
from ml_trainer_env.errors import CallTimeoutError

if TYPE_CHECKING:
    from ml_trainer_env.baselines.agent import Agent
    from ml_trainer_env.baselines.episode import EpisodeResult
    from ml_trainer_env.baselines.progress import Progress
    from ml_trainer_env.baselines.results import RunResult
    from ml_trainer_env.baselines.run import Plan
    from ml_trainer_env.baselines.run_log import RunLog

__all__ = ["AgentKind", "ExitCode", "main"]

TASKS = ("easy_mnist", "medium_fashion", "hard_cifar")
"""Played unless others are named."""

KNOWN_TASKS = (*TASKS, "permuted_mnist")
"""The tasks of a server that this program starts. A server at `ENV_URL` may have others."""


class AgentKind(StrEnum):
    """The agents on offer."""

    LLM = "llm"
    """A language model with function calling."""
    HEURISTIC = "heuristic"
    """A practitioner's rules."""
    RANDOM = "random"
    """Random valid calls."""


class ExitCode(IntEnum):
    """How a run ended, for a shell."""

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
    """The run cannot begin or go on. The text is the line to show."""

    def __init__(self, code: ExitCode, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Options:
    """The command line.

    Attributes:
        agent: None for the default.
        plan: Tasks, seed and episodes.
        rubric: The grading.
        output: Where logs and reports go.
    """

    agent: AgentKind | None
    plan: "Plan"
    rubric: str
    output: Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments, those of the process if None.

    Returns:
        An `ExitCode`.
    """
    options = _options(argv)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return run_command(_name(), lambda: _main(options))
    finally:
        signal.signal(signal.SIGTERM, before)


def _main(options: Options) -> ExitCode:
    try:
        settings = read_settings(os.environ, Path(".env"))
        if not settings.env_url:
            _require_known(options.plan.tasks)
        return _run(options, settings, _choose(options, settings))
    except RunFailedError as error:
        return _fail(error.code, str(error))


def _require_known(tasks: Sequence[str]) -> None:
    """Refuse tasks that a server of our own would refuse, before it is started."""
    unknown = [task for task in tasks if task not in KNOWN_TASKS]
    if unknown:
        raise SettingsError(f"there is no task {', '.join(unknown)}; the tasks are {', '.join(KNOWN_TASKS)}")


def _name() -> str:
    """What the program was called by."""
    return "ml-trainer-play" if Path(sys.argv[0]).stem == "ml-trainer-play" else "inference.py"


def _options(argv: Sequence[str] | None) -> Options:
    from ml_trainer_env.baselines.run import Plan

    description = "Let an agent play the tasks of the environment and write a report."
    parser = CommandParser(prog=_name(), description=description)
    parser.add_version()
    kinds = [kind.value for kind in AgentKind]
    parser.add_argument("--agent", choices=kinds, help="llm where a key is set, else heuristic")
    known = ", ".join(KNOWN_TASKS)
    parser.add_argument("--tasks", default=",".join(TASKS), help=f"ids, separated by commas, of {known}")
    parser.add_argument("--seed", type=_seed, help="of the first episode of each task")
    parser.add_argument("--episodes", type=_positive, default=1, help="a task")
    parser.add_argument("--rubric", choices=("v1", "v2"), default="v1", help="the grading")
    parser.add_argument("--output", type=Path, default=Path("outputs"), help="a folder")
    given = parser.parse_args(argv)
    tasks = tuple(name.strip() for name in given.tasks.split(",") if name.strip())
    if not tasks:
        parser.error("--tasks names no task")
    return Options(
        agent=AgentKind(given.agent) if given.agent else None,
        plan=Plan(tasks, given.seed, given.episodes),
        rubric=given.rubric,
        output=given.output,
    )


def _positive(text: str) -> int:
    return _whole(text, 1)


def _seed(text: str) -> int:
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, not {text!r}")
    return int(text)


def _choose(options: Options, settings: Settings) -> AgentKind:
    if options.agent is AgentKind.LLM and settings.llm is None:
        keys = f"{', '.join(KEY_NAMES[:-1])} or {KEY_NAMES[-1]}"
        raise RunFailedError(
            ExitCode.NO_KEY,
            f"--agent llm needs a key: set {keys} in the environment or in .env",
        )
    if options.agent is not None:
        return options.agent
    return AgentKind.HEURISTIC if settings.llm is None else AgentKind.LLM


def _run(options: Options, settings: Settings, kind: AgentKind) -> ExitCode:
    """Play, and leave the log and the report of whatever was played."""
    from ml_trainer_env.baselines.progress import progress_for
    from ml_trainer_env.baselines.results import RunResult, write_run
    from ml_trainer_env.baselines.run_log import RunLog

    progress = progress_for(sys.stdout)
    progress.note(_announcement(kind, settings, chosen=options.agent is not None))
    started, clock = datetime.now(UTC), time.perf_counter()
    name = _free_name(options.output, f"{started:%Y%m%d-%H%M%S}-{kind}")
    results: list[EpisodeResult] = []
    problem = "it was stopped"
    log_path = options.output / "logs" / f"{name}.jsonl"
    with RunLog(log_path, settings.secrets) as log:
        log("run", {"run": name, "agent": str(kind), "tasks": options.plan.tasks})
        try:
            with _failures_named(), _environment(options, settings, name) as url:
                progress.note(f"environment: {url}")
                for result in _episodes(options, settings, kind, url, log, progress):
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
                report = write_run(options.output / "evals" / name, run, settings.secrets)
                progress.note(_outcome(run))
                progress.note(f"report: {report}")
            progress.note(f"log: {log_path}")
    return _verdict(results)


def _outcome(run: "RunResult") -> str:
    """The mean score, and how many episodes it rests on."""
    closed = len(run.episodes) - run.played_to_end
    note = f"; {closed} closed by the program, counted 0" if closed else ""
    played = f"{run.played_to_end} of {len(run.episodes)} episodes played to the end"
    return f"mean score {run.mean_score:.4f}: {played}{note}"


def _episodes(
    options: Options,
    settings: Settings,
    kind: AgentKind,
    url: str,
    log: "RunLog",
    progress: "Progress",
) -> "Iterator[EpisodeResult]":
    # Late: time that a wrong setting need not wait for.
    from ml_trainer_env.baselines.env_session import EnvSession
    from ml_trainer_env.baselines.run import play_all
    from ml_trainer_env.client import MLTrainerEnv

    with ExitStack() as stack:
        agent, tokens_spent = _agent(kind, settings, options, log, progress, stack)
        env = MLTrainerEnv(base_url=url, headers=settings.env_headers or None, on_progress=progress.training)
        stack.enter_context(env)
        yield from play_all(
            options.plan,
            agent,
            lambda task, seed: EnvSession(env, task, seed, options.rubric),
            log,
            progress,
            tokens_spent,
        )


def _agent(
    kind: AgentKind,
    settings: Settings,
    options: Options,
    log: "RunLog",
    progress: "Progress",
    stack: ExitStack,
) -> "tuple[Agent, Callable[[], int]]":
    """The agent, and what it has spent on a language model so far."""
    if kind is AgentKind.LLM and settings.llm is not None:
        return _language_model(settings.llm, log, progress, stack)
    from ml_trainer_env.baselines.heuristic import HeuristicAgent
    from ml_trainer_env.baselines.random_agent import RandomAgent

    agent = RandomAgent(options.plan.seed or 0) if kind is AgentKind.RANDOM else HeuristicAgent()
    return agent, lambda: 0


def _language_model(
    settings: LlmSettings, log: "RunLog", progress: "Progress", stack: ExitStack
) -> "tuple[Agent, Callable[[], int]]":
    # Late: the API's client takes a second to import.
    from ml_trainer_env.baselines.chat_model import ChatModel
    from ml_trainer_env.baselines.llm import LlmAgent

    def record(event: str, fields: Mapping[str, object]) -> None:
        log(event, fields)
        if event in ("retry", "wait") and fields["wait_s"]:
            progress.note(f"  waiting {fields['wait_s']:.0f} s for {chat.host}: {fields['reason']}")

    chat = stack.enter_context(ChatModel(settings, record))
    return LlmAgent(chat, settings, log), lambda: chat.tokens_spent


@contextmanager
def _environment(options: Options, settings: Settings, name: str) -> Iterator[str]:
    """The server's URL: the one given, or a server of our own while the block runs."""
    from ml_trainer_env.baselines.local_server import local_server, wait_until_healthy

    if settings.env_url:
        wait_until_healthy(settings.env_url, headers=settings.env_headers)
        yield settings.env_url
        return
    log_path = options.output / "logs" / f"{name}.server.log"
    with local_server(log_path, settings.server_variables) as url:
        yield url


@contextmanager
def _failures_named() -> Iterator[None]:
    """Turn what may go wrong outside of this program into its exit codes."""
    try:
        yield
    except KeyRefusedError as error:
        raise RunFailedError(ExitCode.KEY_REFUSED, str(error)) from error
    except LlmError as error:
        raise RunFailedError(ExitCode.NO_MODEL, str(error)) from error
    except EpisodeNotBegunError as error:
        raise RunFailedError(ExitCode.NO_GRADE, str(error)) from error
    except (ConnectionError, CallTimeoutError) as error:
        raise RunFailedError(ExitCode.NO_ENVIRONMENT, str(error)) from error
    except KeyboardInterrupt as error:
        raise RunFailedError(ExitCode.INTERRUPTED, "interrupted") from error


def _announcement(kind: AgentKind, settings: Settings, *, chosen: bool) -> str:
    if kind is AgentKind.LLM and settings.llm is not None:
        why = f"{settings.llm.model}, key from {settings.llm.key_name}"
    elif chosen:
        why = "as asked"
    else:
        why = f"the default, since none of {', '.join(KEY_NAMES)} is set"
    return f"agent: {kind} ({why})"


def _verdict(results: "Sequence[EpisodeResult]") -> ExitCode:
    ungraded = [result.task_id for result in results if result.score is None]
    if ungraded:
        return _fail(ExitCode.NO_GRADE, f"ended without a grade: {', '.join(ungraded)}")
    return ExitCode.DONE


def _free_name(output: Path, name: str) -> str:
    """The name, with a number behind it where another run has it."""
    taken = {path.name.split(".")[0] for path in (output / "logs").glob(f"{name}*")}
    numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return next(one for one in (name, *numbered) if one not in taken)


def _fail(code: ExitCode, text: str) -> ExitCode:
    print(f"{_name()}: {text}", file=sys.stderr)
    return code


def _terminate(_number: int, _frame: FrameType | None) -> None:
    """Leave through every `finally`, so that a server of our own is ended."""
    raise SystemExit(int(ExitCode.TERMINATED))


if __name__ == "__main__":
    sys.exit(main())
