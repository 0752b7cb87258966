"""The finals: the first of a board play as many runs again; who they are and what they come to follows from rewards."""

import json
import random
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from ml_trainer_env.arena.leaderboard.cache import Boards
from ml_trainer_env.arena.leaderboard.finals import PLACES, finalists
from ml_trainer_env.arena.leaderboard.service import board, find_finalists
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.submissions.service import visible_figure
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, Deploy, DeployStatus, Run, RunKind
from ml_trainer_env.arena.workers.finals import queue_finalist
from ml_trainer_env.arena.workers.outcomes import WITHHELD, RunOutcome, without_details
from ml_trainer_env.arena.workers.queue import claim, finish, must_yield, next_run, record_run, release
from ml_trainer_env.arena.workers.worker import Worker
from permuted_mnist.sandbox.layers import Layers

LEASE_S = 100.0
BAD = RunOutcome(None, 1.0, 100, "timeout", "too slow", "")

BOARDS: dict[str, Boards] = {}
"""Of each test one: whatever is asked of a board, what is kept of it is the same."""

agents = st.lists(
    st.tuples(st.integers(0, 8), st.none() | st.integers(0, 8), st.integers()),
    max_size=12,
    unique_by=lambda one: one[2],
)
"""Of each its rewards before and with finals, and when it was submitted."""


@given(agents)
def test_the_first_as_shown_have_all_been_seated_and_nobody_without_need(
    drawn: list[tuple[int, int | None, int]],
) -> None:
    ranked = sorted(drawn, key=lambda one: (-one[0], one[2]))
    before, after, submitted = ([one[part] for one in ranked] for part in range(3))
    seated = finalists(before, after, submitted)

    shown = [final if index in seated and final is not None else before[index] for index, final in enumerate(after)]
    assert seated.issuperset(sorted(range(len(shown)), key=lambda index: (-shown[index], submitted[index]))[:PLACES])
    assert seated == set(range(len(seated)))
    # Whoever fell, or came to be the equal of one submitted earlier, is why those after the first places were seated.
    fell = sum(shown[index] < before[index] for index in seated)
    assert len(seated) <= PLACES + fell


def test_finals_that_nobody_needs_do_not_count() -> None:
    assert finalists([0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 1.0], range(4)) == {0, 1, 2}
    assert finalists([0.9, 0.8, 0.7, 0.6], [0.1, 0.8, 0.7, None], range(4)) == {0, 1, 2, 3}
    assert finalists([0.9, 0.8], [None, None], range(2)) == {0, 1}


def test_who_falls_to_be_the_equal_of_one_submitted_earlier_makes_room_for_it() -> None:
    assert finalists([0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.6, None], (2, 3, 4, 1)) == {0, 1, 2, 3}
    assert finalists([0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.6, None], (1, 2, 3, 4)) == {0, 1, 2}


def grade(services: Services, agent_id: int, reward: float) -> None:
    """Deploy an agent, and play its runs to this reward."""
    with services.database.transaction() as session:
        deploy_id = service.deploy(session, session.get_one(Agent, agent_id), services).id
    assert play(services, {agent_id: RunOutcome(reward, 1.0, 100, None, None, "")}) == deploy_id


def play(services: Services, outcomes: dict[int, RunOutcome]) -> int | None:
    """Claim what is next and play it to its end, by its agent's outcome; None if nothing waits."""
    with services.database.transaction() as session:
        held = claim(session, "w", LEASE_S)
        if held is None:
            return None
        agent_id = session.get_one(Deploy, held.deploy_id).agent_id
    over = False
    while not over:
        with services.database.transaction() as session:
            run = next_run(session, held)
            failed = session.scalar(
                sa.select(Run.id).where(Run.deploy_id == held.deploy_id, Run.error_type.isnot(None))
            )
            if run is None or failed:
                over = finish(session, held, services)
            else:
                record_run(session, held, run.id, outcomes[agent_id], "0" * 64)
    return held.deploy_id


def seat(services: Services) -> bool:
    with services.database.transaction() as session:
        return queue_finalist(session, services)


def play_finals(services: Services, outcomes: dict[int, float]) -> int:
    """Until nobody is left to be seated; how many have played."""
    count = 0
    while seat(services):
        assert play(services, {aid: RunOutcome(reward, 1.0, 100, None, None, "") for aid, reward in outcomes.items()})
        count += 1
    return count


def rows(services: Services) -> list[tuple[int, float, int]]:
    with services.database.transaction(read_only=True) as session:
        competition = session.scalars(sa.select(Competition)).one()
        found = board(session, competition)
        assert (
            json.loads(BOARDS.setdefault(str(services.settings.data_dir), Boards()).as_json(session, competition))
            == found
        )
        assert [row["Rank"] for row in found] == list(range(1, len(found) + 1))
        return [(row["agentAttachId"], round(row["MeanReward"], 6), row["NumberOfRuns"]) for row in found]


def test_the_first_three_play_on_and_are_ranked_by_all_their_runs(services: Services, make_agent: Any) -> None:
    agents = [make_agent() for _ in range(5)]
    for aid, reward in zip(agents, (0.5, 0.9, 0.7, 0.6, 0.8), strict=True):
        grade(services, aid, reward)
    best, second, third, fourth, last = (agents[index] for index in (1, 4, 2, 3, 0))

    assert play_finals(services, {best: 0.5, second: 0.9, third: 0.7}) == 3

    assert rows(services) == [(second, 0.85, 4), (best, 0.7, 4), (third, 0.7, 4), (fourth, 0.6, 2), (last, 0.5, 2)]
    assert not seat(services)


def test_who_comes_to_be_among_the_first_is_seated_too(services: Services, make_agent: Any) -> None:
    agents = [make_agent() for _ in range(5)]
    for aid, reward in zip(agents, (0.9, 0.8, 0.7, 0.6, 0.1), strict=True):
        grade(services, aid, reward)

    assert play_finals(services, dict(zip(agents, (0.9, 0.8, 0.1, 0.6, 1.0), strict=True))) == 4

    assert rows(services)[2:] == [(agents[3], 0.6, 4), (agents[2], 0.4, 4), (agents[4], 0.1, 2)]


def test_the_board_does_not_depend_on_who_was_graded_first(services: Services, make_agent: Any) -> None:
    agents = [make_agent() for _ in range(6)]
    first = dict(zip(agents, (0.95, 0.9, 0.85, 0.8, 0.75, 0.3), strict=True))
    final = dict(zip(agents, (0.1, 0.9, 0.3, 0.81, 0.85, 0.9), strict=True))
    boards = set()
    dice = random.Random(5)
    for early in (0, 2, 5):
        order = dice.sample(agents, len(agents))
        for aid in order[:early]:
            grade(services, aid, first[aid])
        play_finals(services, final)  # those who are first so far
        for aid in order[early:]:
            grade(services, aid, first[aid])
        play_finals(services, final)
        boards.add(tuple(rows(services)))

    assert len(boards) == 1


def test_a_finalist_stays_on_the_board_and_is_told_of_its_success(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    grade(services, aid, 0.5)
    assert seat(services)
    assert not seat(services)

    def told() -> tuple[Any, Any, Any]:
        with services.database.transaction(read_only=True) as session:
            agent = session.get_one(Agent, aid)
            latest = service.deploy_state(session, agent, 3)["latestDeploy"]
            return agent.status, latest["status"], service.status(session, agent, None)["queue_info"]

    assert told() == (AgentStatus.ACTIVE, DeployStatus.SUCCEEDED, None)
    with services.database.transaction() as session:
        held = claim(session, "w", LEASE_S)
    assert told() == (AgentStatus.ACTIVE, DeployStatus.SUCCEEDED, None)
    assert held is not None
    with services.database.transaction() as session:
        release(session, held)
    assert told() == (AgentStatus.ACTIVE, DeployStatus.SUCCEEDED, None)
    assert rows(services) == [(aid, 0.5, 2)]


def test_finals_stand_back_for_what_is_new(services: Services, make_agent: Any) -> None:
    old, new = make_agent(), make_agent()
    grade(services, old, 0.5)
    assert seat(services)
    with services.database.transaction() as session:
        final = claim(session, "w", LEASE_S)
        assert final is not None
        assert not must_yield(session, final, turn_is_over=True)
        newer = service.deploy(session, session.get_one(Agent, new), services).id
        assert must_yield(session, final, turn_is_over=False)
        release(session, final)
    with services.database.transaction() as session:
        held = claim(session, "w", LEASE_S)

    assert held is not None
    assert held.deploy_id == newer


def test_who_fails_in_the_finals_leaves_the_board_and_the_next_is_seated(services: Services, make_agent: Any) -> None:
    agents = [make_agent() for _ in range(4)]
    for aid, reward in zip(agents, (0.9, 0.8, 0.7, 0.6), strict=True):
        grade(services, aid, reward)

    assert seat(services)
    play(services, {agents[0]: BAD})
    assert play_finals(services, dict.fromkeys(agents, 0.5)) == 3

    assert [row[0] for row in rows(services)] == agents[1:]
    with services.database.transaction(read_only=True) as session:
        failed = session.get_one(Agent, agents[0])
        assert failed.status == AgentStatus.DEPLOY_FAILED
        assert failed.last_status_message == "timeout in run 4: too slow"


def test_deploying_again_ends_the_finals_of_what_was_there(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    grade(services, aid, 0.9)
    play_finals(services, {aid: 0.8})
    grade(services, aid, 0.5)
    assert rows(services) == [(aid, 0.5, 2)]
    assert seat(services)
    grade(services, aid, 0.4)  # while its finals wait

    assert rows(services) == [(aid, 0.4, 2)]
    with services.database.transaction(read_only=True) as session:
        assert {*session.scalars(sa.select(Deploy.status))} == {DeployStatus.SUCCEEDED}


TALKER = b"""class Agent:
    def train(self, X, y): print("the task is", y[:10])
    def predict(self, X): return [0] * len(X)
"""


@pytest.mark.slow
def test_what_an_agent_says_in_the_finals_is_not_shown(services: Services, make_agent: Any, layers: Layers) -> None:
    aid = make_agent()
    with services.database.transaction() as session:
        agent, digest = session.get_one(Agent, aid), services.blobs.put(TALKER)
        service.keep_file(session, agent, "agent.py", digest, len(TALKER), services.sources)
        service.deploy(session, agent, services)
    worker = Worker(services, layers)

    while worker.work_once():
        continue

    with services.database.transaction(read_only=True) as session:
        runs = list(session.scalars(sa.select(Run).order_by(Run.number)))
    logs = [services.blobs.get(str(run.log_sha256)).decode() for run in runs]
    assert [run.kind for run in runs] == [RunKind.CONSTRAINT, *[RunKind.SCORE] * 2, *[RunKind.FINAL] * 2]
    assert ["the task is" in log for log in logs] == [True, True, True, False, False]
    assert WITHHELD == without_details(BAD).error_message == logs[-1]


def test_of_equals_the_one_submitted_earlier_is_ahead_after_finals_too(services: Services, make_agent: Any) -> None:
    agents = [make_agent() for _ in range(3)]
    for aid, reward in zip(agents, (0.4, 0.6, 0.5), strict=True):
        grade(services, aid, reward)

    play_finals(services, dict(zip(agents, (0.6, 0.4, 0.5), strict=True)))

    assert [row[0] for row in rows(services)] == agents


def test_many_finals_that_end_badly_seat_many(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    grade(services, aid, 0.9)
    with services.database.transaction() as session:
        pattern = session.get_one(Agent, aid)
        copied = {name: getattr(pattern, name) for name in ("competition_id", "user_id", "status", "files_ok", "name")}
        session.add_all(
            Agent(**copied, mean_reward=0.8, rewards=[0.8, 0.8], final_rewards=[0.1], scored_deploy_id=100 + number)
            for number in range(90)
        )
        session.flush()
        seated = find_finalists(session, pattern.competition)

    assert len(seated) == 91


def test_figures_of_single_finals_are_not_told(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    grade(services, aid, 0.9)
    play_finals(services, {aid: 0.7})

    with services.database.transaction(read_only=True) as session:
        results = service.status(session, session.get_one(Agent, aid), None)["run_info"]["results"]
    assert [run["current_reward"] for run in results] == [0.9, 0.9, 0.9, None, None]
    assert visible_figure(RunKind.FINAL, 0.7) is None


@pytest.mark.parametrize("deed", [service.deploy, service.delete])
def test_who_is_changing_an_agent_keeps_it_from_being_seated(services: Services, make_agent: Any, deed: Any) -> None:
    if services.database.is_sqlite:
        pytest.skip("SQLite has one writer")
    aid = make_agent()
    grade(services, aid, 0.9)
    with services.database.transaction(read_only=True) as session:
        user_id = session.get_one(Agent, aid).user_id

    with services.database.transaction(by=user_id) as changing:
        deed(changing, changing.get_one(Agent, aid), *([services] if deed is service.deploy else []))
        changing.flush()
        assert not seat(services)

    assert not seat(services)
    with services.database.transaction(read_only=True) as session:
        assert not any(deploy.is_final for deploy in session.scalars(sa.select(Deploy)))


def test_finals_that_end_while_another_worker_seats_are_not_played_again(services: Services, make_agent: Any) -> None:
    if services.database.is_sqlite:
        pytest.skip("SQLite has one writer")
    aid = make_agent()
    grade(services, aid, 0.9)
    assert seat(services)
    with services.database.transaction() as session:
        held = claim(session, "first", LEASE_S)
        assert held is not None
        while run := next_run(session, held):
            record_run(session, held, run.id, RunOutcome(0.8, 1.0, 100, None, None, ""), "0" * 64)
            session.flush()
    ended: list[bool] = []

    def end_the_finals(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        """The first worker ends between what the second one reads of the agent and its lock of the evaluation."""
        if "SKIP LOCKED" in statement and not ended:
            ended.append(True)
            with services.database.transaction() as session:
                assert held is not None
                ended.append(finish(session, held, services))

    sa.event.listen(services.database.engine, "before_cursor_execute", end_the_finals)
    assert not seat(services)
    assert ended == [True, True]

    with services.database.transaction(read_only=True) as session:
        assert session.get_one(Agent, aid).final_rewards == [0.8, 0.8]
        assert session.scalars(sa.select(Deploy)).one().status == DeployStatus.SUCCEEDED


def test_benchmark_agents_are_no_players(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    grade(services, aid, 0.9)
    with services.database.transaction() as session:
        session.get_one(Agent, aid).is_benchmark = True

    assert not seat(services)


@pytest.mark.parametrize("started", [True, False])
def test_finals_are_of_the_agents_files_and_of_seeds_that_no_run_has_had(
    services: Services, make_agent: Any, started: bool
) -> None:
    aid = make_agent()
    grade(services, aid, 0.9)
    with services.database.transaction() as session:
        session.scalars(sa.select(Competition)).one().is_started = started

    assert seat(services) is started

    with services.database.transaction(read_only=True) as session:
        runs = list(session.scalars(sa.select(Run).order_by(Run.number)))
    assert len({run.seed for run in runs}) == len(runs)
    assert [run.kind for run in runs[3:]] == [RunKind.FINAL] * (2 if started else 0)
