"""The episodes of one play: they are named after their place in the plan, and everything they tell is kept.

An agent that forks gets the budget of one episode for its whole tree of forks.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from ml_trainer_env.baselines.env_session import brief_of
from ml_trainer_env.baselines.fleet.brief import brief_of as fleet_brief_of
from ml_trainer_env.baselines.session import CallRefusedError, EpisodeBrief, EpisodeNotBegunError, Reply, ToolSpec
from ml_trainer_env.bench.games import BenchGame
from ml_trainer_env.bench.plan import EpisodeName
from ml_trainer_env.bench.rows import PlayedCall, PlayedEpisode
from ml_trainer_env.client import MLTrainerEnv
from ml_trainer_env.errors import ResetRefusedError, ToolCallError
from ml_trainer_env.fleet_client import FleetEnv

__all__ = ["CLIENTS", "KeptSession", "TaskSessions"]

CLIENTS: Mapping[str, tuple[type[MLTrainerEnv], Callable[[Any], EpisodeBrief]]] = {
    "tuning": (MLTrainerEnv, brief_of),
    "fleet": (FleetEnv, fleet_brief_of),
}
"""The client of each game, and what converts the observation of a reset to a brief."""


class KeptSession:
    """An episode on a server that keeps its calls; see `baselines.session.GameSession`. The constructor begins it.

    Args:
        env: A connected client, of this session alone.
        read: Converts the observation of a reset to a brief.
        may_call: Called before each call. It raises `CallRefusedError` if the budget of the tree does not allow it.
        options: Options of the reset.

    Raises:
        EpisodeNotBegunError: The server refused the episode.
        ConnectionError: The server cannot be reached.
    """

    def __init__(
        self,
        env: MLTrainerEnv,
        read: Callable[[Any], EpisodeBrief],
        may_call: Callable[[str, Mapping[str, object]], None],
        options: Mapping[str, object],
    ) -> None:
        self._env = env
        self._may_call = may_call
        try:
            observation = env.reset(**options).observation
        except ResetRefusedError as error:
            what = options.get("task_id") or options.get("fork_from")
            raise EpisodeNotBegunError(f"cannot begin {what}: {error}") from error
        if not isinstance(observation, env.reset_model):
            raise EpisodeNotBegunError(f"the OpenEnv server at {env.base_url} serves another environment")
        self.brief = read(observation)
        self.tools: Sequence[ToolSpec] = tuple(
            ToolSpec(tool.name, tool.description, tool.input_schema) for tool in env.list_tools()
        )
        self._reset: Mapping[str, Any] = observation.model_dump()
        self._calls: list[PlayedCall] = []
        self._ended_at = time.monotonic()

    def call(self, name: str, arguments: Mapping[str, object], reason: str = "") -> Reply:
        """Call a tool.

        Raises:
            CallRefusedError: The environment refused the call, or the budget of the tree of forks is spent.
            ConnectionError: The connection is lost.
        """
        self._may_call(name, arguments)
        try:
            self._env.explain(reason)
            reply: Reply = self._env.call_tool(name, **arguments)
        except ToolCallError as error:
            self._calls.append(PlayedCall(name, None))
            raise CallRefusedError(str(error)) from error
        finally:
            self._ended_at = time.monotonic()
        self._calls.append(PlayedCall(name, reply))
        return reply

    def played(self, game: BenchGame) -> PlayedEpisode:
        """Return what was played so far."""
        return PlayedEpisode(
            name=self.brief.episode_id,
            reset=self._reset,
            spent=float(self._reset["status"][game.spent]),
            calls=tuple(self._calls),
            ended_at=self._ended_at,
        )

    def close(self) -> None:
        """Close the connection."""
        self._env.close()


class TaskSessions:
    """Begins and forks the episodes of one play. A context manager that closes their connections.

    Args:
        game: The game.
        url: URL of the server, without the path of the game.
        headers: Headers of its requests.
        name: Name of the first episode.
        rubric: The grading rubric; None for the task's own.
    """

    def __init__(
        self, game: BenchGame, url: str, headers: Mapping[str, str], name: EpisodeName, rubric: str | None = None
    ) -> None:
        self._game = game
        self._client, self._read = CLIENTS[game.name]
        self._url = url + game.path
        self._headers = dict(headers)
        self._name = name
        self._rubric = rubric
        self._sessions: list[KeptSession] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for session in self._sessions:
            session.close()

    @property
    def episodes(self) -> list[PlayedEpisode]:
        """What was played, in the order in which the episodes began."""
        return [session.played(self._game) for session in self._sessions]

    def begin(self) -> KeptSession:
        """Begin an episode. There is one for a play; an agent that wants more forks it.

        Raises:
            EpisodeNotBegunError: The environment refused it, or there is one already.
            ConnectionError: The environment cannot be reached.
        """
        if self._sessions:
            raise EpisodeNotBegunError("a play has one episode: fork it")
        cell = self._name.cell
        return self._open(self._name, task_id=cell.task, seed=cell.reset_seed, rubric=self._rubric)

    def fork(self, of: Any) -> KeptSession:
        """Begin an episode where another one stands. The other one can go on.

        Raises:
            EpisodeNotBegunError: The environment refused the fork.
            ConnectionError: The environment cannot be reached.
        """
        name = self._name
        number = len(self._sessions)
        return self._open(EpisodeName(name.run, name.cell, name.attempt, fork=number), fork_from=of.brief.episode_id)

    def discard(self, session: Any) -> None:
        """Give up an episode that will not be submitted, and free its place on the server."""
        session.close()

    def mark_given_up(self) -> None:
        """Write into the journal that the agent gave up: by a fork without calls, whose name says so."""
        name = EpisodeName(self._name.run, self._name.cell, self._name.attempt, is_given_up=True)
        with self._client(base_url=self._url, headers=self._headers) as env:
            env.reset(fork_from=str(self._name), episode_id=str(name))

    def _open(self, name: EpisodeName, **options: object) -> KeptSession:
        env = self._client(base_url=self._url, headers=self._headers)
        try:
            session = KeptSession(
                env, self._read, self._require_budget, {**options, "episode_id": str(name), "agent": name.cell.agent}
            )
        except BaseException:
            env.close()
            raise
        self._sessions.append(session)
        return session

    def _require_budget(self, tool: str, arguments: Mapping[str, object]) -> None:
        """Refuse work that a tree of forks has no budget for. Of a single episode, the server keeps the budget."""
        if len(self._sessions) < 2 or tool != self._game.work:
            return
        episodes = self.episodes
        budget = float(episodes[0].reset["status"][self._game.budget])
        left = budget - sum(episode.spent_by_itself(self._game) for episode in episodes)
        wanted = arguments.get(self._game.amount)
        if left <= 0 or (isinstance(wanted, int) and wanted > left):
            raise CallRefusedError(f"the tree of forks has {left:g} {self._game.unit} left of {budget:g}")
