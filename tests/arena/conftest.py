"""The service that the tests share, a PostgreSQL of their own, and the options of the chaos test."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from postgresql_server import PostgresqlServer

sys.path.insert(0, str(Path(__file__).parent))  # the modules beside this one

from arena_service import TRAIN_IMAGES, Arena, empty, running

from ml_trainer_env.arena.app import create_app, use_services
from ml_trainer_env.arena.competitions.schemas import NewCompetition
from ml_trainer_env.arena.competitions.service import create
from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.settings import Settings
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.tables import Scope
from ml_trainer_env.arena.tokens.service import create_token, find_or_create_user
from ml_trainer_env.arena.workers.worker import layers_for_submissions
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.layers import Layers

AGENT = b"class Agent:\n    def train(self, X, y): pass\n    def predict(self, X): return [0] * len(X)\n"
DAILY_DEPLOYS = 18


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a longer run."""
    group = parser.getgroup("arena")
    group.addoption("--arena-submissions", type=int, default=24, help="how many (default: %(default)s)")
    group.addoption("--arena-kills", type=int, default=4, help="how often to kill -9 (default: %(default)s)")
    group.addoption("--arena-seed", type=int, default=1, help="fixes who is killed when (default: %(default)s)")


@pytest.fixture(scope="session")
def layers() -> Layers:
    """What holds submissions here."""
    try:
        return layers_for_submissions()
    except UnsupportedError as error:
        pytest.skip(f"no sandbox, so no worker: {error}")


@pytest.fixture(scope="session")
def arena(tmp_path_factory: pytest.TempPathFactory, layers: Layers) -> Iterator[Arena]:
    """A service with one worker."""
    assert layers.bubblewrap
    with running(tmp_path_factory.mktemp("arena") / "data") as service:
        yield service


@pytest.fixture(scope="session")
def python_with(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An interpreter with the official SDK of a version, and no more than it needs."""
    made: dict[str, str] = {}

    def python(version: str) -> str:
        if version not in made:
            folder = tmp_path_factory.mktemp("sdk")
            maker = [shutil.which("uv"), "venv", "-q"] if shutil.which("uv") else [sys.executable, "-m", "venv"]
            subprocess.run([*maker, str(folder / "venv")], check=True)
            interpreter = str(folder / "venv" / "bin" / "python")
            pip = (
                [shutil.which("uv"), "pip", "install", "-q", "--python", interpreter]
                if shutil.which("uv")
                else [interpreter, "-m", "pip", "install", "-q"]
            )
            done = subprocess.run([*pip, f"mlarena-sdk=={version}"], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"the SDK is not to be had here: {done.stderr[-300:]}")
            made[version] = interpreter
        return made[version]

    return python


@pytest.fixture(scope="session")
def postgresql(postgresql: PostgresqlServer) -> str:
    """The URL of an empty database."""
    return postgresql.new_database()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def services(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Services]:
    """Database and files of a service, on SQLite and on PostgreSQL."""
    environment = {"ARENA_DATA_DIR": str(tmp_path), "ARENA_TRAIN_IMAGES": TRAIN_IMAGES}
    settings = replace(Settings.from_environment(environment), daily_deploys=DAILY_DEPLOYS)
    if request.param == "postgresql":
        settings = replace(settings, database_url=request.getfixturevalue("postgresql"))
    opened = Services.open(settings)
    yield opened
    if request.param == "postgresql":
        empty(opened.database)
    opened.close()


@pytest.fixture(scope="session")
def built() -> list[FastAPI]:
    """The application, once a test has built it: its first call builds 250 routes in a third of a second."""
    return []


@pytest.fixture
def application(services: Services, built: list[FastAPI]) -> FastAPI:
    """The application of the service."""
    if not built:
        built.append(create_app(services))
    use_services(built[0], services)
    return built[0]


@pytest.fixture
def client(application: FastAPI) -> Iterator[TestClient]:
    """Callers of the service, in this process."""
    with TestClient(application, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def headers(request: pytest.FixtureRequest, services: Services) -> dict[str, dict[str, str]]:
    """The header of each of the module's `PEOPLE`, with a token of the person's scope, and that of nobody."""
    people: dict[str, str] = request.module.PEOPLE
    with services.database.transaction() as session:
        tokens = {name: create_token(session, name, Scope(scope)) for name, scope in people.items()}
    return {name: {"Authorization": f"Bearer {token}"} for name, token in tokens.items()} | {"nobody": {}}


@pytest.fixture
def make_agent(services: Services) -> Any:
    """Make a user's submission that can be deployed, to a competition of one constraint run and two that count."""
    with services.database.transaction() as session:
        user = find_or_create_user(session, "ada")
        competition = create(session, user.id, NewCompetition(name="x", kernel_version=Kernel.PERMUTED_MNIST))
        wanted = {"evaluation_deployment_nb_initial_score_run": 2, "max_active_agents_per_participant": 10}
        competition.settings = {**competition.settings, **wanted}
        competition.is_started = True
        cid = competition.id

    def make(user_name: str = "ada") -> int:
        digest = services.blobs.put(AGENT)
        with services.database.transaction() as session:
            uid = find_or_create_user(session, user_name).id
            agent = service.attach(session, uid, cid, "agent", None, services.sources)
            service.keep_file(session, agent, "agent.py", digest, len(AGENT), services.sources)
            return agent.id

    return make
