"""The hybrid search: what a model sees, when it may overrule, and that its faults cost no trial."""

from collections.abc import Sequence

import pytest
from drawn_session import DEFAULT, DrawnSession, Model
from hypothesis import given
from hypothesis import strategies as st

from ml_trainer_env.baselines.chat_model import KeyRefusedError
from ml_trainer_env.baselines.play import play
from ml_trainer_env.baselines.registry import MODEL_NAMES, NAMES, LanguageModel, entrants
from ml_trainer_env.baselines.search.agent import SearchAgent, Split
from ml_trainer_env.baselines.search.hybrid import Advice, Hybrid, HybridProposer, LlmAdvisor, Tried, is_due
from ml_trainer_env.baselines.search.proposers import RandomProposer, random_proposer
from ml_trainer_env.baselines.search.space import Configuration, Space
from ml_trainer_env.baselines.settings import SettingsError, read_settings

DEFAULT_CONFIGURATION = Configuration.default(DEFAULT)
PROPOSAL = Configuration("adamw", 0.005, 32, 0.01, 0.1, 0.2, fresh=True)


@pytest.fixture
def brief():
    return DrawnSession(largest_batch=64).brief


@pytest.fixture
def advice():
    return Advice()


@pytest.fixture
def advisor(bench, brief, advice):
    return LlmAdvisor(bench.chat(max_retries=0), brief, Space.of(brief), advice, bench.record)


def test_the_model_sees_task_history_and_proposal_and_may_accept(bench, advisor, advice):
    bench.server.calls("accept")

    chosen = advisor.review([Tried(DEFAULT_CONFIGURATION, 0.31234), Tried(PROPOSAL, -float("inf"))], PROPOSAL)

    assert chosen == PROPOSAL
    assert advice == Advice(asked=1, accepted=1)
    told = bench.told(0)
    assert "Tell 3 classes apart." in told
    assert "-> 0.3123" in told
    assert "-> diverged" in told
    assert told.endswith(
        '{"optimizer": "adamw", "learning_rate": 0.005, "batch_size": 32, "weight_decay": 0.01, '
        '"dropout": 0.1, "augmentation_strength": 0.2, "reinitialize": true}'
    )
    offered = {tool["function"]["name"]: tool["function"] for tool in bench.server.requests[0].body["tools"]}
    assert set(offered) == {"accept", "overrule"}
    assert offered["overrule"]["parameters"]["properties"]["batch_size"]["enum"] == [32, 64]


def test_it_may_overrule_some_settings_and_the_others_stay(bench, advisor, advice):
    bench.server.calls("overrule", learning_rate=0.02, reinitialize=False, optimizer="sgd", batch_size=64)

    chosen = advisor.review([], PROPOSAL)

    assert chosen == Configuration("sgd", 0.02, 64, 0.01, 0.1, 0.2, fresh=False)
    assert advice == Advice(asked=1, overruled=1)
    assert bench.events[-1][1]["outcome"] == "overruled"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("overrule", '{"learning_rate": 0}'),
        ("overrule", '{"learning_rate": "0.01"}'),
        ("overrule", '{"learning_rate": true}'),
        ("overrule", '{"batch_size": 128}'),
        ("overrule", '{"optimizer": "lion"}'),
        ("overrule", '{"optimizer": ["sgd"]}'),
        ("overrule", '{"momentum": 0.9}'),
        ("overrule", '{"dropout": 0.6}'),
        ("overrule", '{"reinitialize": 1}'),
        ("overrule", "[0.01]"),
        ("overrule", "{not json"),
        ("run_epochs", '{"num_epochs": 3}'),
    ],
)
def test_an_invalid_call_leaves_the_proposal_and_is_counted(bench, advisor, advice, name, arguments):
    bench.server.says(None, (name, arguments))

    assert advisor.review([], PROPOSAL) == PROPOSAL
    assert advice == Advice(asked=1, unusable=1)


def test_an_answer_without_a_call_leaves_the_proposal_and_is_counted(bench, advisor, advice):
    bench.server.says("I would rather not.")

    assert advisor.review([], PROPOSAL) == PROPOSAL
    assert advice == Advice(asked=1, unusable=1)


@pytest.mark.parametrize("status", [400, 500])
def test_an_error_of_the_model_leaves_the_proposal_and_is_counted(bench, advisor, advice, status):
    bench.server.fails(status)

    assert advisor.review([], PROPOSAL) == PROPOSAL
    assert advice == Advice(asked=1, failed=1)


def test_a_refused_key_ends_the_episode(bench, advisor):
    bench.server.fails(401)

    with pytest.raises(KeyRefusedError):
        advisor.review([], PROPOSAL)


@given(share=st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 1.0]), count=st.integers(1, 40))
def test_the_share_of_proposals_that_the_model_sees_is_counted_out(share, count):
    due = [is_due(number, share) for number in range(1, count + 1)]

    assert abs(sum(due) - share * count) < 1
    assert due[0] == (share > 0)


class Overruler:
    """An advisor that always overrules."""

    def __init__(self) -> None:
        self.seen: list[tuple[list[Tried], Configuration]] = []

    def review(self, history: Sequence[Tried], proposal: Configuration) -> Configuration:
        self.seen.append((list(history), proposal))
        return PROPOSAL


def test_the_advisor_sees_its_share_and_all_that_was_tried_and_the_sampler_is_told_all(brief):
    space, advisor = Space.of(brief), Overruler()
    proposer = HybridProposer(RandomProposer(space, 1), advisor, 0.5)
    plain = RandomProposer(space, 1)

    proposer.tell(DEFAULT_CONFIGURATION, 0.2)
    asked = []
    for number in range(4):
        asked.append(proposer.ask())
        proposer.tell(asked[-1], float(number))

    proposals = [plain.ask() for _ in range(4)]
    assert asked == [PROPOSAL, proposals[1], PROPOSAL, proposals[3]]
    assert [proposal for _, proposal in advisor.seen] == [proposals[0], proposals[2]]
    assert [one.value for one in advisor.seen[1][0]] == [0.2, 0.0, 1.0]


def test_a_hybrid_plays_an_episode_and_the_default_is_tried_before_the_model_is_asked(bench):
    for _ in range(2):
        bench.server.calls("overrule", learning_rate=0.004)
    hybrid = Hybrid(bench.chat(), share=0.5, propose=random_proposer)
    session = DrawnSession(16, start=Model(2, 0.7))

    turns = play(SearchAgent("hybrid", hybrid, split=Split(0.5, 4)), session)

    assert session.submitted is not None
    assert not [turn for turn in turns if turn.outcome.refusal]
    assert hybrid.advice == Advice(asked=2, overruled=2)
    assert '"learning_rate": 0.001' in bench.told(0)
    rates = [arguments["learning_rate"] for name, arguments in session.calls if name == "configure_training"]
    assert rates[0] == DEFAULT["learning_rate"]
    assert rates[1] == rates[3] == 0.004


def test_a_model_that_never_answers_well_costs_no_trial(bench):
    bench.server.says("no")
    plain, asking = DrawnSession(16), DrawnSession(16)

    play(SearchAgent("a", random_proposer), plain)
    play(SearchAgent("a", Hybrid(bench.chat(max_retries=0), share=1.0, propose=random_proposer)), asking)

    assert asking.calls == plain.calls


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_between_0_and_1(bench, share):
    with pytest.raises(ValueError, match="the share of a hybrid must be from 0 to 1"):
        Hybrid(bench.chat(), share=share)


def test_the_share_is_a_setting():
    assert read_settings({"OPENAI_API_KEY": "k", "LLM_HYBRID_SHARE": "0.25"}, None).llm.hybrid_share == 0.25
    with pytest.raises(SettingsError, match="LLM_HYBRID_SHARE must be a number from 0 to 1, not 'half'"):
        read_settings({"OPENAI_API_KEY": "k", "LLM_HYBRID_SHARE": "half"}, None)


@pytest.mark.parametrize("game", NAMES)
def test_a_model_brings_the_agents_that_need_one(bench, game):
    found = entrants(game, LanguageModel(bench.chat(), bench.settings()))

    assert tuple(found) == (*NAMES[game], *MODEL_NAMES[game])
    assert [found[name]().name.rsplit(":", 1)[-1] for name in MODEL_NAMES[game]] == ["gpt-4o-mini"] * len(
        MODEL_NAMES[game]
    )
