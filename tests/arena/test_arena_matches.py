"""Competitions in which submissions meet: ratings and their intervals, opponents, matches in the sandbox."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from ml_trainer_env.arena.client import connect
from ml_trainer_env.arena.leaderboard.bradley_terry import BASE, SCALE, Match, fit
from ml_trainer_env.arena.leaderboard.service import board
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.submissions.opponents import moves_first
from ml_trainer_env.arena.tables import Agent, Blame, Competition, Deploy, RunKind
from ml_trainer_env.arena.workers.finals import queue_finalist
from ml_trainer_env.arena.workers.match import Contestant, play_match
from ml_trainer_env.arena.workers.outcomes import RunOutcome
from ml_trainer_env.arena.workers.queue import claim, finish, next_run, record_run
from permuted_mnist.sandbox.layers import Layers
from permuted_mnist.sandbox.limits import Limits

PLAYERS = ("a", "b", "c", "d")
PATIENT = Limits(wall_s=240.0, start_s=240.0)

matches = st.lists(
    st.tuples(st.sampled_from(PLAYERS), st.sampled_from(PLAYERS), st.sampled_from((0.0, 0.5, 1.0)))
    .filter(lambda drawn: drawn[0] != drawn[1])
    .map(lambda drawn: Match(*drawn)),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(matches)
def test_expected_wins_are_the_wins_and_order_does_not_matter(drawn: list[Match]) -> None:
    found = fit(PLAYERS, drawn)

    for player in PLAYERS:
        own = [one if one.first == player else Match(one.second, one.first, 1 - one.result) for one in drawn]
        met = [one for one in own if one.first == player]
        rating = found[player].value
        expected = sum(float(special.expit((rating - found[one.second].value) / SCALE)) for one in met)
        prior = 0.5 - float(special.expit((rating - BASE) / SCALE))
        assert sum(one.result for one in met) + prior == pytest.approx(expected, abs=1e-6)
    turned = [Match(one.second, one.first, 1 - one.result) for one in reversed(drawn)]
    other = fit(PLAYERS[::-1], turned)
    assert {one: other[one].value for one in PLAYERS} == pytest.approx({one: found[one].value for one in PLAYERS})


def test_a_draw_is_half_a_win_and_more_matches_are_more_certain() -> None:
    few = fit("ab", [Match("a", "b", 1.0), Match("a", "b", 0.5)])
    many = fit("ab", [Match("a", "b", 1.0), Match("a", "b", 0.5)] * 50)

    assert few["a"].value > BASE > few["b"].value
    assert few["a"].value - BASE == pytest.approx(BASE - few["b"].value)
    assert many["a"].ci95 < few["a"].ci95
    assert fit([], []) == {}
    assert fit(["a"], [])["a"].value == BASE


def test_a_rating_predicts_wins_on_the_scale_of_elo() -> None:
    # 10 wins for each loss are 400 points, but for the prior, which weighs little beside 11,000 matches.
    found = fit("ab", [Match("a", "b", 1.0)] * 10_000 + [Match("a", "b", 0.0)] * 1_000)

    assert found["a"].value - found["b"].value == pytest.approx(400.0, abs=1.0)


def test_the_interval_has_the_rating_as_often_as_it_says() -> None:
    truth = dict(zip(PLAYERS, (-0.8, -0.2, 0.3, 0.7), strict=True))
    dice = np.random.default_rng(5)
    inside = []
    for _ in range(150):
        drawn = []
        for first in PLAYERS:
            for second in PLAYERS:
                chance = special.expit(truth[first] - truth[second])
                drawn += [Match(first, second, float(dice.random() < chance)) for _ in range(12 * (first < second))]
        found = fit(PLAYERS, drawn)
        inside += [abs(found[one].value - BASE - SCALE * truth[one]) < found[one].ci95 for one in PLAYERS]

    assert 0.93 < np.mean(inside) < 1.0


GAME = """class Env:
    possible_agents = ["first", "second"]

    def reset(self, seed=None):
        self.agents, self.agent_selection = list(self.possible_agents), "first"
        self.terminations = self.truncations = dict.fromkeys(self.agents, False)
        self.rewards, self.sums = dict.fromkeys(self.agents, 0), dict.fromkeys(self.agents, 0)
        self.left = 4

    def observe(self, agent):
        return {"left": self.left, "action_mask": [1, 1, 1]}

    def step(self, action):
        self.sums[self.agent_selection] += int(action)
        self.left -= 1
        first, second = self.possible_agents
        self.agent_selection = second if self.agent_selection == first else first
        if not self.left:
            ahead = (self.sums[first] > self.sums[second]) - (self.sums[first] < self.sums[second])
            self.rewards = {first: ahead, second: -ahead}
            self.terminations = dict.fromkeys(self.agents, True)
"""
"""Whoever names the higher numbers wins."""

NUMBER = "class Agent:\n    def act(self, observation):\n        return {}\n"
BROKEN = "class Agent:\n    def act(self, observation):\n        raise ValueError('its own words')\n"


@pytest.fixture
def meet(tmp_path: Path, layers: Layers) -> Any:
    """Let an agent meet another, both given by their sources."""

    def meet(own: str, opponent: str, game: str = GAME, *, moves_first: bool = True) -> RunOutcome:
        for above in (tmp_path, *list(tmp_path.parents)[:2]):
            above.chmod(0o755)
        for name, file, source in (("own", "agent", own), ("other", "agent", opponent), ("game", "env", game)):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{file}.py").write_text(source)
        first, second = (Contestant(tmp_path / name, layers, 1) for name in ("own", "other"))
        return play_match(first, second, tmp_path / "game", layers, 7, PATIENT, moves_first=moves_first)

    return meet


@pytest.mark.parametrize("moves_first", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_match_is_won_drawn_or_lost_from_either_seat(meet: Any, moves_first: bool) -> None:
    results = [meet(NUMBER.format(2), NUMBER.format(other), moves_first=moves_first).reward for other in (1, 2, 3)]

    assert results == [1.0, 0.5, 0.0]


@pytest.mark.slow
def test_who_fails_has_lost_and_the_failure_has_an_owner(meet: Any) -> None:
    assert meet(NUMBER.format(1), BROKEN).reward == 1.0
    own = meet(BROKEN, NUMBER.format(1))
    assert (own.reward, own.error_type, own.error_owner) == (None, "code_error", Blame.PARTICIPANT)
    assert "its own words" in str(own.error_message)
    three = meet(NUMBER.format(1), NUMBER.format(1), GAME.replace('"second"]', '"second", "third"]'))
    assert three.error_owner == Blame.CHALLENGE
    assert "two players" in str(three.error_message)
    strange = meet(NUMBER.format(1), NUMBER.format(1), GAME.replace("first: ahead", "first: float('nan')"))
    assert strange.error_owner == Blame.CHALLENGE


@pytest.fixture
def make_player(services: Services, make_agent: Any) -> Any:
    """Make a submission to a competition of two players, with four matches that count."""

    def make(user: str) -> int:
        aid = make_agent(user)
        with services.database.transaction() as session:
            competition = session.query(Competition).one()
            competition.kernel = "two_players"
            competition.settings = {**competition.settings, "evaluation_deployment_nb_initial_score_run": 4}
        return int(aid)

    return make


def grade(services: Services, aid: int, result: float) -> list[int]:
    """Deploy a submission and end all of its matches with a result. Returns its opponents, by their evaluations."""
    with services.database.transaction() as session:
        session.get_one(Agent, aid).files_ok = True  # its files are those of another kind
        deploy = service.deploy(session, session.get_one(Agent, aid), services)
        met = [run.opponent_deploy_id or 0 for run in deploy.runs if run.kind == RunKind.SCORE]
        assert {run.opponent_deploy_id for run in deploy.runs if run.kind == RunKind.CONSTRAINT} == {deploy.id}
        seats = [moves_first(run.number) for run in deploy.runs if run.kind == RunKind.SCORE]
        assert seats in ([True, False] * 2, [False, True] * 2)
    with services.database.transaction() as session:
        held = claim(session, "w", 100.0)
        assert held is not None
        while (run := next_run(session, held)) is not None:
            record_run(session, held, run.id, RunOutcome(result, 1.0, 100, None, None, ""), "0" * 64)
            session.flush()
        assert finish(session, held, services)
    return met


def test_submissions_meet_those_of_others_from_both_seats_and_are_ranked_by_all_matches(
    services: Services, make_player: Any
) -> None:
    first, second, own = make_player("bob"), make_player("eve"), make_player("eve")

    (alone,) = set(grade(services, first, 0.5))  # nobody else is there: it meets itself
    assert grade(services, second, 1.0) == [alone] * 4
    assert grade(services, own, 0.0) == [alone] * 4  # not the other submission of its own user

    with services.database.transaction() as session:
        competition = session.query(Competition).one()
        rows = {row["agentAttachId"]: row for row in board(session, competition)}
        assert not queue_finalist(session, services)
    assert list(rows) == [second, first, own]
    assert rows[second]["EloScore"] > BASE > rows[own]["EloScore"]
    assert all(row["RewardCi95"] > 0 and row["DiffersFromAbove"] is None for row in rows.values())
    with services.database.transaction(read_only=True) as session:
        others = {session.get_one(Agent, aid).scored_deploy_id for aid in (second, own)}
    met = grade(services, first, 0.5)
    assert (set(met), met[0] == met[1], met[2] == met[3]) == (others, True, True)
    with services.database.transaction() as session:
        ratings = [row["EloScore"] for row in board(session, session.query(Competition).one())]
        assert session.query(Deploy).filter_by(agent_id=first).count() == 2
    assert ratings == [pytest.approx(BASE)] * 3  # matches against files that were replaced since do not count


TIC_TAC_TOE = "from pettingzoo.classic import tictactoe_v3\n\n\ndef make_env():\n    return tictactoe_v3.env()\n"
RANDOM = """import random


class Agent:
    def __init__(self, seed=None):
        self.random = random.Random(seed)

    def act(self, observation):
        return self.random.choice([move for move, allowed in enumerate(observation["action_mask"]) if allowed])
"""
GREEDY = """class Agent:
    def act(self, observation):
        board, mask = observation["observation"], observation["action_mask"]
        lines = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]
        for plane in (0, 1):  # win, or keep the other from it
            taken = {3 * x + y for x in range(3) for y in range(3) if board[x][y][plane]}
            for line in lines:
                free = [cell for cell in line if cell not in taken]
                if len(free) == 1 and mask[free[0]]:
                    return free[0]
        return next(move for move in (4, 0, 2, 6, 8, 1, 3, 5, 7) if mask[move])
"""
ILLEGAL = "class Agent:\n    def act(self, observation):\n        return 0\n"


def add_runtime_of_pettingzoo(arena: Any, folder: Path) -> None:
    requirements = folder / "requirements.txt"
    requirements.write_text("pettingzoo==1.27.0\npygame\n")
    command = [sys.executable, "-m", "ml_trainer_env.arena", "runtime", "add", "classic", "--requirements"]
    added = subprocess.run(
        [*command, str(requirements)], env=arena.environment, capture_output=True, text=True, check=False
    )
    if "No matching distribution" in added.stderr or "ConnectionError" in added.stderr:
        pytest.skip("the packages are not to be had here")
    assert added.returncode == 0, added.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_agents_meet_in_a_classic_game_of_pettingzoo(arena: Any, tmp_path: Path) -> None:
    add_runtime_of_pettingzoo(arena, tmp_path)
    with connect(arena.token("carl", "creator"), arena.url) as creator:
        cid = creator.create_competition("Tic-tac-toe", "two_players")["competition_id"]
        wanted = {"runtime": "classic", "evaluation_deployment_nb_initial_score_run": 8}
        creator._call_creator_route("update_settings", "PUT", cid, "/settings", json=wanted)
        creator.update_env_file_content(cid, "env.py", TIC_TAC_TOE)
        creator.update_benchmark_file_content(cid, "agent.py", RANDOM)
        creator.run_benchmark(cid)
        while (state := creator.benchmark_status(cid))["status"] == "running":
            time.sleep(0.2)
        assert state["status"] == "completed", state
        creator.start_competition(cid)
    for name, source in (("greedy", GREEDY), ("illegal", ILLEGAL)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "agent.py").write_text(source)
        with connect(arena.token(name), arena.url) as client:
            aid = client.submit(cid, files=str(tmp_path / name))["agent_id"]
            while (found := client.agent_status(cid, aid))["status"] not in {"active", "deploy_failed"}:
                time.sleep(0.2)
            assert found["status"] == "active", found
            rows = client.leaderboard(cid)
    rows = rows.to_dict("records") if hasattr(rows, "to_dict") else rows
    assert [row["AgentName"] for row in rows] == ["greedy", "benchmark", "illegal"]
    assert all(row["RewardCi95"] > 0 for row in rows)
