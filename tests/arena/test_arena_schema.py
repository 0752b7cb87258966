"""Requests drawn from the published schema, with each kind of token: no server error, and nothing of others'."""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from arena_service import Arena
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from ml_trainer_env.arena.client import connect

PUBLIC = {
    "GET /api/competitions/",
    "GET /api/competitions/{cid}",
    "GET /api/competitions/{cid}/recent-replays",
    "GET /api/competition_tags/tags",
    "GET /api/leaderboard/competition/{cid}",
    "GET /api/challenges/",
    "GET /api/challenges/{cid}",
    "GET /api/challenges/{cid}/replays",
    "GET /api/challenges/{cid}/replays/{run_id}",
    "GET /api/challenge_asset/{cid}/image/miniature",
    "GET /api/challenge_tags/tags",
    "GET /api/leaderboard/challenge/{cid}",
    "GET /api/public/stats/",
    "GET /api/ranking/",
    "GET /api/ranking/user/{user_id}",
    "GET /api/academic_courses/catalog",
    "GET /api/academic_courses/enroll/{link}",
    "GET /api/academic_courses/assets/courses/{course_id}/cover",
    "GET /api/academic_courses/assets/lessons/{lesson_id}/{filename}",
    "GET /api/academic_courses/{slug}",
    "GET /api/academic_courses/{slug}/modules/{module_slug}",
    "GET /api/academic_courses/{slug}/modules/{module_slug}/lessons/{lesson_slug}",
    "GET /api/creator_challenge/config_fields",
    "GET /api/creator_challenge/config_schema.json",
    "GET /api/runtimes",
    "GET /datasets/{file_id}",
    "GET /logs/{run_id}",
    "GET /health",
}
ROUTES = 193
"""Those of both protocols, with file routes counted once for each method, beside logs, files and the health check."""

AGENT = "class Agent:\n    def train(self, X, y): pass\n    def predict(self, X): return [0] * len(X)\n"


@dataclass
class Victim:
    """Somebody whose things nobody else may see: random words, which are found wherever they appear."""

    agent: str
    source: str
    competition: str


@pytest.fixture(scope="module")
def victim(arena: Arena) -> Victim:
    found = Victim(*(f"secret{secrets.token_hex(8)}" for _ in range(3)))
    with connect(arena.token("victim"), arena.url) as client:
        cid = min(int(row["id"]) for row in client.competitions().to_dict("records"))
        aid = client.create_attached_agent(cid, found.agent)["attache_agent_id"]
        client.update_agent_file_content(cid, aid, "agent.py", f"# {found.source}\n{AGENT}")
    with connect(arena.token("victim", "creator"), arena.url) as client:
        client.create_competition(found.competition, "permuted_mnist", is_public=False)
    return found


@pytest.fixture(scope="module")
def operations(arena: Arena) -> dict[str, Any]:
    schema = schemathesis.openapi.from_url(f"{arena.url}/openapi.json")
    return {operation.label: operation for result in schema.get_all_operations() for operation in [result.ok()]}


@pytest.fixture(scope="module")
def tokens(arena: Arena) -> dict[str, str]:
    scopes = {scope: arena.token(f"fuzzer-{scope}", scope) for scope in ("user", "creator", "teacher")}
    return {"none": "", "wrong": "mlk_user_00000000_00", **scopes}


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def test_every_route_is_in_the_schema(operations: dict[str, Any]) -> None:
    assert len(operations) == ROUTES, sorted(operations)


def test_without_a_token_only_what_is_public_answers(operations: dict[str, Any], arena: Arena) -> None:
    for label in sorted(set(operations) - PUBLIC):
        method, path = label.split()
        path = re.sub(r"\{\w+\}", "1", path)
        answer = requests.request(method, arena.url + path, json={}, timeout=30)
        assert answer.status_code == 401, label
        assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=str)
def test_no_request_is_a_server_error_or_shows_what_is_someone_elses(
    operations: dict[str, Any], session: requests.Session, tokens: dict[str, str], victim: Victim, mode: Any
) -> None:
    hidden = (victim.agent, victim.source, victim.competition)
    for label, operation in operations.items():
        with suppress(Unsatisfiable):  # nothing can be wrong with a request that takes nothing
            _law(label, operation.as_strategy(generation_mode=mode), session, tokens, hidden)()


def _law(label: str, cases: Any, session: requests.Session, tokens: dict[str, str], hidden: Any) -> Callable[[], None]:
    """Each request is sent with every kind of token, since to draw it costs far more than to answer it."""

    @settings(max_examples=5, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def law(case: Any) -> None:
        for kind, token in tokens.items():
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            response = case.call(session=session, timeout=60.0, headers=headers)
            assert response.status_code < 500, (label, kind, response.text)
            assert not any(word in response.text for word in hidden), (label, kind)
            if response.status_code >= 400:
                assert isinstance(json.loads(response.text)["error"], str), (label, kind)

    return law
