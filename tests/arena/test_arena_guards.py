"""What keeps one client from holding the service up, or filling it: hard sources, quotas, what nothing names."""

import asyncio
import io
import os
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ml_trainer_env.arena.app import create_app
from ml_trainer_env.arena.competitions.schemas import NewCompetition
from ml_trainer_env.arena.competitions.service import create, update_settings
from ml_trainer_env.arena.errors import NoRoomError, RefusedError, TooManyError
from ml_trainer_env.arena.files.blobs import Blobs
from ml_trainer_env.arena.files.quota import Quota
from ml_trainer_env.arena.files.sources import MAX_SOURCE_BYTES, Class, Source, Sources
from ml_trainer_env.arena.files.turns import Turns
from ml_trainer_env.arena.rates import Rates
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.sweep import YOUNG_S, sweep
from ml_trainer_env.arena.tables import Agent, Scope
from ml_trainer_env.arena.tokens.service import create_token


@pytest.fixture
def look(tmp_path: Path) -> Any:
    blobs = Blobs(tmp_path / "files")
    sources = Sources(blobs)
    return lambda content: sources.look(blobs.put(content), len(content))


def test_a_source_is_told_by_its_classes(look: Any) -> None:
    found = look(b"class A(B):\n    def f(self): pass\n    async def g(self): pass\ndef h(): pass\nclass C: pass\n")

    assert found == Source(None, (Class("A", frozenset({"f", "g"}), True), Class("C", frozenset(), False)))


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


def test_nothing_of_a_source_is_run(look: Any, tmp_path: Path) -> None:
    assert look(f"open({str(tmp_path / 'made')!r}, 'w')\nimport os; os._exit(1)\n".encode()).error is None
    assert not (tmp_path / "made").exists()


def test_a_user_uploads_so_much_in_a_day_and_nobody_when_the_disk_is_nearly_full(tmp_path: Path) -> None:
    quota = Quota(tmp_path, daily_bytes=100, reserve_bytes=0)
    quota.take(1, 60)

    with pytest.raises(TooManyError, match="100 bytes in 24 hours"):
        quota.take(1, 60)
    quota.take(2, 60)
    quota.take(1, 40)
    with pytest.raises(NoRoomError):
        Quota(tmp_path, daily_bytes=100, reserve_bytes=2**60).take(1, 1)


def test_uploads_of_a_user_come_one_after_the_other_and_those_of_others_beside() -> None:
    async def main() -> None:
        turns = Turns()
        async with turns.of(1), turns.of(2):
            assert turns.of(1).locked()
        assert not turns.of(1).locked()

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
        update_settings(strict, {"max_upload_size_bytes": 10}, 2**20)

    with pytest.raises(RefusedError, match="larger ones"), services.database.transaction() as session:
        service.attach(session, user_id, strict.id, "copy", aid, services.sources)


def test_a_token_that_calls_too_often_is_told_so(services: Services) -> None:
    with services.database.transaction() as session:
        eager, calm = (create_token(session, name, Scope.USER) for name in ("eager", "calm"))
    rates = Rates(per_s=0.001, burst=2, complaint="too many requests")
    with TestClient(create_app(services, rates)) as client:

        def call(token: str) -> tuple[int, dict[str, str]]:
            answer = client.get(
                "/api/direct_attache_agents/agent/1/games", headers={"Authorization": f"Bearer {token}"}
            )
            return answer.status_code, answer.json()

        codes = [call(eager)[0] for _ in range(2)]
        assert call(eager) == (429, {"error": "too many requests"})
        assert codes == [404, 404] == [call(calm)[0] for _ in range(2)]
