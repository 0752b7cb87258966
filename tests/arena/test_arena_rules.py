"""How each rule of a competition holds: quota, deletion, held results, rows and boards."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from organised import EVERYBODY, deploy, grade, play, set_rules, sign_in, take

from ml_trainer_env.arena.errors import TooManyError
from ml_trainer_env.arena.leaderboard.service import board
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, Deploy
from ml_trainer_env.arena.tokens.service import find_or_create_user
from ml_trainer_env.arena.workers.finals import queue_finalist
from ml_trainer_env.arena.workers.outcomes import RunOutcome
from ml_trainer_env.arena.workers.queue import next_run, record_run

PEOPLE = EVERYBODY


def used(services: Services, cid: int, user: str = "bob") -> int:
    with services.database.transaction() as session:
        uid = find_or_create_user(session, user).id
        found = service.quota(session, session.get_one(Competition, cid), uid, services.settings.daily_deploys)
        return int(found["daily_deploys_used"])


def metric(key: str, source: str, agg: str, order: str | None, **more: Any) -> dict[str, Any]:
    shown = {"label": key, "format": "number", "unit": None, "precision": 2, "is_ranking": False, "visible": True}
    return {"key": key, "source": source, "agg": agg, "order": order, **shown, **more}


METRICS = [
    metric("error", "score", "mean", "asc", is_ranking=True),
    metric("worst", "score", "max", "asc"),
    metric("action_time_max", "platform", "max", "asc"),
    metric("n_episodes", "platform", "sum", None),
]


def test_quota_comes_back_by_rule(services: Services, make_agent: Any) -> None:
    unbegun, begun, deleted = (make_agent("bob") for _ in range(3))
    cid = set_rules(services)
    deploy(services, begun)
    held = take(services)
    assert held is not None
    with services.database.transaction() as session:
        run = next_run(session, held)
        assert run is not None
        record_run(session, held, run.id, RunOutcome(0.5, 1.0, 100, None, None, ""), "0" * 64)
    for aid in (unbegun, deleted):
        deploy(services, aid)
    with services.database.transaction() as session:
        for aid in (unbegun, begun):
            agent = session.get_one(Agent, aid)
            service.cancel(session, agent, agent.user_id)
            assert agent.status == AgentStatus.UPLOAD_VALIDATED
        agent = session.get_one(Agent, deleted)
        service.delete(session, agent, agent.user_id)

    assert used(services, cid) == 3
    set_rules(services, quota_returned=["cancelled"])
    assert used(services, cid) == 1  # one of those cancelled had begun; the deleted one was cancelled as well
    set_rules(services, quota_returned=["deleted"])
    assert used(services, cid) == 2
    set_rules(services, quota_returned=["cancelled", "deleted"])
    assert used(services, cid) == 1


def test_no_more_comes_back_than_the_limit(services: Services, make_agent: Any) -> None:
    aid = make_agent("bob")
    set_rules(services, quota_returned=["cancelled"])
    most = services.settings.daily_deploys

    for _ in range(2 * most):
        deploy(services, aid)  # each cancels the one before

    with pytest.raises(TooManyError):
        deploy(services, aid)


def test_deletion_is_forbidden_by_rule_but_for_organisers(
    client: TestClient, services: Services, make_agent: Any, headers: Any
) -> None:
    aid = make_agent("bob")
    cid = set_rules(services, deletion_allowed=False)
    old, new = f"/api/direct_attache_agents/competition/{cid}/{aid}", f"/api/submissions/challenge/{cid}/{aid}"

    for path in (old, new):
        answer = client.delete(path, headers=headers["bob"])
        assert (answer.status_code, "organisers do not allow" in answer.json()["error"]) == (400, True)
    organised = f"/api/creator_competition/competition/{cid}/submissions/{aid}"
    assert client.delete(organised, headers=headers["ada"]).json() == {"id": aid, "status": "deleted"}


def test_held_results_are_seen_by_organisers_alone(
    client: TestClient, services: Services, make_agent: Any, headers: Any
) -> None:
    aid = make_agent("bob")
    cid = set_rules(services, evaluation_episode_budget_brackets=[[0.1, 4]], results_held=True)
    grade(services, {aid: 0.8125})
    client.patch(f"/api/submissions/submission/{aid}", json={"is_public": True}, headers=headers["bob"])
    paths = (
        f"/api/leaderboard/competition/{cid}",
        f"/api/leaderboard/challenge/{cid}?me=true&around={aid}",
        f"/api/direct_attache_agents/competition/{cid}/{aid}/status",
        f"/api/direct_attache_agents/agent/{aid}/games",
        f"/api/submissions/submission/{aid}",
        f"/api/submissions/submission/{aid}/runs",
        "/api/submissions/mine",
        "/api/submissions/copyable_submissions",
        "/api/challenges/",
        "/api/ranking/",
        f"/competitions/{cid}",
        f"/competitions/{cid}/board",
        f"/competitions/{cid}/scores",
        f"/submissions/{aid}",
        f"/submissions/{aid}/progress",
        "/submissions",
        "/users/bob",
    )

    def seen(name: str) -> dict[str, bool]:
        sign_in(client, headers[name])
        return {path: "0.8125" in client.get(path, headers=headers[name]).text for path in paths}

    def extended(name: str) -> int:
        return len(client.get(f"/api/submissions/submission/{aid}/runs", headers=headers[name]).json()["runs"])

    assert not any(any(seen(name).values()) for name in ("nobody", "bob", "eve"))
    assert (extended("bob"), extended("ada")) == (3, 5)  # that it has earned two more runs would tell of its reward
    assert client.get("/api/ranking/").json()["rankings"][0]["current_points"] == 0
    organised = f"/api/creator_competition/competition/{cid}"
    assert client.get(f"{organised}/submissions", headers=headers["ada"]).json()["submissions"][0]["score"] == 0.8125
    assert seen("ada")[f"/competitions/{cid}"]
    released = client.put(f"{organised}/settings", json={"results_held": False}, headers=headers["ada"])
    assert released.status_code == 200
    assert {path for path, found in seen("bob").items() if not found} == {"/api/challenges/", "/api/ranking/"}


def test_a_participant_has_so_many_rows_and_finalists_are_among_them(services: Services, make_agent: Any) -> None:
    own = [make_agent("bob") for _ in range(3)]
    others = [make_agent(name) for name in ("eve", "dora", "newcomer")]
    rewards = dict(zip(own + others, (0.9, 0.8, 0.7, 0.6, 0.5, 0.4), strict=True))
    set_rules(services, rows_per_participant=1)
    grade(services, rewards)

    def rows() -> list[int]:
        with services.database.transaction(read_only=True) as session:
            return [row["agentAttachId"] for row in board(session, session.query(Competition).one())]

    assert rows() == [own[0], *others]
    seated = 0
    while True:
        with services.database.transaction() as session:
            if not queue_finalist(session, services):
                break
        play(services, rewards | {own[0]: 0.1})
        seated += 1
    # bob's best falls in the finals behind his next, which is seated, too.
    assert seated == 4
    assert rows() == [own[1], *others]
    set_rules(services, rows_per_participant=2)
    assert rows() == [own[1], own[2], *others]
    set_rules(services, rows_per_participant=None)
    assert len(rows()) == 6


def test_each_metric_with_an_order_has_a_board(client: TestClient, services: Services, make_agent: Any) -> None:
    agents = [make_agent(name) for name in ("bob", "eve", "dora")]
    cid = set_rules(services, metrics=METRICS)
    grade(services, dict(zip(agents, (0.2, 0.3, 0.2), strict=True)))
    new, old = f"/api/leaderboard/challenge/{cid}", f"/api/leaderboard/competition/{cid}"

    def order(key: str) -> list[int]:
        rows = client.get(old, params={"metric": key}).json()
        assert rows == [] or [row["Rank"] for row in rows] == list(range(1, len(rows) + 1))
        return [row["agentAttachId"] for row in rows]

    # Less is better: equals come in the order of their grading and share a rank; the best are first everywhere.
    assert order("") == order("error") == order("worst") == [agents[0], agents[2], agents[1]]
    assert order("action_time_max") == agents
    leaders = client.get(new, params={"around": agents[1]}).json()
    assert [(row["submission_id"], row["rank"]) for row in leaders["leaders"]] == [
        (agents[0], 1),
        (agents[2], 1),
        (agents[1], 3),
    ]
    assert [row["rank"] for row in leaders["around"]["neighbours"]] == [1, 1, 3]
    by_time = client.get(new, params={"metric": "action_time_max"}).json()["leaders"]
    assert [(row["submission_id"], row["rank"]) for row in by_time] == list(zip(agents, (1, 2, 3), strict=True))
    for unknown in ("n_episodes", "nothing"):
        assert client.get(old, params={"metric": unknown}).status_code == 404
        assert client.get(f"/competitions/{cid}", params={"metric": unknown}).status_code == 404
    page = client.get(f"/competitions/{cid}", params={"metric": "action_time_max"}).text
    assert page.index("where less is better") < page.index("Leaderboard", page.index("where less is better"))
    with services.database.transaction() as session:  # the finals take those with the least reward
        assert queue_finalist(session, services)
        assert session.query(Deploy).filter(Deploy.is_final).one().agent_id == agents[0]


@pytest.mark.usefixtures("make_agent")
@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ([metric("x", "score", "mean", None, is_ranking=True)], "order desc if more is better"),
        ([metric("x", "score", "max", "asc", is_ranking=True)], "the mean of the reward"),
        ([*METRICS[:1], metric("y", "score", "rating", "asc")], "no ratings"),
    ],
)
def test_boards_that_cannot_be_ranked_are_refused(
    client: TestClient, services: Services, headers: Any, metrics: Any, words: str
) -> None:
    cid = set_rules(services)
    with services.database.transaction() as session:
        session.get_one(Competition, cid).is_started = False
    path = f"/api/creator_challenge/challenge/{cid}/settings"

    answer = client.put(path, json={"metrics": metrics}, headers=headers["ada"])

    assert (answer.status_code, words in answer.json()["error"]) == (400, True), answer.text


@pytest.mark.usefixtures("make_agent")
def test_rules_may_change_while_a_competition_runs_and_belong_to_its_file_if_it_has_them(
    client: TestClient, services: Services, headers: Any
) -> None:
    cid = set_rules(services)
    path = f"/api/creator_challenge/challenge/{cid}"

    assert client.put(f"{path}/settings", json={"rows_per_participant": 2}, headers=headers["ada"]).status_code == 200
    late = client.put(f"{path}/settings", json={"max_upload_files": 2}, headers=headers["ada"])
    assert (late.status_code, "has started" in late.json()["error"]) == (400, True)
    wrong = client.put(f"{path}/settings", json={"quota_returned": ["failed"]}, headers=headers["ada"])
    assert wrong.status_code == 400
    with services.database.transaction() as session:
        session.get_one(Competition, cid).is_started = False
    text = 'deletion_allowed = false\nquota_returned = ["cancelled"]\nresults_held = true\nrows_per_participant = 1\n'
    file = {"filename": "challenge.toml", "content": text}
    assert client.put(f"{path}/env/files", json=file, headers=headers["ada"]).status_code == 200
    exported = client.get(f"{path}/config.toml", headers=headers["ada"]).text
    assert all(line in exported for line in text.splitlines())
    refused = client.put(f"{path}/settings", json={"results_held": False}, headers=headers["ada"])
    assert "challenge.toml (line 3)" in refused.json()["error"]
