"""Competitions of a Gymnasium environment: it and the agent run apart, and neither can touch the other or the score."""

import contextlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ml_trainer_env.arena.client import connect
from ml_trainer_env.arena.workers.outcomes import RunOutcome
from ml_trainer_env.arena.workers.rollout import roll_out
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.inside.values import ValueFormError, dump, load
from permuted_mnist.sandbox.layers import find_layers
from permuted_mnist.sandbox.limits import Limits

try:
    LAYERS = find_layers()
except UnsupportedError as error:
    pytest.skip(f"no sandbox: {error}", allow_module_level=True)

PATIENT = Limits(wall_s=240.0, start_s=240.0)
HASTY = Limits(wall_s=2.0, start_s=240.0)
"""For an agent that takes longer, whatever the machine."""

CART_POLE = "import gymnasium\n\n\ndef make_env():\n    return gymnasium.make('CartPole-v1')\n"

COUNTER = """class Env:
    def reset(self, seed=None, options=None):
        self.count = 0
        return {"count": 0, "seed": seed}, {}

    def step(self, action):
        self.count += 1
        return {"count": self.count, "seed": None}, float(action), self.count == 10, False, {}
"""

BALANCE = """class Agent:
    def act(self, observation):
        return int(observation[2] + observation[3] > 0)
"""


@pytest.fixture
def play(tmp_path: Path) -> Any:
    """Play an episode of an environment with an agent, both given by their source."""

    def play(agent: str, env: str = COUNTER, limits: Limits = PATIENT) -> RunOutcome:
        tmp_path.chmod(0o755)
        for above in list(tmp_path.parents)[:2]:
            above.chmod(0o755)
        for name, source in (("agent", agent), ("env", env)):
            (tmp_path / name).mkdir()
            (tmp_path / name / f"{name}.py").write_text(source)
        return roll_out(tmp_path / "agent", tmp_path / "env", 7, 1, limits, LAYERS)

    return play


def acting(body: str, name: str = "act") -> str:
    return f"class Agent:\n    def {name}(self, observation):\n        {body}\n"


def test_an_episode_is_worth_the_sum_of_its_rewards(play: Any) -> None:
    outcome = play(acting("return 0.5 + observation['count']"))

    assert outcome.error_type is None, outcome.error_message
    assert outcome.reward == 0.5 * 10 + sum(range(10))


def test_a_known_environment_is_played_by_its_rules(play: Any) -> None:
    outcome = play(BALANCE, CART_POLE)

    assert outcome.error_type is None, outcome.error_message
    assert 50 < outcome.reward <= 500


def test_a_method_predict_will_do_and_the_seed_reaches_the_environment(play: Any) -> None:
    outcome = play(acting("print(observation['seed']); return 1", "predict"))

    assert outcome.reward == 10.0
    assert outcome.log.splitlines()[0] == "7"


@pytest.mark.parametrize(
    ("agent", "kind", "words"),
    [
        (acting("raise KeyError('its own words')"), "code_error", "KeyError: 'its own words'"),
        (acting("import time; time.sleep(60)"), "timeout", "the time is up"),
        (acting("import os; os._exit(4)"), "crash", "it ended with status 4"),
        (acting("return print"), "code_error", "numbers, texts and arrays"),
        ("x = 1", "code_error", "class Agent"),
    ],
)
def test_an_agent_that_fails_is_told_how(play: Any, agent: str, kind: str, words: str) -> None:
    outcome = play(agent, limits=HASTY if kind == "timeout" else PATIENT)

    assert (outcome.reward, outcome.error_type) == (None, kind)
    assert words in outcome.error_message
    assert "environment" not in outcome.error_message


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (COUNTER.replace("float(action)", "float('nan')"), "finite reward"),
        (COUNTER.replace("self.count += 1", "raise ValueError('of the creator')"), "of the creator"),
        ("x = 1", "make_env"),
    ],
)
def test_an_environment_that_fails_is_named(play: Any, env: str, words: str) -> None:
    outcome = play(acting("return 1"), env)

    assert outcome.reward is None
    assert "the competition's environment failed" in outcome.error_message
    assert words in outcome.error_message


@pytest.mark.skipif(LAYERS.bubblewrap is None, reason="bubblewrap does not work here")
def test_an_agent_cannot_reach_the_environment(play: Any) -> None:
    look = """import os, sys
        processes = [name for name in os.listdir('/proc') if name.isdigit()]
        print(os.listdir('/agent'), 'env' in sys.modules, len(processes))
        return 1"""

    assert play(acting(look)).log.splitlines()[0] == "['agent.py'] False 2"


@pytest.mark.slow
def test_an_agent_that_takes_nothing_in_is_ended(play: Any) -> None:
    deaf = """import time


class Agent:
    def __init__(self):
        from inside import steps
        steps.receive = lambda channel: time.sleep(600)

    def act(self, observation):
        return 1
"""
    outcome = play(deaf, COUNTER.replace('{"count": 0, "seed": seed}', '"x" * 3_000_000'))

    assert outcome.error_type == "timeout"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | hnp.arrays(st.sampled_from(["f4", "f8", "i8", "u1", "?"]), hnp.array_shapes(max_dims=3, max_side=3, min_side=0)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_values_come_out_as_they_went_in(value: Any) -> None:
    assert _same(load(dump(value)), value)


def _same(one: Any, other: Any) -> bool:
    if isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=other.dtype.kind == "f")
    if isinstance(other, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(_same, one, other))
    if isinstance(other, dict):
        return list(one) == list(other) and all(_same(one[name], other[name]) for name in other)
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("value", [print, {1, 2}, b"bytes", np.array([print]), np.array(["a"]), object()])
def test_nothing_else_travels(value: Any) -> None:
    with pytest.raises(ValueFormError):
        dump(value)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_garbage_is_refused_or_is_a_value(text: bytes) -> None:
    with contextlib.suppress(ValueFormError):
        load(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"array": ["<f8", [1099511627776], ""]}',
        b'{"array": ["O", [1], "AAAAAAAAAAA="]}',
        b'{"array": ["(2,", [0], ""]}',
        b'{"x": 1}',
        b"[1]",
    ],
)
def test_arrays_that_lie_are_refused(text: bytes) -> None:
    with pytest.raises(ValueFormError):
        load(text)


@pytest.mark.slow
def test_a_creator_brings_an_environment_and_people_compete_in_it(arena: Any) -> None:
    with connect(arena.token("carla", "creator"), arena.url) as creator:
        cid = creator.create_competition("Balance", "gymnasium")["competition_id"]
        creator.update_settings(
            cid, evaluation_metric="steps", evaluation_deployment_nb_initial_score_run=2, simulation_timeout_sec=30
        )
        creator.update_benchmark_file_content(cid, "agent.py", acting("return 0"))
        creator.run_benchmark(cid)
        assert wait_for_benchmark(creator, cid)["status"] == "failed"
        creator.update_env_file_content(cid, "env.py", CART_POLE)
        creator.run_benchmark(cid)
        assert wait_for_benchmark(creator, cid)["status"] == "completed"
        creator.start_competition(cid)
    with connect(arena.token("dora"), arena.url) as client:
        aid = client.create_attached_agent(cid, "balance")["attache_agent_id"]
        client.update_agent_file_content(cid, aid, "agent.py", BALANCE)
        client.deploy_agent(cid, aid)
        lines = list(client.tail_logs(cid, aid, poll_sec=0.2, timeout_sec=120))
        board = client.leaderboard(cid).to_dict("records")

    assert lines[-1].startswith("[active]"), lines
    assert [row["AgentName"] for row in board] == ["balance", "benchmark"]
    assert board[0]["MeanReward"] > 50 > board[1]["MeanReward"]


def wait_for_benchmark(creator: Any, cid: int) -> Any:
    deadline = time.monotonic() + 120
    while (found := creator.benchmark_status(cid))["status"] == "running" and time.monotonic() < deadline:
        time.sleep(0.2)
    return found
