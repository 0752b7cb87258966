"""The agents that probe, on an episode in memory that has checkpoints, jumps and divergence."""

from collections.abc import Sequence

import pytest
from drawn_session import DrawnSession, Model
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_trainer_env.baselines.agent import Agent
from ml_trainer_env.baselines.one_epoch_probes import OneEpochProbes
from ml_trainer_env.baselines.play import Author, play
from ml_trainer_env.baselines.prober import ProbingAgent

AGENTS: Sequence[Agent] = (ProbingAgent(), OneEpochProbes())
every_agent = pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)


@every_agent
@given(
    budget=st.integers(1, 60),
    batch=st.sampled_from([32, 64, 256]),
    hot=st.sampled_from([1.0, 0.009, 0.004, 0.001]),
    jumps_after=st.integers(1, 60),
    trained=st.integers(0, 6),
)
@settings(max_examples=40, deadline=None)
def test_an_agent_plays_every_episode_to_its_end_by_itself(
    agent: Agent, budget: int, batch: int, hot: float, jumps_after: int, trained: int
) -> None:
    session = DrawnSession(budget, batch, Model(trained), hot, jumps_after)

    turns = play(agent, session)

    assert session.submitted is not None
    assert all(turn.author is Author.AGENT for turn in turns)
    refusals = [turn.outcome.refusal for turn in turns if turn.outcome.refusal]
    assert all("budget is used up" in text or "no such checkpoint" in text or "diverged" in text for text in refusals)
    assert len([name for name, _ in session.calls if name in ("run_epochs", "configure_training")]) < 130


@every_agent
def test_an_agent_spends_the_whole_budget_of_a_quiet_episode(agent: Agent) -> None:
    session = DrawnSession(budget=20)

    turns = play(agent, session)

    assert turns[-1].outcome.reply is not None
    assert turns[-1].outcome.reply["remaining_budget"] == 0
    assert not any(turn.outcome.refusal for turn in turns)


@every_agent
def test_an_agent_whose_training_is_refused_is_closed_by_the_program(agent: Agent) -> None:
    session = DrawnSession(refused_tools=("run_epochs",))

    turns = play(agent, session)

    assert len(turns) < 40


def test_the_prober_keeps_weights_that_know_much_and_drops_those_that_know_nothing() -> None:
    kept, dropped = DrawnSession(budget=8, start=Model(6, 0.95)), DrawnSession(budget=8, start=Model(0, 0.05))

    play(ProbingAgent(), kept)
    play(ProbingAgent(), dropped)

    assert kept.submitted is not None
    assert kept.submitted.ceiling == 0.95
    assert dropped.submitted is not None
    assert dropped.submitted.ceiling == 0.8


def test_the_probers_model_is_the_best_that_it_saw() -> None:
    session = DrawnSession(budget=20, hot=0.009)

    play(ProbingAgent(), session)

    assert session.submitted is not None
    assert not session.submitted.diverged
    assert session.submitted.trained > 1


def test_one_epoch_probes_go_on_with_the_probe_of_the_lowest_loss() -> None:
    session = DrawnSession(budget=20, start=Model(8, 0.9), hot=0.004)

    play(OneEpochProbes(), session)

    restored = [arguments["name"] for name, arguments in session.calls if name == "restore_checkpoint"]
    assert restored[-1] == "kept"
    assert session.submitted is not None
    assert session.submitted.ceiling == 0.9


def test_the_prober_submits_the_present_model_if_a_drift_made_the_best_one_of_before_worse() -> None:
    session = DrawnSession(budget=20, drifts_after=17)

    play(ProbingAgent(), session)

    assert ("restore_checkpoint", {"name": "best"}) in session.calls
    assert session.submitted is not None
    assert session.submitted.adapted == 2


def test_the_prober_submits_the_best_model_of_before_if_what_came_later_spoilt_it() -> None:
    session = DrawnSession(budget=20, spoils_after=12)

    play(ProbingAgent(), session)

    assert session.submitted is not None
    assert session.submitted.ceiling == 0.8
