"""The protocol of mlarena-sdk 4.6.0: the official client method by method, and what each kind of caller may do."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from official_client import LIMIT_S, PEOPLE, names_in, outcome_in, rows_of_the_page, run_as_people

from ml_trainer_env.arena.competitions.metrics import default_metrics
from ml_trainer_env.arena.competitions.schemas import CompetitionSettings
from ml_trainer_env.arena.leaderboard.service import Entry
from ml_trainer_env.arena.leaderboard.standings import neighbours, standings
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.tables import Agent, AgentStatus
from ml_trainer_env.arena.workers.queue import claim, must_yield

SCRIPT = Path(__file__).with_name("challenge_scenarios.py")


@pytest.mark.slow
@pytest.mark.long
def test_every_method_of_the_official_client_is_served_or_refused_in_words(arena: Any, python_with: Any) -> None:
    told = run_as_people(arena, python_with("4.6.0"), str(SCRIPT), arena.url)

    assert json.loads(told) == methods_of_the_page()


def methods_of_the_page() -> dict[str, str]:
    """What docs/arena.md says of each method."""
    return {name: outcome_in(outcome) for outcome, names in rows_of_the_page("4.6.0") for name in names_in(names)}


def test_the_page_names_every_method_once() -> None:
    names = [name for _, cell in rows_of_the_page("4.6.0") for name in names_in(cell)]

    assert len(names) == len(set(names)) == 167


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2.1.0", "3.0.0"])
def test_a_client_of_another_protocol_is_told_which_versions_are_served(
    arena: Any, python_with: Any, version: str
) -> None:
    program = (
        "import mlarena, sys\n"
        "client = mlarena.connect(sys.argv[1], base_url=sys.argv[2])\n"
        "try:\n    client.submission_status(1, 1)\n"
        "except mlarena.MLArenaError as error:\n    print(error)\n"
    )

    done = subprocess.run(
        [python_with(version), "-W", "ignore", "-c", program, arena.token("ada"), arena.url],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )

    assert "mlarena-sdk 0.2.0 to 1.0.0 and 4.6.0" in done.stdout


def test_an_unknown_route_names_the_versions_that_are_served(client: TestClient) -> None:
    for path in ("/api/nothing", "/api/submissions/challenge/1/1/status", "/api/engines/"):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            answer = client.request(method, path)
            assert answer.status_code == 404
            assert "mlarena-sdk 0.2.0 to 1.0.0 and 4.6.0" in answer.json()["error"]


def test_nobody_else_reads_or_changes_a_submission(
    client: TestClient, services: Services, make_agent: Any, headers: Any
) -> None:
    sid = make_agent("bob")
    with services.database.transaction(read_only=True) as session:
        cid = session.get_one(Agent, sid).competition_id
    path = f"/api/submissions/challenge/{cid}/{sid}"
    reads = (
        f"/api/submissions/submission/{sid}",
        f"/api/submissions/submission/{sid}/runs",
        f"/api/submissions/submission/{sid}/deploys",
        f"{path}/file",
        f"{path}/file/agent.py",
        f"{path}/file/agent.py/content",
    )
    changes: tuple[tuple[str, str, Any], ...] = (
        ("PATCH", f"/api/submissions/submission/{sid}", {"is_public": True}),
        ("PUT", f"{path}/deploy", None),
        ("PUT", f"{path}/file", None),
        ("DELETE", path, None),
        ("PUT", f"/api/submissions/agent_runtime/{sid}", {"docker_image_agent_runtime_id": 1}),
    )

    for name in ("eve", "carl", "tess", "tom"):
        assert [client.get(one, headers=headers[name]).status_code for one in reads] == [404] * len(reads), name
        for method, one, body in changes:
            status = client.request(method, one, json=body, headers=headers[name]).status_code
            assert status == (404 if PEOPLE[name] == "user" else 403), (name, one)
    assert [client.get(one, headers=headers["bob"]).status_code for one in reads] == [200] * len(reads)
    assert [client.get(one).status_code for one in reads] == [401] * len(reads)


CREATOR_ROUTES: tuple[tuple[str, str, Any], ...] = (
    ("GET", "", None),
    ("PUT", "", {"name": "mine"}),
    ("PUT", "/settings", {"window_days": 1}),
    ("GET", "/config.toml", None),
    ("GET", "/tags", None),
    ("PUT", "/tags", {"tag_ids": []}),
    ("GET", "/env/files", None),
    ("PUT", "/env/files", {"filename": "env.py", "content": ""}),
    ("DELETE", "/env/files/env.py", None),
    ("POST", "/env/check", {"content": ""}),
    ("POST", "/env/sync-github", {}),
    ("GET", "/benchmark/files", None),
    ("PUT", "/benchmark/files", {"filename": "agent.py", "content": ""}),
    ("DELETE", "/benchmark/files/agent.py", None),
    ("POST", "/benchmark/run", None),
    ("GET", "/benchmark/status", None),
    ("GET", "/image", None),
    ("POST", "/image", None),
    ("DELETE", "/image", None),
    ("GET", "/markdown", None),
    ("PUT", "/markdown", {"content": ""}),
    ("GET", "/agent-template", None),
    ("PUT", "/agent-template", {"agent_template": ""}),
    ("GET", "/csv-ground-truth", None),
    ("PUT", "/start", None),
    ("PUT", "/stop", None),
    ("GET", "/runs", None),
    ("GET", "/submissions", None),
    ("POST", "/submissions/clean_redeploy_all", None),
    ("POST", "/submissions/1/clean_redeploy", None),
    ("DELETE", "/submissions/1", None),
    ("GET", "/assistants", None),
    ("POST", "/assistants", {"username": "eve"}),
    ("DELETE", "/assistants/1", None),
    ("GET", "/datasets", None),
    ("POST", "/datasets", {"label": "x"}),
    ("PUT", "/datasets/1", {"label": "x"}),
    ("DELETE", "/datasets/1", None),
    ("POST", "/datasets/1/files", None),
    ("DELETE", "/datasets/1/files/1", None),
)


OLDER_ROUTES: tuple[tuple[str, str, Any], ...] = (
    ("PUT", "/stop", None),
    ("PUT", "/agent-template", {"agent_template": ""}),
    ("GET", "/datasets", None),
    ("POST", "/datasets", {"label": "x"}),
    ("PUT", "/datasets/1", {"label": "x"}),
    ("POST", "/datasets/1/files", None),
    ("DELETE", "/datasets/1/files/1", None),
)
"""Those of mlarena-sdk 1.0.0 beside the ones of 0.2.0."""


def test_only_its_creator_edits_a_challenge(client: TestClient, headers: Any) -> None:
    body = {"name": "x", "kernel_version": "permuted_mnist", "is_public": True}
    cid = client.post("/api/creator_challenge/challenge", json=body, headers=headers["carl"]).json()["challenge_id"]

    for method, path, wanted in CREATOR_ROUTES:
        for name, status in {"dora": 404, "ada": 403, "tess": 403}.items():
            url = f"/api/creator_challenge/challenge/{cid}{path}"
            found = client.request(method, url, json=wanted, headers=headers[name]).status_code
            assert found == status, (name, method, path)
    for method, path, wanted in OLDER_ROUTES:
        for name, status in {"dora": 404, "ada": 403, "tess": 403}.items():
            url = f"/api/creator_competition/competition/{cid}{path}"
            found = client.request(method, url, json=wanted, headers=headers[name]).status_code
            assert found == status, (name, method, path)


def test_the_files_of_another_challenge_are_not_reached_through_an_own_one(client: TestClient, headers: Any) -> None:
    body = {"name": "x", "kernel_version": "permuted_mnist"}
    create = "/api/creator_challenge/challenge"
    theirs = client.post(create, json=body, headers=headers["carl"]).json()["challenge_id"]
    own = client.post(create, json=body, headers=headers["dora"]).json()["challenge_id"]
    data = client.post(f"{create}/{theirs}/datasets", json={"label": "d"}, headers=headers["carl"]).json()["id"]

    path = f"{create}/{own}/datasets/{data}"

    assert client.put(path, json={"label": "x"}, headers=headers["dora"]).status_code == 404
    assert client.delete(path, headers=headers["dora"]).status_code == 404
    assert client.get(f"/datasets/{data}").status_code == 404
    assert (
        client.post(create, json=body | {"copy_from_challenge_id": theirs}, headers=headers["dora"]).status_code == 404
    )


def test_a_teacher_cannot_show_others_a_hidden_challenge_of_somebody_else(client: TestClient, headers: Any) -> None:
    body = {"name": "hidden", "kernel_version": "permuted_mnist", "is_public": True}
    create = "/api/creator_challenge/challenge"
    cid = client.post(create, json=body, headers=headers["carl"]).json()["challenge_id"]
    course = client.post("/api/academic_courses/", json={"name": "c"}, headers=headers["tess"]).json()
    entry = {"challenge_id": cid}
    added = client.post(f"/api/teacher/course/{course['id']}/challenges", json=entry, headers=headers["tess"])
    assert added.status_code == 201
    client.post(f"/api/academic_courses/enroll/{course['join_code']}", json={}, headers=headers["ada"])
    assert client.get(f"/api/challenges/{cid}", headers=headers["ada"]).status_code == 200

    client.put(f"{create}/{cid}", json={"is_public": False}, headers=headers["carl"])

    assert client.get(f"/api/challenges/{cid}", headers=headers["ada"]).status_code == 404
    again = client.post(f"/api/teacher/course/{course['id']}/challenges", json=entry, headers=headers["tess"])
    assert again.status_code == 404


def entry(agent_id: int, user_id: int, mean: float, is_benchmark: bool = False) -> Entry:
    return Entry(agent_id, "a", user_id, "u", is_benchmark, False, (mean,), mean, None, 0.0, 0.0, agent_id, 1.0, 1)


def test_equals_share_a_rank_and_a_participant_has_one_place() -> None:
    entries = [entry(1, 1, 0.9), entry(2, 2, 0.8), entry(3, 1, 0.8), entry(4, 3, 0.8), entry(5, 4, 0.7)]

    by_submission = standings(entries, None)
    by_participant = standings(entries, {2: 7, 3: 7})

    assert [(one.entry.agent_id, one.rank, one.position) for one in by_submission] == [
        (1, 1, 1),
        (2, 2, 2),
        (3, 2, 3),
        (4, 2, 4),
        (5, 5, 5),
    ]
    assert [(one.entry.agent_id, one.rank) for one in by_participant] == [(1, 1), (2, 2), (5, 3)]
    assert [one.position for one in neighbours(by_submission, 1, 1)] == [1, 2]
    assert [one.position for one in neighbours(by_submission, 3, 1)] == [2, 3, 4]


def test_a_benchmark_is_a_participant_of_its_own() -> None:
    places = standings([entry(1, 1, 0.9, is_benchmark=True), entry(2, 1, 0.8)], {})

    assert [one.entry.agent_id for one in places] == [1, 2]


@pytest.mark.parametrize(("mean", "runs"), [(0.05, 2), (0.1, 4), (0.4, 4), (0.5, 4)])
def test_tiers_give_runs_to_means_below_their_thresholds(mean: float, runs: int) -> None:
    settings = CompetitionSettings(episode_budget_brackets=[(0.1, 2), (0.5, 4)])

    assert settings.earned_runs([mean]) == runs


@pytest.mark.parametrize(("name", "key"), [("accuracy", "accuracy"), ("Mean CRPS", "mean_crps"), ("score", "reward")])
def test_a_competition_without_metrics_shows_its_reward(name: str, key: str) -> None:
    (metric,) = default_metrics(name)

    assert (metric.key, metric.aggregate([1.0, 2.0], None, None)) == (key, 1.5)


def test_reruns_wait_for_what_participants_deploy(services: Services, make_agent: Any) -> None:
    graded, own, others = make_agent("bob"), make_agent("bob"), make_agent("ada")
    with services.database.transaction() as session:
        agent = session.get_one(Agent, graded)
        service.deploy(session, agent, services)
        service.cancel_open(session, agent)
        agent.status, agent.mean_reward, agent.rewards = AgentStatus.ACTIVE, 0.5, [0.5]
    with services.database.transaction() as session:
        agent = session.get_one(Agent, graded)
        used = service.deploy_limits(session, agent, 18)["daily_deploys_used"]
        again = service.rerun(session, agent, services, agent.user_id).id
        assert service.deploy_limits(session, agent, 18)["daily_deploys_used"] == used
        assert (agent.mean_reward, agent.rewards) == (None, [])
    with services.database.transaction() as session:
        held = claim(session, "w", 100.0)
        assert held is not None
        assert held.deploy_id == again
        assert not must_yield(session, held, turn_is_over=True)
    with services.database.transaction() as session:
        deployed = [service.deploy(session, session.get_one(Agent, one), services).id for one in (own, others)]
        assert must_yield(session, held, turn_is_over=False)
    with services.database.transaction() as session:
        taken = [found.deploy_id for _ in range(2) if (found := claim(session, "w", 100.0)) is not None]
    assert sorted(taken) == sorted(deployed)
