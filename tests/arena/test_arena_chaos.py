"""Whatever is killed, and whenever: every submission comes to its end, once, and the board is as if nothing had been.

    make arena-chaos SUBMISSIONS=200 ARENA_KILLS=20 SEED=1

Three services: on SQLite, on PostgreSQL, and on PostgreSQL and a bucket with a worker on each of two other machines
(folders of their own). On the last one, every second participant has the official client of the newer protocol.
"""

import contextlib
import json
import logging
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import sqlalchemy as sa
from arena_service import TRAIN_IMAGES, Arena, empty, running, shared_key, worker_process

from ml_trainer_env.arena.client import Client, CompetitionNotFoundError, MLArenaError, connect
from ml_trainer_env.arena.database import Database
from ml_trainer_env.arena.leaderboard.finals import PLACES, finalists
from ml_trainer_env.arena.leaderboard.service import board
from ml_trainer_env.arena.submissions.service import derive_seed
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, Deploy, DeployStatus, Run, RunStatus
from permuted_mnist.hardening import DrawnDigits
from permuted_mnist.tasks import Variant, draw_task

USERS = 8
RUNS = 2
"""Runs that count, and as many again in the finals; one more shows that the limits are kept."""

LIMIT_S = 1500.0
PAUSE_S = 0.2

AGENT = """class Agent:
    def train(self, X, y):
        if {label} > 9:
            raise ValueError("there is no such label")

    def predict(self, X):
        return [{label}] * len(X)
"""
LABELS = 11
"""The last of them fails."""

SUBMITTER = Path(__file__).parent / "chaos_submitter.py"
SDK = "4.6.0"

Result = TypeVar("Result")

_LOG = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)


class Ruin:
    """A service that is killed and started again on the same data, and its workers, who are killed, too."""

    workers = 2

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._folder = folder
        self._variables = {"ARENA_LEASE_S": "3", "ARENA_DAILY_DEPLOYS": "100000", **variables}
        self._held = contextlib.ExitStack()
        self.start()

    def start(self) -> None:
        self.arena: Arena = self._held.enter_context(
            running(self._folder, workers=self.workers, port=self._port, **self._variables)
        )

    def kill_the_service(self) -> None:
        self.arena.process.kill()
        self.arena.process.wait()
        self.start()

    def kill_a_worker(self, dice: random.Random) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not (workers := [one for one in children(self.arena.process.pid) if is_worker(one)]):
            assert time.monotonic() < deadline, "no worker was started again"
            time.sleep(PAUSE_S)
        os.kill(dice.choice(workers), signal.SIGKILL)

    def client(self, token: str) -> Client:
        return self._held.enter_context(connect(token, self.arena.url))

    def close(self) -> None:
        self._held.close()

    def key(self) -> bytes:
        """What the seeds of runs are derived from."""
        return (self._folder / "signing.key").read_bytes()


class Machines(Ruin):
    """A service without workers, and a worker on each of two machines."""

    workers = 0
    names = ("one", "two")

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        super().__init__(folder, variables)
        self._tokens = {name: self.arena.token(name, "worker") for name in self.names}
        self._processes = {name: self._worker(name) for name in self.names}

    def kill_a_worker(self, dice: random.Random) -> None:
        name = dice.choice(self.names)
        self._processes[name].kill()
        self._processes[name].wait()
        self._processes[name] = self._worker(name)

    def key(self) -> bytes:
        with contextlib.closing(Database(self._variables["ARENA_DATABASE_URL"])) as database:
            return shared_key(database)

    def _worker(self, name: str) -> subprocess.Popen[bytes]:
        folder = self._folder.parent / name
        return self._held.enter_context(worker_process(folder, self.arena.environment, self._tokens[name]))


def is_worker(process: int) -> bool:
    with contextlib.suppress(OSError):
        return b"worker" in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    return False


def children(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    found.append(int(folder.name))
    return sorted(found)


def insist(work: Callable[[], Result]) -> Result:
    """Do it again until the service is there to answer."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            return work()
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(PAUSE_S)


def submit(client: Client, cid: int, name: str, label: int) -> int:
    aid: int = insist(lambda: client.create_attached_agent(cid, name))["attache_agent_id"]
    insist(lambda: client.update_agent_file_content(cid, aid, "agent.py", AGENT.format(label=label)))
    insist(lambda: deploy_unless_done(client, cid, aid))
    return aid


def submit_by_sdk(python: str, url: str, token: str, cid: int, agents: Sequence[tuple[str, int]]) -> list[int]:
    """Submit agents, as (name, label), with the official client."""
    sources = [(name, AGENT.format(label=label)) for name, label in agents]
    done = subprocess.run(
        [python, "-W", "ignore", str(SUBMITTER), url, str(cid)],
        input=json.dumps([token, sources]),
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=2 * LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[int] = json.loads(done.stdout)
    return found


def deploy_unless_done(client: Client, cid: int, aid: int) -> None:
    """Deploy it, unless it was, and only the answer was lost."""
    if client.agent_status(cid, aid)["status"] == AgentStatus.UPLOAD_VALIDATED:
        client.deploy_agent(cid, aid)


def make_competition(ruin: Ruin, users: list[str]) -> tuple[int, dict[str, str]]:
    tokens = {user: ruin.arena.token(user) for user in users}
    client = ruin.client(ruin.arena.token("carl", "creator"))
    cid: int = client.create_competition("Chaos", "permuted_mnist")["competition_id"]
    client.update_settings(cid, evaluation_deployment_nb_initial_score_run=RUNS, max_active_agents_per_participant=1000)
    client.update_benchmark_file_content(cid, "agent.py", AGENT.format(label=0))
    client.run_benchmark(cid)
    while client.benchmark_status(cid)["status"] == "running":
        time.sleep(PAUSE_S)
    client.start_competition(cid)
    return cid, tokens


def wait_for_all(clients: list[tuple[Client, list[int]]], cid: int) -> None:
    deadline = time.monotonic() + LIMIT_S
    final = {AgentStatus.ACTIVE, AgentStatus.DEPLOY_FAILED}
    for client, agents in clients:
        for aid in agents:
            while insist(lambda c=client, a=aid: c.agent_status(cid, a))["status"] not in final:
                assert time.monotonic() < deadline, f"agent {aid} is stuck"
                time.sleep(PAUSE_S)
    while any(row["NumberOfRuns"] < 2 * RUNS for row in players(clients[0][0].leaderboard(cid))[:PLACES]):
        assert time.monotonic() < deadline, "the finals are stuck"
        time.sleep(PAUSE_S)


def players(rows: Any) -> list[dict[str, Any]]:
    found = rows.to_dict("records") if hasattr(rows, "to_dict") else rows
    return [row for row in found if not row["IsBenchmark"]]


@pytest.fixture(params=["sqlite", "postgresql", "machines"])
def ruin(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ruin]:
    variables = {}
    if request.param != "sqlite":
        variables["ARENA_DATABASE_URL"] = request.getfixturevalue("postgresql")
    if request.param == "machines":
        s3 = request.getfixturevalue("s3")
        variables["ARENA_FILES_URL"] = f"s3://{s3.new_bucket()}/arena"
        for name, value in s3.variables.items():
            monkeypatch.setenv(name, value)
    found = (Machines if request.param == "machines" else Ruin)(tmp_path / "arena", variables)
    yield found
    found.close()
    if variables:
        with contextlib.closing(Database(variables["ARENA_DATABASE_URL"])) as database:
            empty(database)


@pytest.fixture
def sdk(ruin: Ruin, request: pytest.FixtureRequest) -> str | None:
    """An interpreter with the official client, where every second participant has it."""
    return request.getfixturevalue("python_with")(SDK) if isinstance(ruin, Machines) else None


@pytest.mark.chaos
@pytest.mark.timeout(0)
@pytest.mark.usefixtures("layers")
def test_every_submission_is_graded_once_whatever_is_killed(
    ruin: Ruin, sdk: str | None, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    count, kills = (pytestconfig.getoption(f"--arena-{name}") for name in ("submissions", "kills"))
    dice = random.Random(pytestconfig.getoption("--arena-seed"))
    url = ruin.arena.environment.get("ARENA_DATABASE_URL") or f"sqlite:///{tmp_path / 'arena' / 'arena.db'}"
    database = Database(url)
    cid, tokens = make_competition(ruin, [f"user{number}" for number in range(USERS)])
    clients: list[tuple[Client, list[int]]] = [(ruin.client(token), []) for token in tokens.values()]
    labels: dict[int, int] = {}
    errors: list[BaseException] = []

    def play(number: int) -> None:
        client, agents = clients[number]
        turns = [(f"agent {turn}", turn % LABELS) for turn in range(number, count, USERS)]
        try:
            if sdk is not None and number % 2:
                agents += submit_by_sdk(sdk, ruin.arena.url, list(tokens.values())[number], cid, turns)
            else:
                agents += [submit(client, cid, name, label) for name, label in turns]
            labels.update(zip(agents, (label for _, label in turns), strict=True))
        except (MLArenaError, CompetitionNotFoundError, AssertionError) as error:
            errors.append(error)

    threads = [threading.Thread(target=play, args=(number,)) for number in range(USERS)]
    for thread in threads:
        thread.start()
    done = kill_at_moments(ruin, database, dice, kills, count)
    for thread in threads:
        thread.join()
    assert errors == []
    wait_for_all(clients, cid)
    ruin.close()
    _LOG.info("%s submissions, kills %s", count, dict(done))

    with database.transaction(read_only=True) as session:
        competition = session.get_one(Competition, cid)
        expected = expected_rewards(ruin.key(), competition)
        agents = {agent.id: agent for agent in session.scalars(sa.select(Agent).where(Agent.id.in_(labels)))}
        assert set(agents) == set(labels)
        for aid, label in labels.items():
            rewards = expected.get(label)
            assert agents[aid].status == (AgentStatus.DEPLOY_FAILED if rewards is None else AgentStatus.ACTIVE)
            assert agents[aid].rewards == (rewards[:RUNS] if rewards else [])
            assert agents[aid].final_rewards in ([], rewards and rewards[RUNS:])
        deploys = list(session.scalars(sa.select(Deploy).where(Deploy.agent_id.in_(labels))))
        assert len(deploys) == count
        assert {deploy.status for deploy in deploys} <= {DeployStatus.SUCCEEDED, DeployStatus.FAILED}
        graded = session.scalars(sa.select(Deploy).where(Deploy.status == DeployStatus.SUCCEEDED))
        for deploy in graded:
            runs = list(session.scalars(sa.select(Run).where(Run.deploy_id == deploy.id).order_by(Run.number)))
            assert [run.number for run in runs] == list(range(len(runs)))
            assert all(run.status == RunStatus.COMPLETED for run in runs)
        rows = players(board(session, competition))
        submitted = {deploy.agent_id: deploy.id for deploy in deploys}
    database.close()
    undisturbed = undisturbed_board(expected, labels, submitted)
    assert [row["agentAttachId"] for row in rows] == [aid for aid, _ in undisturbed]
    assert [row["MeanReward"] for row in rows] == [pytest.approx(mean) for _, mean in undisturbed]


def kill_at_moments(ruin: Ruin, database: Database, dice: random.Random, kills: int, count: int) -> Counter[str]:
    """Kill so often while `count` submissions are graded, every fourth time the service and else a worker."""
    done = Counter[str]()
    for number, moment in enumerate(sorted(dice.uniform(0, 0.95) for _ in range(kills))):
        wait_until_graded(database, count, moment * count)
        time.sleep(dice.uniform(0, 1.0))
        done["with an evaluation under way"] += bool(count_deploys(database, DeployStatus.RUNNING))
        if number % 4 == 3:
            ruin.kill_the_service()
            done["service"] += 1
        else:
            ruin.kill_a_worker(dice)
            done["worker"] += 1
    return done


def undisturbed_board(
    expected: Mapping[int, list[float]], labels: Mapping[int, int], submitted: Mapping[int, int]
) -> list[tuple[int, float]]:
    """Agents and their means, the best first, as the board is if nothing is killed."""
    before = {label: sum(rewards[:RUNS]) / RUNS for label, rewards in expected.items()}
    after = {label: sum(rewards) / (2 * RUNS) for label, rewards in expected.items()}
    ranked = sorted((aid for aid in labels if labels[aid] in before), key=lambda a: (-before[labels[a]], submitted[a]))
    seated = finalists(
        *([means[labels[aid]] for aid in ranked] for means in (before, after)), [submitted[a] for a in ranked]
    )
    means = {aid: (after if index in seated else before)[labels[aid]] for index, aid in enumerate(ranked)}
    return sorted(means.items(), key=lambda row: (-row[1], submitted[row[0]]))


def wait_until_graded(database: Database, count: int, least: float) -> None:
    deadline = time.monotonic() + LIMIT_S
    while count_deploys(database, DeployStatus.SUCCEEDED, DeployStatus.FAILED) < least:
        assert time.monotonic() < deadline, f"not {least:.0f} of {count} submissions were graded"
        time.sleep(PAUSE_S)


def count_deploys(database: Database, *states: DeployStatus) -> int:
    query = sa.select(sa.func.count()).select_from(Deploy).where(Deploy.status.in_(states))
    with database.transaction(read_only=True) as session:
        return session.scalar(query) or 0


def expected_rewards(key: bytes, competition: Competition) -> dict[int, list[float]]:
    """What an agent that always gives one label has in each run that counts, those of the finals last."""
    found: dict[int, list[float]] = {label: [] for label in range(10)}
    digits = DrawnDigits(int(TRAIN_IMAGES), int(TRAIN_IMAGES) // 6)
    for number in range(1, 1 + 2 * RUNS):
        task = draw_task(digits, derive_seed(key, competition, number), 0, Variant.HARDENED)
        for label, rewards in found.items():
            rewards.append(float((task.test_labels == label).mean()))
    return found
