"""The queue: whoever holds an evaluation, and nobody else, brings it to its end. On SQLite and on PostgreSQL."""

import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa

from ml_trainer_env.arena.errors import RefusedError, TooManyError
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.tables import Agent, AgentStatus, Deploy, DeployStatus, Run, RunKind
from ml_trainer_env.arena.workers.outcomes import RunOutcome
from ml_trainer_env.arena.workers.queue import (
    MAX_DEATHS,
    Claim,
    ClaimLostError,
    claim,
    finish,
    next_run,
    record_run,
    release,
    renew,
)

GOOD = RunOutcome(0.5, 1.0, 100, None, None, "")
BAD = RunOutcome(None, 1.0, 100, "crash", "its own words", "")
LEASE_S = 100.0


def deploy(services: Services, agent_id: int) -> int:
    with services.database.transaction() as session:
        return service.deploy(session, session.get_one(Agent, agent_id), services).id


def take(services: Services, worker: str = "w", lease_s: float = LEASE_S) -> Claim | None:
    with services.database.transaction() as session:
        return claim(session, worker, lease_s)


def must_take(services: Services, worker: str = "w", lease_s: float = LEASE_S) -> Claim:
    held = take(services, worker, lease_s)
    assert held is not None
    return held


def play_one(services: Services, held: Claim, outcome: RunOutcome = GOOD) -> bool:
    """Write down the next run; False if there is none."""
    with services.database.transaction() as session:
        run = next_run(session, held)
        if run is None:
            return False
        record_run(session, held, run.id, outcome, "0" * 64)
        return True


def end(services: Services, held: Claim) -> bool:
    with services.database.transaction() as session:
        return finish(session, held, services)


def agent_row(services: Services, agent_id: int) -> Agent:
    with services.database.transaction(read_only=True) as session:
        return session.get_one(Agent, agent_id)


def test_what_waits_longest_is_taken_first_and_by_one_alone(services: Services, make_agent: Any) -> None:
    deploys = [deploy(services, make_agent()) for _ in range(3)]

    taken = [must_take(services, f"w{number}").deploy_id for number in range(3)]

    assert taken == deploys
    assert take(services) is None


def test_workers_that_claim_at_once_take_different_ones(services: Services, make_agent: Any) -> None:
    deploys = [deploy(services, make_agent()) for _ in range(8)]
    taken: list[int] = []

    def work(name: str) -> None:
        while (held := take(services, name)) is not None:
            taken.append(held.deploy_id)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(taken) == deploys


def test_an_evaluation_goes_through_its_runs_to_a_score(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    deploy(services, aid)
    held = must_take(services)

    assert [play_one(services, held) for _ in range(4)] == [True, True, True, False]
    assert end(services, held)

    agent = agent_row(services, aid)
    assert agent.status == AgentStatus.ACTIVE
    assert (agent.mean_reward, agent.rewards) == (0.5, [0.5, 0.5])
    assert take(services) is None


def test_a_run_that_fails_ends_it_with_its_reason(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    deploy(services, aid)
    held = must_take(services)
    play_one(services, held)
    play_one(services, held, BAD)

    assert end(services, held)

    assert agent_row(services, aid).status == AgentStatus.DEPLOY_FAILED
    assert agent_row(services, aid).last_status_message == "crash in run 2: its own words"


def test_when_a_lease_runs_out_another_goes_on_with_the_runs_that_are_left(services: Services, make_agent: Any) -> None:
    deploy(services, make_agent())
    dead = must_take(services, "dead", lease_s=0.0)
    play_one(services, dead)
    time.sleep(0.01)

    heir = must_take(services, "heir")

    assert (heir.deploy_id, heir.attempt) == (dead.deploy_id, 2)
    assert [play_one(services, heir) for _ in range(3)] == [True, True, False]


def test_who_has_lost_an_evaluation_writes_nothing_more(services: Services, make_agent: Any) -> None:
    deploy(services, make_agent())
    slow = must_take(services, "slow", lease_s=0.0)
    time.sleep(0.01)
    must_take(services, "heir")

    for write in (
        lambda: play_one(services, slow),
        lambda: end(services, slow),
        lambda: renew_once(services, slow),
    ):
        with pytest.raises(ClaimLostError):
            write()
    with services.database.transaction(read_only=True) as session:
        assert not session.scalars(sa.select(Run).where(Run.finished_at.is_not(None))).all()


def renew_once(services: Services, held: Claim) -> None:
    with services.database.transaction() as session:
        renew(session, held, LEASE_S)


def test_a_renewed_lease_is_not_taken(services: Services, make_agent: Any) -> None:
    deploy(services, make_agent())
    held = must_take(services, "w", lease_s=0.05)
    renew_once(services, held)
    time.sleep(0.1)

    assert take(services, "other") is None


def test_a_run_is_written_once(services: Services, make_agent: Any) -> None:
    deploy(services, make_agent())
    held = must_take(services)
    with services.database.transaction() as session:
        run = next_run(session, held)
        assert run is not None
        record_run(session, held, run.id, GOOD, "0" * 64)

    with pytest.raises(ClaimLostError), services.database.transaction() as session:
        record_run(session, held, run.id, BAD, "0" * 64)


def test_deploying_again_cancels_what_is_open(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    first = deploy(services, aid)
    held = must_take(services)
    second = deploy(services, aid)

    with pytest.raises(ClaimLostError):
        play_one(services, held)
    assert must_take(services).deploy_id == second
    with services.database.transaction(read_only=True) as session:
        assert session.get_one(Deploy, first).status == DeployStatus.CANCELLED


def test_an_evaluation_that_kills_its_workers_is_given_up(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    deploy(services, aid)
    for _ in range(MAX_DEATHS):
        must_take(services, lease_s=0.0)
        time.sleep(0.01)

    assert take(services) is None
    assert agent_row(services, aid).status == AgentStatus.DEPLOY_FAILED
    assert "given up" in agent_row(services, aid).last_status_message


def test_deaths_are_counted_for_each_run(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    deploy(services, aid)
    for _ in range(3):
        for _ in range(MAX_DEATHS - 2):
            must_take(services, lease_s=0.0)
            time.sleep(0.01)
        play_one(services, must_take(services))
        with services.database.transaction() as session:
            session.scalars(sa.select(Deploy)).one().lease_until = 0.0

    assert end(services, must_take(services))
    assert agent_row(services, aid).status == AgentStatus.ACTIVE


def test_what_is_let_go_of_waits_again_and_is_no_death(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    deploy(services, aid)
    for _ in range(MAX_DEATHS + 1):
        held = must_take(services)
        with services.database.transaction() as session:
            release(session, held)
        assert agent_row(services, aid).status == AgentStatus.DEPLOY_QUEUE

    held = must_take(services)
    assert [play_one(services, held) for _ in range(4)] == [True, True, True, False]


def test_rewards_earn_more_runs(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    with services.database.transaction() as session:
        competition = session.get_one(Agent, aid).competition
        brackets = [[0.0, 2], [0.4, 5], [0.9, 9]]
        competition.settings = {**competition.settings, "evaluation_episode_budget_brackets": brackets}
    deploy(services, aid)
    held = must_take(services)
    while play_one(services, held):
        continue

    assert not end(services, held)
    extended = 0
    while play_one(services, held):
        extended += 1

    assert extended == 3
    assert end(services, held)
    assert len(agent_row(services, aid).rewards) == 5
    with services.database.transaction(read_only=True) as session:
        kinds = list(session.scalars(sa.select(Run.kind).order_by(Run.number)))
    assert kinds == [RunKind.CONSTRAINT, *[RunKind.SCORE] * 2, *[RunKind.EXTENDED] * 3]


def test_agents_of_a_competition_play_the_same_secret_seeds(services: Services, make_agent: Any) -> None:
    for _ in range(2):
        deploy(services, make_agent())

    with services.database.transaction(read_only=True) as session:
        one, other = ([run.seed for run in deploy.runs] for deploy in session.scalars(sa.select(Deploy)))

    assert one == other
    assert len(set(one)) == 3


def test_deploys_of_a_day_are_limited_and_deleting_gives_none_back(services: Services, make_agent: Any) -> None:
    allowed = services.settings.daily_deploys
    one, other = make_agent(), make_agent()
    for number in range(allowed):
        deploy(services, one if number < allowed // 2 else other)
    with services.database.transaction() as session:
        service.delete(session, session.get_one(Agent, one))
        limits = service.deploy_state(session, session.get_one(Agent, other), allowed)["deploymentLimits"]
        earliest = min(session.scalars(sa.select(Deploy.created_at)))

    with pytest.raises(TooManyError, match=f"{allowed} times in 24 hours"):
        deploy(services, other)
    assert (limits["daily_deploys_used"], limits["daily_deploys_remaining"]) == (allowed, 0)
    assert limits["next_deploy_available_at"] == earliest + 24 * 3600
    assert limits["can_deploy"] is False


def test_what_one_user_changes_at_once_keeps_the_limits(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    with services.database.transaction(read_only=True) as session:
        user_id = session.get_one(Agent, aid).user_id
    refused: list[TooManyError] = []

    def hurry() -> None:
        for _ in range(services.settings.daily_deploys):
            try:
                with services.database.transaction(by=user_id) as session:
                    service.deploy(session, session.get_one(Agent, aid), services)
            except TooManyError as error:
                refused.append(error)

    threads = [threading.Thread(target=hurry) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refused) == 3 * services.settings.daily_deploys
    with services.database.transaction(read_only=True) as session:
        states = list(session.scalars(sa.select(Deploy.status).order_by(Deploy.id)))
    assert states == [DeployStatus.CANCELLED] * (services.settings.daily_deploys - 1) + [DeployStatus.QUEUED]


def test_agents_on_the_board_are_limited(services: Services, make_agent: Any) -> None:
    agents = [make_agent() for _ in range(11)]
    for aid in agents[:10]:
        deploy(services, aid)

    with pytest.raises(RefusedError, match="10 agents of yours"):
        deploy(services, agents[10])


def test_opening_the_same_data_again_changes_nothing(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    again = Services.open(services.settings)

    assert again.key == services.key
    assert agent_row(again, aid).name == "agent"
    again.close()
