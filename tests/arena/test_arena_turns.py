"""Users take turns in the queue: nobody's many or long evaluations keep those of others waiting."""

import random
from typing import Any

import pytest
import sqlalchemy as sa

from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.submissions.repository import position_in_queue
from ml_trainer_env.arena.tables import Agent, AgentStatus, Deploy, DeployStatus, Run, RunStatus, User
from ml_trainer_env.arena.workers.queue import Claim, claim, must_yield, release
from ml_trainer_env.arena.workers.worker import Worker
from permuted_mnist.sandbox.layers import Layers

LEASE_S = 100.0


def deploy(services: Services, agent_id: int) -> int:
    with services.database.transaction() as session:
        return service.deploy(session, session.get_one(Agent, agent_id), services).id


def take(services: Services) -> Claim:
    with services.database.transaction() as session:
        held = claim(session, "w", LEASE_S)
    assert held is not None
    return held


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 10))])
def test_positions_are_the_order_in_which_evaluations_are_taken_up(
    services: Services, make_agent: Any, seed: int
) -> None:
    source = random.Random(seed)
    users = ["ada", "bob", "carl"]
    for name in source.choices(users, k=8):
        deploy(services, make_agent(name))
    with services.database.transaction() as session:
        for user in session.scalars(sa.select(User)):
            user.served_at = source.choice([0.0, 0.0, 1.0, 2.0])
        for row in session.scalars(sa.select(Deploy)):
            row.is_final = source.random() < 0.2
    with services.database.transaction(read_only=True) as session:
        queued = list(session.scalars(sa.select(Deploy)))
        told = {row.id: position_in_queue(session, row) for row in queued if not row.is_final}

    taken = [take(services).deploy_id for _ in queued]

    assert taken[: len(told)] == sorted(told, key=lambda deploy_id: told[deploy_id])
    assert sorted(told.values()) == [*range(1, len(told) + 1)]


def test_who_submits_much_comes_no_earlier(services: Services, make_agent: Any) -> None:
    many = [deploy(services, make_agent("ada")) for _ in range(4)]
    few = [deploy(services, make_agent("bob")) for _ in range(2)]

    taken = [take(services).deploy_id for _ in range(6)]

    assert taken == [many[0], few[0], many[1], few[1], many[2], many[3]]


def test_an_evaluation_that_has_had_its_turn_goes_behind_those_of_others(services: Services, make_agent: Any) -> None:
    aid = make_agent("ada")
    long = deploy(services, aid)
    held = take(services)
    own = deploy(services, make_agent("ada"))

    def waits(turn_is_over: bool) -> bool:
        with services.database.transaction() as session:
            return must_yield(session, held, turn_is_over=turn_is_over)

    assert not waits(turn_is_over=True)
    others = deploy(services, make_agent("bob"))
    assert [waits(turn_is_over=over) for over in (False, True)] == [False, True]
    with services.database.transaction() as session:
        release(session, held)
        agent = session.get_one(Agent, aid)
        told = service.status(session, agent, None)
    assert (agent.status, told["queue_info"]["position_in_queue"]) == (AgentStatus.DEPLOY_QUEUE, 2)
    assert agent.last_status_message == "0 of 3 runs are done; waiting for a worker"
    assert [take(services).deploy_id for _ in range(3)] == [others, long, own]


@pytest.mark.slow
def test_workers_play_a_run_of_each_user_in_turn(services: Services, make_agent: Any, layers: Layers) -> None:
    long, short = deploy(services, make_agent("ada")), deploy(services, make_agent("bob"))
    worker = Worker(services, layers, turn_s=0.0)
    played: list[int] = []
    while worker.work_once() and len(played) < 6:
        with services.database.transaction(read_only=True) as session:
            done = sa.select(Run.deploy_id).where(Run.status == RunStatus.COMPLETED).order_by(Run.finished_at)
            played = list(session.scalars(done))

    assert played == [long, short] * 3
    while worker.work_once():
        continue
    with services.database.transaction(read_only=True) as session:
        assert {*session.scalars(sa.select(Deploy.status))} == {DeployStatus.SUCCEEDED}
