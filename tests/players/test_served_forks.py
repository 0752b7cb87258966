"""Forks over the client, on a real server."""

from collections.abc import Iterator

import pytest

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.baselines.env_session import ServedSession, brief_of
from ml_trainer_env.baselines.forks import ServedSessions, play_entrant
from ml_trainer_env.baselines.registry import entrants
from ml_trainer_env.baselines.session import Brief, EpisodeNotBegunError, GameSession

TASK = "tuning/validation/26"
"""The task of the cheapest epochs of the split."""


@pytest.fixture
def env(live_server: str) -> Iterator[MLTrainerEnv]:
    with MLTrainerEnv(base_url=live_server) as client:
        yield client


@pytest.fixture
def sessions(env: MLTrainerEnv) -> Iterator[ServedSessions[Brief]]:
    with ServedSessions(env, brief_of, TASK, seed=7) as opened:
        yield opened


class Counting(ServedSessions[Brief]):
    """Counts the epochs that each branch trains itself."""

    def __init__(self, env: MLTrainerEnv) -> None:
        super().__init__(env, brief_of, TASK, seed=7)
        self.opened: list[tuple[GameSession[Brief], int]] = []

    def begin(self) -> GameSession[Brief]:
        return self._count(super().begin())

    def fork(self, of: GameSession[Brief]) -> GameSession[Brief]:
        return self._count(super().fork(of))

    def discard(self, session: GameSession[Brief]) -> None:
        self._close(session)
        super().discard(session)

    def _close(self, session: GameSession[Brief]) -> None:
        spent = session.call("get_training_status", {})["current_epoch"]
        self.opened = [(one, spent - had if one is session else had) for one, had in self.opened]

    def _count(self, session: GameSession[Brief]) -> GameSession[Brief]:
        self.opened.append((session, session.brief.status["current_epoch"]))
        return session


def test_a_fork_goes_on_from_where_its_parent_stands_and_its_parent_goes_on_too(
    sessions: ServedSessions[Brief],
) -> None:
    parent = sessions.begin()
    at_start = sessions.fork(parent)
    trained = parent.call("run_epochs", {"num_epochs": 2})
    fork = sessions.fork(parent)

    fork.call("configure_training", {"learning_rate": 0.05})
    other = fork.call("run_epochs", {"num_epochs": 1})
    on = parent.call("run_epochs", {"num_epochs": 1})

    assert at_start.brief.status["current_epoch"] == 0
    assert (fork.brief.status["current_epoch"], fork.brief.task_id, fork.brief.seed) == (2, TASK, 7)
    assert fork.call("get_training_status", {})["remaining_budget"] == trained["remaining_budget"] - 1
    assert on["current_epoch"] == other["current_epoch"] == 3
    assert on["weights_hash"] != other["weights_hash"]


def test_an_episode_may_be_discarded_twice_and_its_parent_goes_on(sessions: ServedSessions[Brief]) -> None:
    parent = sessions.begin()
    fork = sessions.fork(parent)

    sessions.discard(fork)
    sessions.discard(fork)

    assert parent.call("get_training_status", {})["current_epoch"] == 0


def test_a_fork_of_an_unknown_episode_is_refused(env: MLTrainerEnv) -> None:
    with pytest.raises(EpisodeNotBegunError, match="cannot begin a fork of nobody"):
        ServedSession(env, brief_of, fork_from="nobody")


@pytest.mark.slow
def test_a_population_plays_over_the_client_within_the_budget_of_one_episode(env: MLTrainerEnv) -> None:
    with Counting(env) as sessions:
        submitted = play_entrant(entrants("tuning")["pbt"](), sessions)
        sessions._close(submitted)

        assert submitted.call("get_training_status", {})["done"]
        assert sum(trained for _, trained in sessions.opened) == submitted.brief.budget_epochs
