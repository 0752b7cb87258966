"""Agents that play an episode on several branches, and the sessions that they branch.

A fork is an episode of its own that begins where another one stands: it has the parent's weights, checkpoints, settings
and spent epochs. The cost of a tree of forks is the sum of the epochs that each branch trained itself. An agent that
forks keeps that sum within the budget of one episode, so that it can be compared with agents that do not fork.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, Protocol, Self, runtime_checkable

from ml_trainer_env.baselines.agent import Call, GameAgent, Outcome
from ml_trainer_env.baselines.env_session import ServedSession
from ml_trainer_env.baselines.play import Author, OnTurn, Turn, ignore_turn, play
from ml_trainer_env.baselines.session import BriefT, CallRefusedError, GameSession, Reply, ToolSpec
from ml_trainer_env.client import MLTrainerEnv

__all__ = ["Entrant", "ForkingAgent", "ServedSessions", "Sessions", "WatchedSessions", "play_entrant"]


class Sessions(Protocol[BriefT]):
    """Begins and forks the episodes of one task, seed and rubric."""

    def begin(self) -> GameSession[BriefT]:
        """Begin an episode.

        Raises:
            EpisodeNotBegunError: The environment refused to begin it.
            ConnectionError: The environment cannot be reached.
        """

    def fork(self, of: GameSession[BriefT]) -> GameSession[BriefT]:
        """Begin an episode where another one stands. The other one can go on.

        Args:
            of: The parent: a session that these sessions began or forked, and whose episode has not ended.

        Raises:
            EpisodeNotBegunError: The environment refused the fork. A ranked server refuses all of them.
            ConnectionError: The environment cannot be reached.
        """

    def discard(self, session: GameSession[BriefT]) -> None:
        """Give up an episode that will not be submitted, and free its place on the server."""


@runtime_checkable
class ForkingAgent(Protocol[BriefT]):
    """Plays an episode on several branches."""

    @property
    def name(self) -> str:
        """Short name, used in reports."""

    def play(self, sessions: Sessions[BriefT]) -> GameSession[BriefT]:
        """Play, and submit the model of one branch.

        Returns:
            The session whose model was submitted. All others are discarded.

        Raises:
            CallRefusedError: The environment refused a call that must not be refused.
            EpisodeNotBegunError: The environment refused an episode or a fork.
            ConnectionError: The connection to the environment is lost.
        """


Entrant = GameAgent[Any] | ForkingAgent[Any]
"""Whoever takes part in a comparison."""


def play_entrant(
    entrant: Entrant, sessions: Sessions[Any], watch: OnTurn = ignore_turn, *, closes: bool = True
) -> GameSession[Any]:
    """Let an agent of either kind play an episode to its end.

    Args:
        entrant: The agent.
        sessions: Begins its episodes. An agent that does not fork begins one.
        watch: Called after each turn, on whichever branch.
        closes: Whether the program submits for an agent that does not fork and does not submit.

    Returns:
        The session whose model was submitted.
    """
    if isinstance(entrant, ForkingAgent):
        submitted = entrant.play(WatchedSessions(sessions, watch))
        return submitted.inner if isinstance(submitted, _Watched) else submitted
    session = sessions.begin()
    play(entrant, session, watch, closes=closes)
    return session


class ServedSessions(Generic[BriefT]):
    """Episodes on a server, each over a connection of its own. A context manager that closes the connections.

    Args:
        env: A connected client. Its connection is not used for episodes.
        read: Converts the observation of a reset to a brief; see `ServedSession`.
        task_id: The task to play.
        seed: Seed of the episodes; None for the task's default.
        rubric: The grading rubric; None for the task's own.
        agent: The name that people who watch see; None for none.
    """

    def __init__(
        self,
        env: MLTrainerEnv,
        read: Callable[[Any], BriefT],
        task_id: str,
        seed: int | None = None,
        rubric: str | None = None,
        agent: str | None = None,
    ) -> None:
        self._env = env
        self._read = read
        self._agent = agent
        self._start = {"task_id": task_id, "seed": seed, "rubric": rubric}
        self._clients: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def begin(self) -> GameSession[BriefT]:
        """Begin an episode; see `Sessions`."""
        return self._open(**self._start)

    def fork(self, of: GameSession[BriefT]) -> GameSession[BriefT]:
        """Begin an episode where another one stands; see `Sessions`."""
        return self._open(fork_from=of.brief.episode_id)

    def discard(self, session: GameSession[BriefT]) -> None:
        """Close the connection of an episode."""
        client = self._clients.pop(session.brief.episode_id, None)
        if client is not None:
            client.close()

    def _open(self, **options: Any) -> GameSession[BriefT]:
        client = self._env.new_session()
        try:
            session = ServedSession(client, self._read, agent=self._agent, **options)
        except BaseException:
            client.close()
            raise
        self._clients[session.brief.episode_id] = client
        return session


class WatchedSessions(Generic[BriefT]):
    """Sessions whose calls are reported. The turns of all branches are numbered together, in the order of the calls.

    Args:
        sessions: Begins and forks episodes.
        watch: Called after each turn.
        on_begin: Called with the brief of each episode that is begun. A fork is not.
        clock: Returns seconds, from any origin.
    """

    def __init__(
        self,
        sessions: Sessions[BriefT],
        watch: OnTurn,
        on_begin: Callable[[BriefT], None] = lambda _: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._sessions = sessions
        self._watch = watch
        self._on_begin = on_begin
        self._clock = clock
        self._ready_at = clock()
        self._count = 0

    def begin(self) -> GameSession[BriefT]:
        """Begin an episode; see `Sessions`."""
        session = self._sessions.begin()
        self._on_begin(session.brief)
        return _Watched(session, self._report)

    def fork(self, of: GameSession[BriefT]) -> GameSession[BriefT]:
        """Begin an episode where another one stands; see `Sessions`."""
        assert isinstance(of, _Watched)
        return _Watched(self._sessions.fork(of.inner), self._report)

    def discard(self, session: GameSession[BriefT]) -> None:
        """Give up an episode; see `Sessions`."""
        assert isinstance(session, _Watched)
        self._sessions.discard(session.inner)

    def _report(self, call: Call, answer: Callable[[], Reply]) -> Reply:
        called_at = self._clock()
        try:
            reply = answer()
        except CallRefusedError as refusal:
            self._note(call, Outcome(refusal=str(refusal)), called_at)
            raise
        self._note(call, Outcome(reply=reply), called_at)
        return reply

    def _note(self, call: Call, outcome: Outcome, called_at: float) -> None:
        self._count += 1
        decide_s, reply_s = called_at - self._ready_at, self._clock() - called_at
        self._watch(Turn(self._count, call, Author.AGENT, outcome, decide_s, reply_s))
        self._ready_at = self._clock()


class _Watched(Generic[BriefT]):
    """A session whose calls are reported."""

    def __init__(self, inner: GameSession[BriefT], report: Callable[[Call, Callable[[], Reply]], Reply]) -> None:
        self.inner = inner
        self._report = report

    @property
    def brief(self) -> BriefT:
        """Description of the episode."""
        return self.inner.brief

    @property
    def tools(self) -> Sequence[ToolSpec]:
        """The tools that may be called."""
        return self.inner.tools

    def call(self, name: str, arguments: Mapping[str, object], reason: str = "") -> Reply:
        """Call a tool, and report it; see `GameSession`."""
        return self._report(Call(name, arguments, reason), lambda: self.inner.call(name, arguments, reason))
