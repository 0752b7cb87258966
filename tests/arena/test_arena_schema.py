"""Requests drawn from the published schema, with each kind of token: no server error, and nothing of others'."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
import schemathesis
from arena_service import Arena
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from strangers import Victim, callers, make_victim

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
LET_IN = ("user", "creator", "teacher", "assistant of somebody else")
"""The kinds of callers whose token opens something."""

TOO_FAST = "too many requests: a token may send"

ROUTES = 193
"""Those of both protocols, with file routes counted once for each method, beside logs, files and the health check."""


@pytest.fixture(scope="module")
def victim(arena: Arena) -> Iterator[Victim]:
    found = make_victim(arena)
    yield found
    for http in found.http.values():
        http.close()


@pytest.fixture(scope="module")
def operations(arena: Arena) -> dict[str, Any]:
    schema = schemathesis.openapi.from_url(f"{arena.url}/openapi.json")
    return {operation.label: operation for result in schema.get_all_operations() for operation in [result.ok()]}


@pytest.fixture(scope="module")
def tokens(arena: Arena) -> dict[str, str]:
    return callers(arena)


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def test_every_route_is_in_the_schema(operations: dict[str, Any]) -> None:
    assert len(operations) == ROUTES, sorted(operations)


def test_without_a_token_only_what_is_public_answers(
    operations: dict[str, Any], arena: Arena, session: requests.Session
) -> None:
    for label in sorted(set(operations) - PUBLIC):
        method, path = label.split()
        path = re.sub(r"\{\w+\}", "1", path)
        answer = session.request(method, arena.url + path, json={}, timeout=30)
        assert answer.status_code == 401, label
        assert set(answer.json()) == {"error"}


def test_callers_whose_token_opens_nothing_are_told_so(arena: Arena, tokens: dict[str, str]) -> None:
    assert len(tokens) == 9
    for kind, token in tokens.items():
        if kind not in LET_IN:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = requests.get(f"{arena.url}/api/profile/", headers=headers, timeout=30)
            assert answer.status_code == (403 if kind == "worker" else 401), kind


@pytest.mark.slow
def test_no_request_about_what_is_someone_elses_shows_or_changes_it(
    operations: dict[str, Any], session: requests.Session, tokens: dict[str, str], victim: Victim
) -> None:
    before = victim.state()
    let_in = {kind: token for kind, token in tokens.items() if kind in LET_IN}

    for label, operation in operations.items():
        cases = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        _law(label, cases, session, let_in, victim, examples=1, as_drawn=False)()

    assert victim.state() == before


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=str)
def test_no_request_is_a_server_error_or_shows_or_changes_what_is_someone_elses(
    operations: dict[str, Any], session: requests.Session, tokens: dict[str, str], victim: Victim, mode: Any
) -> None:
    before = victim.state()

    for label, operation in operations.items():
        with suppress(Unsatisfiable):  # nothing can be wrong with a request that takes nothing
            cases = operation.as_strategy(generation_mode=mode)
            _law(label, cases, session, tokens, victim, addressed=mode is GenerationMode.POSITIVE)()

    assert victim.state() == before


def _law(
    label: str,
    cases: Any,
    session: requests.Session,
    tokens: dict[str, str],
    victim: Victim,
    examples: int = 2,
    as_drawn: bool = True,
    addressed: bool = True,
) -> Callable[[], None]:
    """Each request is sent by every kind of caller, since to draw it costs far more than to answer it.

    It is sent as it was drawn, and addressed: with the numbers of the victim's things in its path and its body.
    """

    def send(case: Any) -> None:
        for kind, token in tokens.items():
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            while TOO_FAST in (response := case.call(session=session, timeout=60.0, headers=headers)).text:
                time.sleep(0.1)  # otherwise the rate of a token would answer in place of the route
            assert response.status_code < 500, (label, kind, response.text)
            assert not any(word in response.text for word in victim.words), (label, kind)
            if response.status_code >= 400:
                assert isinstance(json.loads(response.text)["error"], str), (label, kind)

    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=cases)
    def law(case: Any) -> None:
        if as_drawn:
            send(case)
        if not addressed:
            return
        case.path_parameters = victim.address(label.split()[1], dict(case.path_parameters or {}))
        if isinstance(case.body, dict) and case.media_type == "application/json":
            case.body = victim.references(case.body)
        send(case)

    return law
