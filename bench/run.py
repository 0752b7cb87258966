"""Plays what a plan has and the record lacks: several episodes at a time, each in a thread of its own."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

import httpx
from prometheus_client.parser import text_string_to_metric_families

from ml_trainer_env.baselines.chat_model import ChatModel
from ml_trainer_env.baselines.forks import Entrant, play_entrant
from ml_trainer_env.baselines.local_server import ServerUnreachableError
from ml_trainer_env.baselines.registry import MODEL_NAMES, LanguageModel, entrants
from ml_trainer_env.baselines.session import CallRefusedError
from ml_trainer_env.baselines.settings import LlmSettings
from ml_trainer_env.bench.games import BenchGame, find_game
from ml_trainer_env.bench.plan import Cell, EpisodeName, Plan
from ml_trainer_env.bench.rows import Play, Row, row_of
from ml_trainer_env.bench.sessions import TaskSessions

__all__ = ["READY_LIMIT_S", "Target", "count_workers", "play_cell", "play_cells", "wait_until_ready"]

_WORKERS = "ml_trainer_workers"

READY_LIMIT_S = 300.0
"""How long a server may take to start, and then until its first worker is ready. A busy machine takes minutes."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how episodes are played.

    Attributes:
        url: URL of the server, without the path of the game.
        headers: Headers of its requests.
        parallel: Number of episodes at a time.
        llm: Settings of the language model. None without one.
    """

    url: str
    headers: Mapping[str, str]
    parallel: int = 1
    llm: LlmSettings | None = None


def count_workers(url: str, headers: Mapping[str, str]) -> int:
    """Ask a server for its number of workers. 1 if it does not tell.

    Raises:
        httpx.HTTPError: The server cannot be reached.
    """
    answer = httpx.get(f"{url}/metrics", headers=dict(headers), timeout=30.0, follow_redirects=True)
    if answer.status_code != httpx.codes.OK:
        return 1
    samples = (sample for family in text_string_to_metric_families(answer.text) for sample in family.samples)
    return next((max(1, int(sample.value)) for sample in samples if sample.name == _WORKERS), 1)


def wait_until_ready(url: str, headers: Mapping[str, str], limit_s: float = READY_LIMIT_S) -> None:
    """Wait until a server has a worker that can train, so that no play pays for its start.

    Raises:
        ServerUnreachableError: It has none in time. The message has the reason that it gives.
        httpx.HTTPError: The server cannot be reached.
    """
    ends_at = time.monotonic() + limit_s
    while True:
        answer = httpx.get(f"{url}/ready", headers=dict(headers), timeout=30.0, follow_redirects=True)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            return
        if time.monotonic() > ends_at:
            raise ServerUnreachableError(f"the server at {url} cannot train yet: {answer.text}")
        time.sleep(0.2)


def play_cells(plan: Plan, cells: Sequence[Cell], target: Target) -> Iterator[Row]:
    """Play episodes of a plan. Yields each row when its play has ended.

    If the caller stops, episodes that are being played are given up.

    Args:
        plan: The plan.
        cells: The episodes to play, in order.
        target: Where and how.

    Raises:
        EpisodeNotBegunError: The server refused an episode.
        LlmError: A language model gave no answer.
        ConnectionError: The connection to the server is lost.
        CallTimeoutError: The server did not answer in time.
    """
    waiting: queue.SimpleQueue[Cell] = queue.SimpleQueue()
    ended: queue.SimpleQueue[Row | BaseException] = queue.SimpleQueue()
    stop = threading.Event()
    for cell in cells:
        waiting.put(cell)

    def work() -> None:
        try:
            with ExitStack() as stack:
                players = _Players(plan, target, stack)
                while not stop.is_set():
                    try:
                        cell = waiting.get_nowait()
                    except queue.Empty:
                        return
                    ended.put(players.play(cell))
        except BaseException as error:  # it is raised in the caller's thread
            ended.put(error)

    for number in range(min(target.parallel, len(cells))):
        # Daemons: an interrupted program does not wait for the calls that they are in.
        threading.Thread(target=work, name=f"player-{number}", daemon=True).start()
    try:
        for _ in cells:
            outcome = ended.get()
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome
    finally:
        stop.set()


class _Players:
    """The agents of one thread. Each has its own connection to a language model, so that tokens can be counted."""

    def __init__(self, plan: Plan, target: Target, stack: ExitStack) -> None:
        self._plan = plan
        self._target = target
        self._game = find_game(plan.game)
        self._chat: ChatModel | None = None
        model = None
        if target.llm is not None and set(plan.agents) & set(MODEL_NAMES[plan.game]):
            rate = max(1, target.llm.rpm_limit // target.parallel)
            self._chat = stack.enter_context(ChatModel(replace(target.llm, rpm_limit=rate)))
            model = LanguageModel(self._chat, target.llm)
        self._create: Mapping[str, Callable[[], Entrant]] = entrants(plan.game, model)

    def play(self, cell: Cell) -> Row:
        """Play an episode with a new agent."""
        name = EpisodeName(self._plan.name, cell, self._plan.attempts)
        spent = self._chat.tokens_spent if self._chat else 0
        row = play_cell(self._game, name, self._create[cell.agent](), self._target, self._plan.rubric)
        return replace(row, tokens=(self._chat.tokens_spent if self._chat else 0) - spent)


def play_cell(game: BenchGame, name: EpisodeName, entrant: Entrant, target: Target, rubric: str | None = None) -> Row:
    """Let an agent play one episode, or a tree of forks. If it does not submit a model, it gave up.

    Args:
        game: The game.
        name: Name of the first episode.
        entrant: The agent.
        target: The server.
        rubric: The grading rubric; None for the task's own.
    """
    started = time.perf_counter()
    with TaskSessions(game, target.url, target.headers, name, rubric) as sessions:
        # An agent that forks does not go on after a refusal: it gave up, unless it had submitted.
        with suppress(CallRefusedError):
            play_entrant(entrant, sessions, closes=False)
        played = Play(name.cell, sessions.episodes)
        if not played.graded.is_done:
            sessions.mark_given_up()
            played = replace(played, is_given_up=True)
    return row_of(game, played, seconds=time.perf_counter() - started, tokens=0)
