"""What keeps one client from holding the service up, or filling it: hard sources, quotas, what nothing names."""

import asyncio
import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from ml_trainer_env.arena.app import create_app
from ml_trainer_env.arena.competitions.schemas import NewCompetition
from ml_trainer_env.arena.competitions.service import create, keep_file, update_settings
from ml_trainer_env.arena.errors import NoRoomError, NotFoundError, RefusedError, TooManyError
from ml_trainer_env.arena.files import sources as files_sources
from ml_trainer_env.arena.files.blobs import Blobs
from ml_trainer_env.arena.files.locks import UserLocks
from ml_trainer_env.arena.files.quota import Quota
from ml_trainer_env.arena.files.sources import MAX_SOURCE_BYTES, Class, Source, Sources
from ml_trainer_env.arena.rates import Rates
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.submissions.repository import own_agent
from ml_trainer_env.arena.sweep import YOUNG_S, sweep
from ml_trainer_env.arena.tables import Agent, AgentStatus, FilePurpose, Scope
from ml_trainer_env.arena.tokens.service import create_token, find_or_create_user

SOURCE = b"class Agent:\n    def train(self, X, y): pass\n    def predict(self, X): return [0] * len(X)\n"


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    # The limit of CPU time shall end the parser, not one of wall time: a busy machine may give it no processor.
    monkeypatch.setattr(files_sources, "_LIMIT_S", 240.0)
    blobs = Blobs(tmp_path / "files")
    sources = Sources(blobs)
    return lambda content: sources.inspect(blobs.put(content), len(content))


def test_a_source_is_told_by_its_classes(look: Any) -> None:
    found = look(b"class A(B):\n    def f(self): pass\n    async def g(self): pass\ndef h(): pass\nclass C: pass\n")

    classes = Class("A", frozenset({"f", "g"}), True), Class("C", frozenset(), False)
    assert found == Source(None, classes, frozenset({"h"}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"x = (", "SyntaxError: '(' was never closed (line 1)"),
        (b"x = 'a\0b'", "null bytes"),
        ("x = 'ä'".encode("latin-1"), "SyntaxError"),
        (b"-" * 200_000 + b"1", "MemoryError"),
        (b"x" * (MAX_SOURCE_BYTES + 1), "bytes at the most"),
        (b"f'" + b"{x}" * 80_000 + b"'", "too much time"),
    ],
    ids=["open", "null", "encoding", "deep", "large", "slow"],
)
def test_what_is_no_source_or_too_hard_is_said_so(look: Any, content: bytes, words: str) -> None:
    assert words in look(content).error


def test_what_says_nothing_of_a_source_is_not_remembered(look: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:
        without.setattr(sys, "executable", "/bin/false")
        assert look(b"x = 1").error == "it could not be parsed just now: upload it again"

    assert look(b"x = 1").error is None


def test_nothing_of_a_source_is_run(look: Any, tmp_path: Path) -> None:
    assert look(f"open({str(tmp_path / 'made')!r}, 'w')\nimport os; os._exit(1)\n".encode()).error is None
    assert not (tmp_path / "made").exists()


def test_a_user_uploads_so_much_in_a_day_and_nobody_when_the_disk_is_nearly_full(tmp_path: Path) -> None:
    quota = Quota(tmp_path, daily_bytes=100, reserve_bytes=0)
    quota.take(1, 30)

    with pytest.raises(TooManyError, match="100 bytes in 24 hours"):
        quota.take(1, 30)
    quota.take(2, 30)
    quota.take(1, 20)
    with pytest.raises(NoRoomError):
        Quota(tmp_path, daily_bytes=100, reserve_bytes=2**60).take(1, 1)


def test_uploads_of_a_user_come_one_after_the_other_and_those_of_others_beside() -> None:
    async def main() -> None:
        locks = UserLocks()
        async with locks.of(1), locks.of(2):
            assert locks.of(1).locked()
        assert not locks.of(1).locked()

    asyncio.run(main())


def test_files_that_nothing_names_are_removed_when_they_are_old(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    with services.database.transaction(read_only=True) as session:
        (kept,) = {file.sha256 for file in service.agent_files(session, aid)}
    replaced, _ = services.blobs.put_stream(io.BytesIO(b"replaced"))
    young, _ = services.blobs.put_stream(io.BytesIO(b"young"))
    past = time.time() - YOUNG_S - 60
    for digest in (kept, replaced):
        os.utime(services.blobs.path(digest), (past, past))

    assert sweep(services) == 1

    assert [services.blobs.path(digest).exists() for digest in (kept, replaced, young)] == [True, False, True]


def test_a_file_that_is_kept_again_is_young_again(services: Services) -> None:
    past = time.time() - YOUNG_S - 60
    digest = services.blobs.put(b"again")
    os.utime(services.blobs.path(digest), (past, past))
    services.blobs.put(b"again")

    assert sweep(services) == 0
    assert services.blobs.get(digest) == b"again"


def test_a_copy_keeps_to_the_limits_of_where_it_goes(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    with services.database.transaction() as session:
        user_id = session.get_one(Agent, aid).user_id
        strict = create(session, user_id, NewCompetition(name="strict", kernel_version="permuted_mnist"))
        update_settings(session, strict, {"max_upload_size_bytes": 10}, 2**20)

    with pytest.raises(RefusedError, match="larger ones"), services.database.transaction() as session:
        service.attach(session, user_id, strict.id, "copy", aid, services.sources)


def test_a_token_that_calls_too_often_is_told_so(services: Services) -> None:
    with services.database.transaction() as session:
        eager, calm = (create_token(session, name, Scope.USER) for name in ("eager", "calm"))
    rates = Rates(per_s=0.001, burst=2, message="too many requests")
    with TestClient(create_app(services, rates)) as client:

        def call(token: str) -> tuple[int, dict[str, str]]:
            answer = client.get(
                "/api/direct_attache_agents/agent/1/games", headers={"Authorization": f"Bearer {token}"}
            )
            return answer.status_code, answer.json()

        codes = [call(eager)[0] for _ in range(2)]
        assert call(eager) == (429, {"error": "too many requests"})
        assert codes == [404, 404] == [call(calm)[0] for _ in range(2)]


@pytest.mark.parametrize(
    "path", ["/api/competitions/?q=%00", "/api/competitions/?tags=%00", "/?q=%00", "/api/academic_courses/enroll/%00"]
)
def test_what_no_database_can_hold_is_the_clients_fault(client: TestClient, services: Services, path: str) -> None:
    with services.database.transaction() as session:
        token = create_token(session, "ada", Scope.USER)
    headers = {"Authorization": f"Bearer {token}"}

    answer = client.post(path, json={}, headers=headers) if "enroll" in path else client.get(path)

    assert answer.status_code < 500
    assert client.post("/signin", data={"token": "mlk_user_\0_x"}).status_code in {400, 401}


def test_a_benchmark_agent_is_no_submission_of_its_creators(client: TestClient, services: Services) -> None:
    with services.database.transaction() as session:
        user, creator = (create_token(session, "carl", scope) for scope in (Scope.USER, Scope.CREATOR))
        uid = find_or_create_user(session, "carl").id
        made = create(session, uid, NewCompetition(name="x", kernel_version="permuted_mnist"))
        keep_file(session, made, FilePurpose.BENCHMARK, "agent.py", services.blobs.put(SOURCE), len(SOURCE))
        cid = made.id
    as_creator, as_user = ({"Authorization": f"Bearer {token}"} for token in (creator, user))
    runs = f"/api/creator_competition/competition/{cid}/benchmark"

    answers = [client.post(f"{runs}/run", headers=as_creator) for _ in range(services.settings.daily_deploys + 1)]

    assert [answer.status_code for answer in answers[:-1]] == [200] * services.settings.daily_deploys
    assert answers[-1].status_code == 429
    with services.database.transaction() as session:
        agent = session.scalars(sa.select(Agent)).one()
        agent.status, agent.mean_reward, aid = AgentStatus.ACTIVE, 0.1, agent.id
    own = f"/api/direct_attache_agents/competition/{cid}/{aid}"
    assert client.get(f"{own}/status", headers=as_user).status_code == 404
    assert client.put(f"{own}/deploy", headers=as_user).status_code == 404
    assert client.delete(own, headers=as_user).status_code == 404
    # What it was scored for is no more: it has to be run again.
    settings = f"/api/creator_competition/competition/{cid}/settings"
    assert client.put(settings, json={"max_upload_files": 3}, headers=as_creator).status_code == 200
    assert client.get(f"{runs}/status", headers=as_creator).json()["status"] == "none"
    assert client.put(f"/api/creator_competition/competition/{cid}/start", headers=as_creator).status_code == 400


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nothing": 1}, "there are no settings nothing"),
        ({"evaluation_deployment_nb_initial_score_run": 1000, "simulation_timeout_sec": 60}, "seconds at the most"),
        ({"evaluation_episode_budget_brackets": [[float("nan"), 5]]}, "finite"),
        ({"evaluation_episode_budget_brackets": [[0.5, 101]]}, "100"),
    ],
)
def test_settings_that_would_hold_everybody_up_are_refused(services: Services, changes: Any, words: str) -> None:
    with services.database.transaction() as session:
        uid = find_or_create_user(session, "carl").id
        made = create(session, uid, NewCompetition(name="x", kernel_version="permuted_mnist"))

        with pytest.raises(RefusedError, match=words):
            update_settings(session, made, changes, 2**30)


def test_a_hidden_competition_is_hidden_from_those_who_took_part(services: Services, make_agent: Any) -> None:
    aid = make_agent()
    with services.database.transaction() as session:
        agent = session.get_one(Agent, aid)
        agent.user_id = find_or_create_user(session, "somebody").id
        session.flush()
        assert own_agent(session, aid, agent.user_id) is agent
        agent.competition.is_public = False
        session.flush()

        with pytest.raises(NotFoundError):
            own_agent(session, aid, agent.user_id)


@pytest.mark.slow
def test_without_a_sandbox_nothing_is_served(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ml_trainer_env.arena", "serve"]
    environment = {"PATH": str(tmp_path), "ARENA_DATA_DIR": str(tmp_path / "data"), "HOME": str(tmp_path)}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 2
    assert "submissions" in done.stderr
