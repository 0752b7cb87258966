"""The protocol of mlarena-sdk 0.2.0 to 1.0.0: the official clients method by method, and what only newer ones send."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from official_client import PEOPLE, names_in, outcome_in, rows_of_the_page, run_as_people
from organised import grade

from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import Agent

__all__ = ["PEOPLE"]

SCRIPT = Path(__file__).with_name("competition_scenarios.py")
COUNTS = {"0.2.0": (37, 1), "0.3.0": (85, 1), "1.0.0": (105, 1)}
"""Methods that are served and that are refused, by version."""


def methods_of_the_page(version: str) -> dict[str, str]:
    """What docs/arena.md says of each method of a version. The table has each method once, with its first version."""
    return {
        name: outcome_in(outcome)
        for since, outcome, names in rows_of_the_page("0.2.0 to 1.0.0")
        for name in names_in(names)
        if since <= version
    }


@pytest.mark.slow
@pytest.mark.parametrize("version", list(COUNTS))
def test_every_method_of_an_older_client_is_served_or_refused_in_words(
    arena: Any, python_with: Any, version: str
) -> None:
    told = run_as_people(arena, python_with(version), str(SCRIPT), arena.url)

    assert json.loads(told.splitlines()[-1]) == methods_of_the_page(version)


@pytest.mark.parametrize("version", list(COUNTS))
def test_the_page_names_every_method_of_an_older_client_once(version: str) -> None:
    names = [
        name for since, _, cell in rows_of_the_page("0.2.0 to 1.0.0") if since <= version for name in names_in(cell)
    ]
    outcomes = list(methods_of_the_page(version).values())

    assert len(names) == len(set(names))
    assert (outcomes.count("served"), outcomes.count("refused")) == COUNTS[version]


def test_an_older_client_gets_the_first_rows_of_a_leaderboard(
    client: TestClient, services: Services, make_agent: Any
) -> None:
    aids = [make_agent("bob"), make_agent("eve")]
    grade(services, dict(zip(aids, (0.1, 0.2), strict=True)))
    with services.database.transaction(read_only=True) as session:
        path = f"/api/leaderboard/competition/{session.get_one(Agent, aids[0]).competition_id}"

    rows = client.get(path).json()

    assert len(rows) == 2
    assert client.get(path, params={"limit": 1}).json() == rows[:1]
    assert client.get(path, params={"limit": 9}).json() == rows


def test_the_rank_of_a_user_is_as_public_as_the_ranking(client: TestClient, headers: Any) -> None:
    (ranked,) = client.get("/api/ranking/", params={"search": "ada"}).json()["rankings"]

    without = client.get(f"/api/ranking/user/{ranked['user_id']}").json()

    assert ranked.items() <= without["stats"].items()
    assert client.get(f"/api/ranking/user/{ranked['user_id']}", headers=headers["bob"]).json() == without
    assert client.get("/api/ranking/user/99").json() == {"error": "there is no such user"}


def test_a_course_names_its_competitions_as_older_clients_do(client: TestClient, headers: Any) -> None:
    new = {"name": "x", "kernel_version": "permuted_mnist"}
    own, taught = (
        client.post("/api/creator_competition/competition", json=new, headers=headers["carl"]).json()["competition_id"]
        for _ in range(2)
    )
    wanted = {"name": "c", "competition_id": own}
    made = client.post("/api/academic_courses/", json=wanted, headers=headers["tess"]).json()
    module = client.post("/api/teacher/modules", json={"title": "m"}, headers=headers["tess"]).json()["id"]
    path = f"/api/teacher/modules/{module}/competitions"
    client.post(path, json={"competition_id": taught}, headers=headers["tess"])
    client.post(f"/api/teacher/course/{made['id']}/modules", json={"module_id": module}, headers=headers["tess"])

    joined = client.post(f"/api/academic_courses/enroll/{made['join_code']}", json={}, headers=headers["ada"]).json()

    assert (joined["competition_id"], joined["competition_ids"]) == (own, [own, taught])
    (shown,) = client.get(f"/api/academic_courses/{made['slug']}", headers=headers["ada"]).json()["modules"]
    assert [one["competition_id"] for one in shown["competitions"]] == [taught]
    for cid in (own, taught):
        listed = client.get("/api/academic_courses/", params={"competition_id": cid}, headers=headers["ada"]).json()
        assert [one["id"] for one in listed] == [made["id"]]
