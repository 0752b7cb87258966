"""Agents that play an episode on several branches, and the sessions that they branch.

A fork is an episode of its own that begins where another one stands: it has the parent's weights, checkpoints, settings
and spent epochs. The cost of a tree of forks is the sum of the epochs that each branch trained itself. An agent that
forks keeps that sum within the budget of one episode, so that it can be compared with agents that do not fork.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Protocol, Self, runtime_checkable

from ml_trainer_env.baselines.agent import GameAgent
from ml_trainer_env.baselines.env_session import ServedSession
from ml_trainer_env.baselines.play import OnTurn, ignore_turn, play
from ml_trainer_env.baselines.session import BriefT, GameSession
from ml_trainer_env.client import MLTrainerEnv

__all__ = ["Entrant", "ForkingAgent", "ServedSessions", "Sessions", "play_entrant"]


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


def play_entrant(entrant: Entrant, sessions: Sessions[Any], watch: OnTurn = ignore_turn) -> GameSession[Any]:
    """Let an agent of either kind play an episode to its end.

    Args:
        entrant: The agent.
        sessions: Begins its episodes. An agent that does not fork begins one.
        watch: Called after each turn of an agent that does not fork.

    Returns:
        The session whose model was submitted.
    """
    if isinstance(entrant, ForkingAgent):
        return entrant.play(sessions)
    session = sessions.begin()
    play(entrant, session, watch)
    return session


class ServedSessions(Generic[BriefT]):
    """Episodes on a server, each over a connection of its own. A context manager that closes the connections.

    Args:
        env: A connected client. Its connection is not used for episodes.
        read: Converts the observation of a reset to a brief; see `ServedSession`.
        task_id: The task to play.
        seed: Seed of the episodes; None for the task's default.
        rubric: The grading rubric; None for the task's own.
    """

    def __init__(
        self,
        env: MLTrainerEnv,
        read: Callable[[Any], BriefT],
        task_id: str,
        seed: int | None = None,
        rubric: str | None = None,
    ) -> None:
        self._env = env
        self._read = read
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
            session = ServedSession(client, self._read, **options)
        except BaseException:
            client.close()
            raise
        self._clients[session.brief.episode_id] = client
        return session
