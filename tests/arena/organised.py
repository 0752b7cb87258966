"""What the tests of organisers do with a competition: deploy, play, change its rules."""

from typing import Any

from fastapi.testclient import TestClient

from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.tables import Agent, Competition, Deploy
from ml_trainer_env.arena.workers.outcomes import RunOutcome
from ml_trainer_env.arena.workers.queue import Claim, claim, finish, next_run, record_run

EVERYBODY = {"ada": "creator", "bob": "user", "eve": "user", "dora": "creator", "tess": "teacher", "gpu": "worker"}
"""ada has made the competition."""


def deploy(services: Services, aid: int) -> int:
    with services.database.transaction() as session:
        return service.deploy(session, session.get_one(Agent, aid), services).id


def take(services: Services) -> Claim | None:
    with services.database.transaction() as session:
        return claim(session, "w", 100.0)


def play(services: Services, rewards: dict[int, float]) -> None:
    """Play all that waits: each agent's runs come to its reward."""
    while (held := take(services)) is not None:
        over = False
        while not over:
            with services.database.transaction() as session:
                run = next_run(session, held)
                agent_id = session.get_one(Deploy, held.deploy_id).agent_id
                outcome = RunOutcome(rewards[agent_id], 1.0 + agent_id, 100, None, None, "")
                if run is None:
                    over = finish(session, held, services)
                else:
                    record_run(session, held, run.id, outcome, services.blobs.put(b"log"))


def grade(services: Services, rewards: dict[int, float]) -> None:
    for aid in rewards:
        deploy(services, aid)
    play(services, rewards)


def set_rules(services: Services, **rules: Any) -> int:
    with services.database.transaction() as session:
        competition = session.query(Competition).one()
        competition.settings = {**competition.settings, **rules}
        return competition.id


def agent_of(services: Services, aid: int) -> Agent:
    with services.database.transaction(read_only=True) as session:
        return session.get_one(Agent, aid)


def sign_in(client: TestClient, header: dict[str, str]) -> None:
    client.cookies.clear()
    if header:
        client.post("/signin", data={"token": header["Authorization"].split()[1]})
