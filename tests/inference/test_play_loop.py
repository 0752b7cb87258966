"""The loop between an agent and a session: every episode ends graded, and every turn is kept."""

import pytest

from ml_trainer_env.baselines.agent import BadDecision, Call
from ml_trainer_env.baselines.episode import EpisodeResult, summarise
from ml_trainer_env.baselines.play import Author, play

RUN = Call("run_epochs", {"num_epochs": 5}, "to begin with")


class Scripted:
    """An agent with its mind made up. It keeps what it was sent."""

    name = "scripted"

    def __init__(self, *decisions):
        self.decisions = decisions
        self.outcomes = []

    def script(self, brief, tools):
        for decision in self.decisions:
            self.outcomes.append((yield decision))


def test_an_agent_that_submits_ends_the_episode(make_session):
    turns = play(Scripted(RUN, Call("submit_model"), RUN), make_session())

    assert [turn.decision.name for turn in turns] == ["run_epochs", "submit_model"]


def test_an_agent_that_stops_is_submitted(make_session):
    turns = play(Scripted(RUN), make_session())

    assert turns[-1].decision.name == "submit_model"
    assert turns[-1].author is Author.CLOSING
    assert turns[-1].outcome.done


def test_an_agent_that_stops_is_not_submitted_where_the_caller_closes_nothing(make_session):
    turns = play(Scripted(RUN), make_session(), closes=False)

    assert [turn.decision for turn in turns] == [RUN]


def test_an_agent_that_does_nothing_gets_epochs_within_the_budget_and_is_submitted(make_session):
    session = make_session(budget=7)

    play(Scripted(), session)

    assert session.calls == [("run_epochs", {"num_epochs": 7}), ("submit_model", {})]


def test_a_diverged_model_is_still_submitted(make_session):
    turns = play(Scripted(Call("configure_training", {"learning_rate": 9.0}), RUN), make_session())

    assert turns[-1].outcome.done


def test_a_refusal_is_an_outcome(make_session):
    agent = Scripted(Call("run_epochs", {"num_epochs": 99}), RUN)

    play(agent, make_session())

    assert agent.outcomes[0].reply is None
    assert "from 1 to 20" in agent.outcomes[0].refusal


def test_a_bad_decision_never_reaches_the_session(make_session):
    session = make_session()
    agent = Scripted(BadDecision("I think so", "no call"), RUN)

    play(agent, session)

    assert [name for name, _ in session.calls] == ["run_epochs", "submit_model"]
    assert agent.outcomes[0].refusal == "no call"


def test_turns_are_watched_as_they_happen_and_timed(make_session, fake_time):
    seen = []

    def watch(turn):
        seen.append(turn)
        fake_time.now += 1.0  # what a watcher takes is not the agent's

    turns = play(Scripted(RUN), make_session(), watch, clock=fake_time)

    assert tuple(seen) == turns
    assert [turn.number for turn in turns] == [1, 2]
    assert all(turn.decide_s == turn.reply_s == 0.0 for turn in turns)


def test_a_result_sums_up_the_episode(make_session):
    session = make_session(budget=30, source="synthetic")
    turns = play(Scripted(RUN, BadDecision("Hm", "no call"), RUN), session)

    result = summarise("scripted", session.brief, turns, seconds=1.5, tokens=7)

    assert (result.epochs_run, result.data_source, result.tokens) == (10, "synthetic", 7)
    assert result.score == result.test_accuracy == result.details["val_accuracy"]
    assert result.reward == round(0.05 + 0.05 + result.score, 4)
    assert [point.epoch for point in result.curve] == list(range(1, 11))
    assert [call.refused for call in result.calls] == [False, True, False, False]
    assert result.calls[0].reason == "to begin with"


def test_a_result_survives_the_trip_through_plain_values(make_session):
    session = make_session()
    result = summarise("scripted", session.brief, play(Scripted(RUN), session), seconds=1.0)

    assert EpisodeResult.from_dict(result.to_dict()) == result


def test_an_episode_that_was_never_answered_has_no_score(make_session):
    result = summarise("scripted", make_session().brief, (), seconds=0.0)

    assert (result.score, result.test_accuracy, result.epochs_run) == (None, None, 0)


SUBMIT = Call("submit_model")
PROSE = BadDecision("I would train for five epochs.", "no call")


@pytest.mark.parametrize(
    ("decisions", "played"),
    [
        ((RUN, SUBMIT), True),
        ((PROSE, RUN, SUBMIT), True),
        ((RUN,), False),
        ((PROSE,) * 4, False),
        ((SUBMIT,), False),  # refused, since nothing had been trained
        ((), False),
    ],
)
def test_an_agent_played_to_the_end_if_a_call_of_its_own_ended_the_episode(make_session, decisions, played):
    session = make_session()
    result = summarise("scripted", session.brief, play(Scripted(*decisions), session), seconds=1.0)

    assert result.score > 0
    assert result.played_to_end is played
    assert result.counted_score == (result.score if played else 0.0)
    assert result.to_dict()["played_to_end"] is played


def test_the_call_at_which_the_environment_submits_by_itself_is_the_agents_end(make_session):
    class Impatient(make_session):
        def _run(self, count):
            super()._run(count)
            return self._submit()

    session = Impatient()
    result = summarise("scripted", session.brief, play(Scripted(RUN, RUN), session), seconds=1.0)

    assert result.played_to_end
