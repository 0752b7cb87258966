"""Nothing passes between the sandboxes of the arena: from run to run, user to user, environment to agent."""

import pickle
import platform
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.tables import Agent, Run, RunKind, RunStatus
from ml_trainer_env.arena.workers.rollout import roll_out
from ml_trainer_env.arena.workers.worker import Worker
from permuted_mnist.sandbox.layers import Layers
from permuted_mnist.sandbox.limits import Limits

MARKS = (Path(__file__).parents[1] / "permuted_mnist" / "carry_marks.py").read_bytes()

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the marks are made by system call numbers of x86-64"
)

PLAYER = b"""
import pickle
from .marks import leave, look

WEIGHTS = pickle.load(open("weights.pkl", "rb"))

class Agent:
    def train(self, X, y):
        print(WEIGHTS)
        DEED()

    def predict(self, X):
        return [0] * len(X)
"""

LOOKER = """
from .marks import look

class Agent:
    def act(self, observation):
        if observation == 0:
            look()
        return 0.0
"""

ENVIRONMENT = """
from .marks import leave

class Env:
    def reset(self, seed=None, options=None):
        leave()
        self.count = 0
        return 0, {}

    def step(self, action):
        self.count += 1
        return self.count, action, self.count == 2, False, {}
"""


def submit(services: Services, agent_id: int, deed: str) -> None:
    """Upload several files, and deploy them."""
    files = {"agent.py": PLAYER.replace(b"DEED", deed.encode()), "marks.py": MARKS, "weights.pkl": pickle.dumps(1)}
    with services.database.transaction() as session:
        agent = session.get_one(Agent, agent_id)
        for name, content in files.items():
            digest = services.blobs.put(content)
            service.keep_file(session, agent, name, digest, len(content), services.sources)
        service.deploy(session, agent, services)


def logs(services: Services) -> list[str]:
    with services.database.transaction(read_only=True) as session:
        runs = session.scalars(sa.select(Run).order_by(Run.id)).all()
        assert {run.status for run in runs} == {RunStatus.COMPLETED}, [run.error_message for run in runs]
        shown = [run for run in runs if run.kind != RunKind.FINAL]  # what is printed in the finals is kept from all
        return [services.blobs.get(str(run.log_sha256)).decode() for run in shown]


@pytest.mark.slow
def test_a_user_finds_nothing_of_another(services: Services, make_agent: Any, layers: Layers) -> None:
    worker = Worker(services, layers)
    submit(services, make_agent("ada"), "leave")
    while worker.work_once():
        pass
    left = logs(services)
    submit(services, make_agent("bob"), "look")
    while worker.work_once():
        pass
    found = logs(services)[len(left) :]

    assert left
    assert all("left: file in /tmp" in log for log in left)
    assert len(found) == len(left)
    assert set(found) == {"1\n"}


def test_an_agent_finds_nothing_of_the_environment_that_runs_beside_it(tmp_path: Path, layers: Layers) -> None:
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    for name, source in (("agent", LOOKER), ("env", ENVIRONMENT)):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.py").write_text(source)
        (tmp_path / name / "marks.py").write_bytes(MARKS)
    outcome = roll_out(tmp_path / "agent", tmp_path / "env", 7, 1, Limits(), layers)

    assert (outcome.reward, outcome.error_type) == (0.0, None), outcome.error_message
    assert outcome.log == ""
