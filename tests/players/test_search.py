"""The agents that search, on episodes in memory: how they spend the budget, and what they hand in."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from drawn_session import DrawnSession, DrawnSessions, Model
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_trainer_env.baselines.adaptive import AdaptiveAgent
from ml_trainer_env.baselines.agent import Agent
from ml_trainer_env.baselines.forks import ForkingAgent
from ml_trainer_env.baselines.play import Author, play
from ml_trainer_env.baselines.search.agent import SearchAgent, Split
from ml_trainer_env.baselines.search.halving import HalvingAgent, rungs_of
from ml_trainer_env.baselines.search.population import PopulationAgent, Schedule
from ml_trainer_env.baselines.search.proposers import random_proposer
from ml_trainer_env.baselines.search.space import Configuration
from ml_trainer_env.baselines.session import Brief

DEFAULT_FIRST = (True, False)
NewAgent = Callable[[bool], Agent]

NEW_AGENTS: dict[str, NewAgent] = {
    "search": lambda first: SearchAgent("search", random_proposer, default_first=first),
    "halving": lambda first: HalvingAgent(default_first=first),
    "adaptive": lambda first: AdaptiveAgent(default_first=first),
}
every_agent = pytest.mark.parametrize("new_agent", NEW_AGENTS.values(), ids=NEW_AGENTS)


@every_agent
@given(
    budget=st.integers(1, 60),
    batch=st.sampled_from([32, 64, 256]),
    hot=st.sampled_from([1.0, 0.009, 0.004, 0.0002]),
    drifts_after=st.integers(1, 60),
    default_first=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_an_agent_plays_any_episode_to_its_end_without_a_refused_call(
    new_agent: NewAgent, budget: int, batch: int, hot: float, drifts_after: int, default_first: bool
) -> None:
    session = DrawnSession(budget, batch, hot=hot, drifts_after=drifts_after)

    turns = play(new_agent(default_first), session)

    assert session.submitted is not None
    assert all(turn.author is Author.AGENT for turn in turns)
    assert not [turn.outcome.refusal for turn in turns if turn.outcome.refusal]
    assert changes(session) <= 60


def changes(session: DrawnSession) -> int:
    """The calls that count towards the 60."""
    return len([name for name, _ in session.calls if name not in ("save_checkpoint", "restore_checkpoint")])


@every_agent
def test_an_agent_whose_training_is_refused_is_closed_by_the_program(new_agent: NewAgent) -> None:
    session = DrawnSession(refused_tools=("run_epochs",))

    turns = play(new_agent(True), session)

    assert turns[-1].author is Author.CLOSING


@every_agent
@pytest.mark.parametrize("budget", [4, 10, 30])
def test_a_quiet_episode_is_trained_to_its_end(new_agent: NewAgent, budget: int) -> None:
    session = DrawnSession(budget, start=Model(3, 0.9))

    play(new_agent(True), session)

    assert session.spent >= 0.85 * budget  # the adaptive one may stop when it gets no better


@every_agent
def test_weights_that_are_better_than_fresh_ones_are_kept(new_agent: NewAgent) -> None:
    session = DrawnSession(20, start=Model(6, 0.99))

    play(new_agent(True), session)

    assert session.submitted is not None
    assert session.submitted.ceiling == 0.99


@every_agent
def test_weights_that_know_nothing_are_dropped(new_agent: NewAgent) -> None:
    session = DrawnSession(20, start=Model(0, 0.02))

    play(new_agent(True), session)

    assert session.submitted is not None
    assert session.submitted.ceiling == 0.8


@every_agent
def test_the_best_model_is_handed_in_if_what_came_later_spoilt_it(new_agent: NewAgent) -> None:
    session = DrawnSession(20, spoils_after=14)

    play(new_agent(True), session)

    assert session.submitted is not None
    assert session.submitted.ceiling == 0.8


@given(budget=st.integers(1, 100), share=st.sampled_from([0.25, 0.5, 0.75]), most=st.integers(1, 8))
def test_trials_take_no_more_than_their_share_but_for_the_least_one(budget: int, share: float, most: int) -> None:
    trials, epochs = Split(share, most).of(budget)

    assert 1 <= trials <= most
    assert trials * epochs <= max(1, share * budget)


@given(st.integers(4, 100))
def test_rungs_take_no_more_than_half_of_the_budget(budget: int) -> None:
    size, epochs = rungs_of(budget, 0.5)
    contenders, total, cost = size, 0, 0
    while contenders > 1:
        more = max(epochs, total)  # as long again as before
        total, cost, contenders = total + more, cost + contenders * more, contenders // 2

    assert size in (2, 4, 8)
    assert cost <= budget / 2


class Recorder:
    """A proposer that proposes what it is given, and remembers what it is told."""

    def __init__(self, proposals: Sequence[Configuration]) -> None:
        self._proposals = list(proposals)
        self.told: list[tuple[Configuration, float]] = []

    def ask(self) -> Configuration:
        return self._proposals.pop(0)

    def tell(self, configuration: Configuration, value: float) -> None:
        self.told.append((configuration, value))


FRESH = Configuration("adamw", 0.005, 32, 0.01, 0.1, 0.2, fresh=True)
HOT = Configuration("adamw", 0.03, 32, 0.01, 0.1, 0.2, fresh=True)
KEPT = Configuration("adamw", 0.002, 32, 0.01, 0.1, 0.2, fresh=False)


def test_every_trial_is_told_in_order_and_the_best_one_is_continued_with_a_falling_rate() -> None:
    recorder = Recorder([HOT, KEPT, FRESH])
    agent = SearchAgent("a", lambda *_: recorder, split=Split(0.5, 4))
    session = DrawnSession(16, start=Model(4, 0.3), hot=0.02)

    play(agent, session)

    default = recorder.told[0][0]
    assert [configuration for configuration, _ in recorder.told] == [default, HOT, KEPT, FRESH]
    assert [value == -float("inf") for _, value in recorder.told] == [False, True, False, False]
    configured = [arguments for name, arguments in session.calls if name == "configure_training"]
    assert configured[-1]["learning_rate"] == FRESH.learning_rate
    assert configured[-1]["lr_schedule"] == "cosine"
    assert session.submitted is not None
    assert session.submitted.trained == 2 + 9  # of its own trial and the rest: the diverged trial ended early


def test_if_every_trial_diverges_fresh_weights_are_trained_at_a_low_rate() -> None:
    agent = SearchAgent("a", lambda *_: Recorder([HOT] * 8), default_first=False)
    session = DrawnSession(16, hot=0.02)

    play(agent, session)

    assert session.submitted is not None
    assert not session.submitted.diverged
    assert session.submitted.trained > 4


@given(
    budget=st.integers(1, 60),
    hot=st.sampled_from([1.0, 0.009, 0.0002]),
    share=st.sampled_from([0.3, 0.5, 0.8, 1.0]),
    default_first=st.booleans(),
    seed=st.integers(0, 50),
)
@settings(max_examples=80, deadline=None)
def test_all_branches_of_a_population_together_train_no_longer_than_one_episode_may(
    budget: int, hot: float, share: float, default_first: bool, seed: int
) -> None:
    sessions = DrawnSessions(budget=budget, start=Model(2, 0.7), hot=hot)
    agent = PopulationAgent(default_first=default_first, share=share, seed=seed)

    submitted = agent.play(sessions)

    assert sessions.trained <= budget
    assert isinstance(submitted, DrawnSession)
    assert submitted.submitted is not None
    assert all(session.submitted is None for session, _ in sessions.opened if session is not submitted)
    assert submitted not in sessions.discarded
    assert len(sessions.discarded) == len(sessions.opened) - 1
    assert all(changes(session) <= 60 for session, _ in sessions.opened)


def test_a_quiet_population_spends_the_budget_exactly() -> None:
    sessions = DrawnSessions(budget=30, start=Model(2, 0.7))

    PopulationAgent().play(sessions)

    assert sessions.trained == 30


def test_a_population_plays_an_episode_in_the_same_way_again_and_otherwise_with_another_seed() -> None:
    def played(seed: int) -> list[object]:
        sessions = DrawnSessions(budget=30)
        PopulationAgent(seed=seed).play(sessions)
        return [session.calls for session, _ in sessions.opened]

    assert played(1) == played(1)
    assert played(1) != played(2)


def test_the_worst_member_is_replaced_by_a_copy_of_the_best() -> None:
    sessions = DrawnSessions(budget=16, start=Model(5, 0.99))

    PopulationAgent().play(sessions)

    schedule = Schedule.of(16)
    forks_later = [inherited for _, inherited in sessions.opened if inherited > 0]
    assert forks_later == [schedule.epochs * number for number in range(1, schedule.rounds)]


@given(budget=st.integers(1, 200), share=st.floats(0.1, 1.0))
def test_a_populations_schedule_adds_up(budget: int, share: float) -> None:
    schedule = Schedule.of(budget, share)

    spent = schedule.members * schedule.rounds * schedule.epochs
    assert spent + schedule.rest == budget
    assert spent <= max(1, share * budget)
    assert min(schedule.members, schedule.rounds, schedule.epochs) >= 1


def test_a_population_is_a_forking_agent_and_a_search_is_not() -> None:
    agents: tuple[object, ...] = (PopulationAgent(), *(new(True) for new in NEW_AGENTS.values()))

    assert [isinstance(agent, ForkingAgent) for agent in agents] == [True, False, False, False]


def test_the_briefs_seed_and_task_fix_the_proposals() -> None:
    def told(brief: Brief) -> list[tuple[str, dict[str, object]]]:
        session = DrawnSession(20)
        session.brief = brief
        play(SearchAgent("a", random_proposer), session)
        return session.calls

    brief = DrawnSession(20).brief
    assert told(brief) == told(brief)
    assert told(brief) != told(replace(brief, seed=2))
    assert told(brief) != told(replace(brief, task_id="tuning/train/2"))
