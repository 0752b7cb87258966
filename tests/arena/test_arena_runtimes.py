"""Runtimes: what agents can import is published, and an environment of the operator's own takes the place of ours."""

import os
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from ml_trainer_env.arena.app import create_app
from ml_trainer_env.arena.client import connect
from ml_trainer_env.arena.competitions.service import update_settings
from ml_trainer_env.arena.errors import ArenaError, NotFoundError, RefusedError
from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.runtimes import (
    YOUNG_S,
    add_runtime,
    environment_of,
    forget_unused,
    inspect_environment,
    remove_runtime,
    runtimes,
)
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.setup import set_up
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.tables import Agent, Deploy, Runtime, Scope
from ml_trainer_env.arena.tokens.service import create_token
from ml_trainer_env.arena.workers.play import play

AGENT = """import {module}

class Agent:
    def train(self, X, y): pass
    def predict(self, X): return [0] * len(X)
"""
ENVIRONMENT = """
class Env:
    def reset(self, seed=None): return 0, {}
    def step(self, action): return 0, 1.0, True, False, {}
"""
OWN = "/api/direct_attache_agents"


@pytest.fixture
def made(services: Services, make_agent: Any) -> dict[str, int]:
    """Two runtimes, this service's and one that has `wonderful`, and a submission; nothing is installed."""
    with services.database.transaction() as session:
        rows = {
            "numpy": Runtime(language="python", language_version="3.11.0", framework="numpy", framework_version="2.0"),
            "wonders": Runtime(
                language="python",
                language_version="3.11.0",
                framework="wonders",
                framework_version="1",
                environment="wonders-1",
                packages={"wonderful": "1.0"},
            ),
        }
        session.add_all(rows.values())
        rows["numpy"].modules, rows["wonders"].modules = ["numpy"], ["numpy", "wonderful"]
        session.flush()
        found = {name: row.id for name, row in rows.items()}
    (services.settings.data_dir / "runtimes" / "wonders-1" / "bin").mkdir(parents=True)
    (services.settings.data_dir / "runtimes" / "wonders-1" / "bin" / "python").touch()
    return found | {"aid": make_agent()}


@pytest.fixture
def client(services: Services, made: dict[str, int]) -> Iterator[TestClient]:
    assert made
    with services.database.transaction() as session:
        token = create_token(session, "ada", Scope.USER)
    with TestClient(create_app(services), headers={"Authorization": f"Bearer {token}"}) as client:
        yield client


def test_an_import_that_cannot_work_is_said_before_an_evaluation_is_spent(
    client: TestClient, made: dict[str, int]
) -> None:
    aid = made["aid"]
    file, chosen = f"{OWN}/competition/1/{aid}/file", f"{OWN}/agent_runtime/{aid}"

    def told(module: str, **more: str) -> str:
        for name, text in more.items():
            client.put(file, files={"file": (f"{name}/__init__.py", text.encode())})
        source = AGENT.format(module=module).encode()
        answer = client.put(file, files={"file": ("agent.py", source)}).json()
        return "" if answer["status"] == "upload_validated" else answer["validation_message"]

    assert told("numpy") == ""
    assert "choose the runtime wonders" in told("wonderful")
    assert "submit a .zip archive" in told("models")
    assert "no agent: agent.py imports models" in client.put(f"{OWN}/competition/1/{aid}/deploy").json()["error"]
    assert told("models", models="x = 1\n") == ""
    assert "choose the runtime" in told("wonderful.deeply as w")
    unknown = client.put(chosen, json={"docker_image_agent_runtime_id": 99})
    assert (unknown.status_code, "1 (numpy 2.0), 2 (wonders 1)" in unknown.json()["error"]) == (400, True)
    assert client.put(chosen, json={"docker_image_agent_runtime_id": made["wonders"]}).status_code == 200
    assert client.get(f"{OWN}/competition/1/{aid}/status").json()["status"] == "upload_validated"
    alone = b"class Agent:\n    def train(self, X, y): np.mean(X)\n    def predict(self, X): pass\n"
    answer = client.put(file, files={"file": ("agent.py", alone)}).json()
    assert "%%writefile agent.py" in answer["validation_message"]


def test_the_packages_of_each_runtime_are_published(client: TestClient) -> None:
    listed = client.get("/api/runtimes", headers={"Authorization": ""}).json()["runtimes"]

    assert [(one["name"], one["is_added"]) for one in listed] == [("numpy", False), ("wonders", True)]
    assert listed[1]["packages"] == [{"name": "wonderful", "version": "1.0"}]
    options = client.get("/api/challenges/1").json()["runtime_options"]
    assert [one["framework"] for one in options] == ["numpy", "wonders"]


def test_a_competition_names_the_runtime_of_its_submissions(services: Services, made: dict[str, int]) -> None:
    with services.database.transaction() as session:
        agent = session.get_one(Agent, made["aid"])
        competition = agent.competition
        competition.is_started = False
        with pytest.raises(RefusedError, match=r"no runtime 'nothing'; there are numpy, wonders"):
            update_settings(session, competition, {"runtime": "nothing"}, 2**30)
        update_settings(session, competition, {"runtime": "wonders"}, 2**30)

        new = service.attach(session, agent.user_id, competition.id, "new", None, services.sources)

        assert new.runtime_id == made["wonders"]


def test_a_removed_runtime_stays_as_long_as_an_evaluation_needs_it(services: Services, made: dict[str, int]) -> None:
    folder = services.settings.data_dir / "runtimes" / "wonders-1"
    with services.database.transaction() as session:
        agent = session.get_one(Agent, made["aid"])
        service.set_runtime(session, agent, made["wonders"], services.sources)
        queued = service.deploy(session, agent, services)
        assert queued.runtime_id == made["wonders"]

    assert not remove_runtime(services, "wonders")
    os.utime(folder, (0, time.time() - YOUNG_S - 60))
    assert forget_unused(services) == 0

    with services.database.transaction() as session:
        assert environment_of(session.get(Runtime, made["wonders"]), services.settings.data_dir) == folder
        agent = session.get_one(Agent, made["aid"])
        with pytest.raises(RefusedError, match="wonders is no longer available; there are 1"):
            service.deploy(session, agent, services)
        service.delete(session, agent)
    assert forget_unused(services) == 1
    assert not folder.exists()
    with pytest.raises(NotFoundError):
        remove_runtime(services, "wonders")


def test_a_runtime_whose_folder_is_gone_is_not_offered(services: Services, made: dict[str, int]) -> None:
    assert made
    (services.settings.data_dir / "runtimes" / "wonders-1").rename(services.settings.data_dir / "elsewhere")

    forget_unused(services)

    with services.database.transaction(read_only=True) as session:
        assert [one.framework for one in runtimes(session)] == ["numpy"]


def test_a_runtime_needs_a_plain_name_of_its_own(services: Services, made: dict[str, int], tmp_path: Path) -> None:
    assert made
    (tmp_path / "requirements.txt").write_text("")

    for name in ("../x", "", "A b", "x" * 41, ".x", "numpy"):
        with pytest.raises(ArenaError, match="name"):
            add_runtime(services, name, tmp_path / "requirements.txt")


@pytest.mark.slow
def test_an_environment_is_seen_in_the_sandbox_in_place_of_ours(tmp_path: Path, layers: Any) -> None:
    """It has a module of its own, NumPy of ours by a link, and nothing else."""
    for folder in [tmp_path, *tmp_path.parents[:2]]:
        folder.chmod(0o755)
    environment, agent = tmp_path / "environment", tmp_path / "agent"
    venv.create(environment, symlinks=True)
    (site,) = environment.glob("lib/python*/site-packages")
    import numpy as np

    home = Path(np.__file__).parent
    for found in (home, *home.parent.glob("numpy*.libs")):
        subprocess.run(["cp", "-r", str(found), str(site / found.name)], check=True)
    (site / "wonderful.py").write_text("VALUE = 7\n")
    agent.mkdir()
    (agent / "agent.py").write_text(
        "import importlib.util, sys, wonderful\n"
        "print(wonderful.VALUE, importlib.util.find_spec('torch'), sys.prefix)\n"
        "try: open(sys.prefix + '/made', 'w')\nexcept OSError as error: print(type(error).__name__)\n"
        f"import os; print(os.path.exists({sys.prefix!r}))\n" + AGENT.format(module="numpy")
    )

    outcome = play(Kernel.PERMUTED_MNIST, agent, agent, 1, 200.0, replace(layers, environment=environment), 60)

    assert outcome.error_type is None, outcome.error_message
    assert outcome.log.splitlines()[:3] == [f"7 None {environment}", "OSError", str(sys.prefix == sys.base_prefix)]
    assert "wonderful" in inspect_environment(environment / "bin" / "python").modules


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_agents_of_scikit_learn_and_xgboost_run(arena: Any, tmp_path: Path) -> None:
    """Installs packages, as the operator does while the service runs."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("scikit-learn\nxgboost-cpu\n")
    command = [sys.executable, "-m", "ml_trainer_env.arena", "runtime"]
    added = subprocess.run(
        [*command, "add", "trees", "--requirements", str(requirements)],
        env=arena.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if "No matching distribution" in added.stderr or "ConnectionError" in added.stderr:
        pytest.skip("the packages are not to be had here")
    assert added.returncode == 0, added.stderr[-2000:]
    listed = subprocess.run([*command, "list"], env=arena.environment, capture_output=True, text=True, check=True)
    assert "trees 1" in listed.stdout
    source = """from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

class Agent:
    def train(self, X, y):
        X, y = X.reshape(len(X), -1)[:200, ::8], y.ravel()[:200]
        self.tree = DecisionTreeClassifier(max_depth=5).fit(X, y)
        print(XGBClassifier(n_estimators=2, max_depth=2).fit(X, y).n_estimators, "boosted")

    def predict(self, X):
        return self.tree.predict(X.reshape(len(X), -1)[:, ::8])
"""
    with connect(arena.token("tina"), arena.url) as client:
        cid = min(int(row["id"]) for row in client.competitions().to_dict("records"))
        aid = client.create_attached_agent(cid, "tree")["attache_agent_id"]
        told = client.update_agent_file_content(cid, aid, "agent.py", source)
        assert "choose the runtime trees" in told["validation_message"]
        client.set_agent_runtime(aid, int(client.resolve_runtime(cid, framework="trees")["id"]))
        client.deploy_agent(cid, aid)
        lines = list(client.tail_logs(cid, aid, poll_sec=0.5))
        assert lines[-1].startswith("[active]"), lines
    with connect(arena.token("gail", "creator"), arena.url) as creator:
        cid = creator.create_competition("Trees", "gymnasium")["competition_id"]
        settings = {"runtime": "trees", "evaluation_deployment_nb_initial_score_run": 1, "simulation_timeout_sec": 200}
        creator._call_creator_route("update_settings", "PUT", cid, "/settings", json=settings)
        creator.update_env_file_content(cid, "env.py", "import xgboost\n" + ENVIRONMENT)
        acting = "import sklearn\n\nclass Agent:\n    def act(self, observation): return 1\n"
        creator.update_benchmark_file_content(cid, "agent.py", acting)
        creator.run_benchmark(cid)
        while (found := creator.benchmark_status(cid))["status"] == "running":
            time.sleep(0.5)
        assert found["status"] == "completed", found
    removed = subprocess.run(
        [*command, "remove", "trees"], env=arena.environment, capture_output=True, text=True, check=True
    )
    assert "no longer offered" in removed.stdout


@pytest.mark.slow
def test_the_first_start_publishes_what_this_service_has(services: Services) -> None:
    set_up(services)

    with services.database.transaction(read_only=True) as session:
        found = {one.framework: one for one in runtimes(session)}
        assert session.scalars(sa.select(Deploy)).one().runtime_id == found["numpy"].id
    assert found["numpy"].packages["numpy"] == found["numpy"].framework_version
    assert {"numpy", "torch", "json", "__future__"} <= set(found["torch"].modules)
