"""Workers on other machines: files in a bucket, one signing key, and a token for each worker."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from arena_service import empty, running, shared_key, worker_process
from fastapi import FastAPI
from fastapi.testclient import TestClient
from test_arena_chaos import (
    RUNS,
    expected_rewards,
    insist,
    make_competition,
    players,
    submit,
    undisturbed_board,
    wait_for_all,
)

from ml_trainer_env.arena.client import connect
from ml_trainer_env.arena.database import Database
from ml_trainer_env.arena.errors import FilesUnavailableError, ForbiddenError, UnauthorizedError
from ml_trainer_env.arena.files.blobs import Blobs
from ml_trainer_env.arena.leaderboard.service import board
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.settings import Settings, SettingsError
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, Deploy, DeployStatus, Run, Scope
from ml_trainer_env.arena.tokens.service import create_token, revoke_token
from ml_trainer_env.arena.workers.worker import Worker
from ml_trainer_env.server.store import objects as objects_module
from permuted_mnist.sandbox.layers import Layers

POSTGRESQL = "postgresql+psycopg://nobody@127.0.0.1:1/arena"


@pytest.fixture
def bucket(s3: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3.variables.items():
        monkeypatch.setenv(name, value)
    for limit in ("_CONNECT_LIMIT_S", "_REQUEST_LIMIT_S"):
        monkeypatch.setattr(objects_module, limit, 250.0)
    return f"{s3.new_bucket()}/arena"


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def machines(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Blobs, Blobs]:
    """The files as two machines see them."""
    if request.param == "folder":
        return Blobs(tmp_path / "shared"), Blobs(tmp_path / "shared")
    from ml_trainer_env.arena.files.buckets import BucketBlobs

    root = request.getfixturevalue("bucket")
    return BucketBlobs(root, tmp_path / "one"), BucketBlobs(root, tmp_path / "other")


def test_what_one_machine_keeps_another_reads(machines: tuple[Blobs, Blobs], tmp_path: Path) -> None:
    one, other = machines
    digest = one.put(b"agent")

    assert other.get(digest) == one.get(digest) == b"agent"
    with other.open(digest) as file:
        assert file.read() == b"agent"
    other.copy(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"agent"
    with pytest.raises(FileNotFoundError):
        other.get("0" * 64)


def test_what_nothing_names_leaves_every_machine(machines: tuple[Blobs, Blobs]) -> None:
    one, other = machines
    kept, gone = one.put(b"kept"), one.put(b"gone")

    assert other.keep_only({kept}, time.time() - 60) == 0
    assert other.keep_only({kept}, time.time() + 60) == 1
    assert other.get(kept) == b"kept"
    with pytest.raises(FileNotFoundError):
        other.get(gone)


def test_a_damaged_file_is_not_used_and_a_dead_bucket_is_said_so(
    bucket: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_trainer_env.arena.files.buckets import BucketBlobs

    one, other = BucketBlobs(bucket, tmp_path / "one"), BucketBlobs(bucket, tmp_path / "other")
    digest = one.put(b"agent")
    other._bucket.put(f"{digest[:2]}/{digest}", b"other")
    with pytest.raises(FilesUnavailableError, match="damaged"):
        other.get(digest)
    monkeypatch.setattr(other._bucket, "_paused_until", time.monotonic() + 1000)
    with pytest.raises(FilesUnavailableError):
        other.get(digest)
    assert s3.process.poll() is None
    assert one.get(digest) == b"agent"  # a copy is here


@pytest.mark.parametrize(
    ("url", "database", "words"),
    [
        ("here", POSTGRESQL, "absolute folder or s3"),
        ("s3://", POSTGRESQL, "absolute folder or s3"),
        ("s3://key@bucket", POSTGRESQL, "without keys"),
        ("http://bucket", POSTGRESQL, "absolute folder or s3"),
        ("s3://bucket/arena", "sqlite:////tmp/x.db", "need PostgreSQL"),
    ],
)
def test_places_of_files_that_cannot_be_shared_are_refused(url: str, database: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Settings.from_environment({"ARENA_FILES_URL": url, "ARENA_DATABASE_URL": database})


@pytest.fixture
def shared(services: Services, tmp_path: Path) -> Iterator[Services]:
    """A service whose files other machines see."""
    opened = Services.open(replace(services.settings, files_url=str(tmp_path / "shared")))
    yield opened
    opened.close()


def test_all_machines_have_the_key_of_the_first(shared: Services, tmp_path: Path) -> None:
    for name in ("b", "c"):
        with contextlib.closing(Services.open(replace(shared.settings, data_dir=tmp_path / name))) as other:
            assert (tmp_path / name / "signing.key").read_bytes() != shared.key
            assert other.key == shared.key


def test_a_worker_proves_itself_by_a_token_of_its_own(shared: Services, layers: Layers, make_agent: Any) -> None:
    with shared.database.transaction() as session:
        tokens = {scope: create_token(session, "gpu-1", scope) for scope in Scope}

    def worker(token: str | None) -> Worker:
        return Worker(replace(shared, settings=replace(shared.settings, worker_token=token)), layers)

    with pytest.raises(UnauthorizedError, match="ARENA_WORKER_TOKEN"):
        worker(None).prove()
    with pytest.raises(UnauthorizedError):
        worker("mlk_worker_00000000_00").prove()
    for scope in set(Scope) - {Scope.WORKER}:
        with pytest.raises(ForbiddenError):
            worker(tokens[scope]).work_once()
    proved = worker(tokens[Scope.WORKER])
    proved.prove()
    assert tokens[Scope.WORKER] not in repr(proved._services.settings)
    with shared.database.transaction() as session:
        revoke_token(session, tokens[Scope.WORKER].split("_")[2])
    make_agent()
    with pytest.raises(UnauthorizedError, match="revoked"):
        proved.work_once()
    proved.work(threading.Event())  # returns: it stops by itself


def test_the_token_of_a_worker_opens_nothing(services: Services, application: FastAPI) -> None:
    with services.database.transaction() as session:
        token = create_token(session, "gpu-1", Scope.WORKER)
    headers = {"Authorization": f"Bearer {token}"}
    paths = ("/api/profile/", "/api/auth/current_user", "/api/submissions/mine", "/api/machines/", "/api/challenges/")
    with TestClient(application) as client:
        assert [client.get(path, headers=headers).status_code for path in paths] == [403] * len(paths)
        assert client.post("/api/creator_challenge/challenge", json={}, headers=headers).status_code == 403
        assert client.post("/signin", data={"token": token}).status_code == 401


COUNT, USERS = 16, 4
LIMIT_S = 900.0


class Machines:
    """What `make_competition` needs of a service."""

    def __init__(self, arena: Any, held: contextlib.ExitStack) -> None:
        self.arena, self._held = arena, held

    def client(self, token: str) -> Any:
        return self._held.enter_context(connect(token, self.arena.url))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("layers")
def test_workers_on_two_machines_grade_each_submission_once_whatever_is_killed(
    bucket: str, postgresql: str, s3: Any, tmp_path: Path
) -> None:
    variables = {
        "ARENA_DATABASE_URL": postgresql,
        "ARENA_FILES_URL": f"s3://{bucket}",
        "ARENA_LEASE_S": "3",
        "ARENA_DAILY_DEPLOYS": "1000",
        **s3.variables,
    }
    with contextlib.ExitStack() as held:
        arena = held.enter_context(running(tmp_path / "service", workers=0, **variables))
        tokens = {name: arena.token(name, "worker") for name in ("one", "two", "three")}
        one = held.enter_context(worker_process(tmp_path / "one", arena.environment, tokens["one"]))
        two = held.enter_context(worker_process(tmp_path / "two", arena.environment, tokens["two"]))
        stranger = held.enter_context(worker_process(tmp_path / "stranger", arena.environment, arena.token("eve")))
        assert stranger.wait(LIMIT_S) == 2
        machines = Machines(arena, held)
        cid, users = make_competition(machines, [f"user{number}" for number in range(USERS)])  # type: ignore[arg-type]
        clients = [(machines.client(token), []) for token in users.values()]
        labels = {}
        for turn in range(COUNT):
            client, agents = clients[turn % USERS]
            aid = submit(client, cid, f"agent {turn}", turn % 4)
            agents.append(aid)
            labels[aid] = turn % 4
            if turn == 5:
                os.kill(one.pid, signal.SIGKILL)
            if turn == 9:
                arena.revoke(tokens["two"])
                assert two.wait(LIMIT_S) == 0  # it stops by itself
                held.enter_context(worker_process(tmp_path / "three", arena.environment, tokens["three"]))
        wait_for_all(clients, cid)
        shown = players(insist(lambda: clients[0][0].leaderboard(cid)))
        log = insist(lambda: clients[0][0].agent_games(clients[0][1][0]))["games"][0]["signed_url"]
        assert clients[0][0]._connection._http.get(log).status_code == 200  # written on another machine
    assert not (tmp_path / "one" / "files").exists()
    with contextlib.closing(Database(postgresql)) as database:
        with database.transaction(read_only=True) as session:
            competition = session.get_one(Competition, cid)
            expected = expected_rewards(shared_key(database), competition)
            for aid, label in labels.items():
                agent = session.get_one(Agent, aid)
                assert (agent.status, agent.rewards) == (AgentStatus.ACTIVE, expected[label][:RUNS])
                (deploy,) = session.query(Deploy).filter_by(agent_id=aid)
                assert deploy.status == DeployStatus.SUCCEEDED
                numbers = [run.number for run in session.query(Run).filter_by(deploy_id=deploy.id)]
                assert sorted(numbers) == list(range(len(numbers)))
            submitted = {aid: session.query(Deploy).filter_by(agent_id=aid).one().id for aid in labels}
            assert [row["agentAttachId"] for row in players(board(session, competition))] == [
                aid for aid, _ in undisturbed_board(expected, labels, submitted)
            ]
        assert len(shown) == COUNT
        assert shown[0]["NumberOfRuns"] == 2 * RUNS
        empty(database)
