"""What organisers may do with submissions, what nobody else may, and how each rule of a competition holds."""

import csv
import io
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ml_trainer_env.arena import audit
from ml_trainer_env.arena.app import create_app
from ml_trainer_env.arena.errors import RefusedError, TooManyError
from ml_trainer_env.arena.leaderboard.service import board
from ml_trainer_env.arena.organisers import service as organisers
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.tables import (
    Agent,
    AgentStatus,
    Competition,
    CompetitionAssistant,
    Deploy,
    DeployStatus,
    Scope,
    Team,
    TeamMember,
    TeamRole,
)
from ml_trainer_env.arena.tokens.service import create_token, find_or_create_user
from ml_trainer_env.arena.workers.finals import queue_finalist
from ml_trainer_env.arena.workers.outcomes import RunOutcome
from ml_trainer_env.arena.workers.queue import Claim, claim, finish, next_run, record_run

PEOPLE = {"ada": "creator", "bob": "user", "eve": "user", "dora": "creator", "tess": "teacher", "gpu": "worker"}
"""ada has made the competition."""


@pytest.fixture
def client(services: Services) -> Iterator[TestClient]:
    with TestClient(create_app(services), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def headers(services: Services) -> dict[str, dict[str, str]]:
    with services.database.transaction() as session:
        tokens = {name: create_token(session, name, Scope(scope)) for name, scope in PEOPLE.items()}
    return {name: {"Authorization": f"Bearer {token}"} for name, token in tokens.items()} | {"nobody": {}}


def deploy(services: Services, aid: int) -> int:
    with services.database.transaction() as session:
        return service.deploy(session, session.get_one(Agent, aid), services).id


def take(services: Services) -> Claim | None:
    with services.database.transaction() as session:
        return claim(session, "w", 100.0)


def play(services: Services, rewards: dict[int, float]) -> None:
    """Play all that waits: each agent's runs come to its reward."""
    while (held := take(services)) is not None:
        over = False
        while not over:
            with services.database.transaction() as session:
                run = next_run(session, held)
                agent_id = session.get_one(Deploy, held.deploy_id).agent_id
                outcome = RunOutcome(rewards[agent_id], 1.0 + agent_id, 100, None, None, "")
                if run is None:
                    over = finish(session, held, services)
                else:
                    record_run(session, held, run.id, outcome, services.blobs.put(b"log"))


def grade(services: Services, rewards: dict[int, float]) -> None:
    for aid in rewards:
        deploy(services, aid)
    play(services, rewards)


def set_rules(services: Services, **rules: Any) -> int:
    with services.database.transaction() as session:
        competition = session.query(Competition).one()
        competition.settings = {**competition.settings, **rules}
        return competition.id


def agent_of(services: Services, aid: int) -> Agent:
    with services.database.transaction(read_only=True) as session:
        return session.get_one(Agent, aid)


ROUTES: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/submissions", None),
    ("GET", "/submissions/archive", None),
    ("POST", "/submissions/rerun", None),
    ("POST", "/submissions/{aid}/rerun", None),
    ("POST", "/submissions/{aid}/cancel", None),
    ("PUT", "/submissions/{aid}/baseline", {"is_baseline": True}),
    ("DELETE", "/submissions/{aid}", None),
    ("GET", "/audit", None),
    ("PUT", "/settings", {"results_held": False}),
    ("PUT", "/settings", {"deletion_allowed": True}),
    ("PUT", "/settings", {"quota_returned": ["deleted"]}),
    ("PUT", "/settings", {"rows_per_participant": 1}),
)


def test_only_organisers_organise(client: TestClient, services: Services, make_agent: Any, headers: Any) -> None:
    aid = make_agent("bob")
    cid = set_rules(services)

    for method, path, body in ROUTES:
        url = f"/api/creator_competition/competition/{cid}{path.format(aid=aid)}"
        for name, status in {"nobody": 401, "bob": 403, "eve": 403, "tess": 403, "gpu": 403, "dora": 404}.items():
            assert client.request(method, url, json=body, headers=headers[name]).status_code == status, (name, path)
    # An organiser of another competition does not reach the submission through it either.
    body = {"name": "x", "kernel_version": "permuted_mnist"}
    other = client.post("/api/creator_competition/competition", json=body, headers=headers["dora"]).json()
    for method, path, body in ROUTES:
        if "{aid}" in path:
            url = f"/api/creator_competition/competition/{other['competition_id']}{path.format(aid=aid)}"
            assert client.request(method, url, json=body, headers=headers["dora"]).status_code == 404, path
    assert agent_of(services, aid).status == AgentStatus.UPLOAD_VALIDATED


def test_an_assistant_organises_and_a_teammate_does_not_change_what_is_not_theirs(
    client: TestClient, services: Services, make_agent: Any, headers: Any
) -> None:
    aid = make_agent("bob")
    cid = set_rules(services)
    deploy(services, aid)
    with services.database.transaction() as session:
        dora, bob, eve = (find_or_create_user(session, name).id for name in ("dora", "bob", "eve"))
        session.add(CompetitionAssistant(competition_id=cid, user_id=dora))
        team = Team(competition_id=cid, name="t")
        team.members = [TeamMember(competition_id=cid, user_id=one, role=TeamRole.MEMBER) for one in (bob, eve)]
        session.add(team)
    theirs = f"/api/direct_attache_agents/competition/{cid}/{aid}"

    assert client.get(f"/api/submissions/submission/{aid}", headers=headers["eve"]).status_code == 200
    assert client.put(f"{theirs}/cancel", headers=headers["eve"]).status_code == 404
    assert client.delete(theirs, headers=headers["eve"]).status_code == 404
    for method, path, body in ROUTES:
        url = f"/api/creator_competition/competition/{cid}{path.format(aid=aid)}"
        answer = client.request(method, url, json=body, headers=headers["dora"])
        assert answer.status_code == 200, (method, path, answer.text)


def test_pages_of_organisers_are_for_organisers(
    client: TestClient, services: Services, make_agent: Any, headers: Any
) -> None:
    aid = make_agent("bob")
    cid = set_rules(services)
    page = f"/competitions/{cid}/organise"
    visits: tuple[tuple[str, str, Any], ...] = (
        ("GET", "", None),
        ("GET", "/archive", None),
        ("GET", "/audit", None),
        ("POST", "/rules", {"results_held": "true"}),
        ("POST", "/rerun", None),
        ("POST", f"/{aid}", {"action": "delete"}),
    )

    for name, status in {"nobody": 404, "bob": 404, "dora": 404}.items():
        sign_in(client, headers[name])
        for method, below, form in visits:
            assert client.request(method, page + below, data=form).status_code == status, (name, below)
        assert "organise" not in client.get(f"/competitions/{cid}").text
    sign_in(client, headers["ada"])
    for method, below, form in visits:
        foreign = {"Origin": "https://evil.example"} if method == "POST" else {}
        answer = client.request(method, page + below, data=form, headers=foreign, follow_redirects=False)
        assert answer.status_code == (403 if foreign else 200), below
    assert client.post(page + "/rules", data={"rows_per_participant": "x"}).status_code == 400
    client.post(page + "/rules", data={"results_held": "true", "rows_per_participant": "2"})
    settings = agent_settings(services)
    assert (settings["results_held"], settings["rows_per_participant"]) == (True, 2)
    assert (settings["deletion_allowed"], settings["quota_returned"]) == (False, [])
    client.post(f"{page}/{aid}", data={"action": "baseline"})
    assert "(baseline)" in client.get(page).text
    client.post(f"{page}/{aid}", data={"action": "delete"})
    assert agent_of(services, aid).status == AgentStatus.DELETED
    assert "rows_per_participant=2" in client.get(page + "/audit").text


def sign_in(client: TestClient, header: dict[str, str]) -> None:
    client.cookies.clear()
    if header:
        client.post("/signin", data={"token": header["Authorization"].split()[1]})


def agent_settings(services: Services) -> dict[str, Any]:
    with services.database.transaction(read_only=True) as session:
        return session.query(Competition).one().settings


def test_a_submission_is_run_again_in_every_state(services: Services, make_agent: Any) -> None:
    fresh, waiting, running, active, gone = (make_agent("bob") for _ in range(5))
    cid = set_rules(services)
    grade(services, {active: 0.5})
    deploy(services, running)
    held = take(services)
    assert held is not None
    open_id = deploy(services, waiting)
    with services.database.transaction() as session:
        service.delete(session, session.get_one(Agent, gone), None, is_organiser=True)
    with services.database.transaction(read_only=True) as session:
        used = service.quota(session, session.get_one(Competition, cid), agent_of(services, active).user_id, 18)

    assert organisers.rerun(services, cid, waiting, None).deploy_id == open_id  # it has not begun
    done = {aid: organisers.rerun(services, cid, aid, None) for aid in (fresh, running, active)}

    assert done[active].dropped == 2
    assert done[running].deploy_id != held.deploy_id
    with services.database.transaction(read_only=True) as session:
        assert session.get_one(Deploy, held.deploy_id).status == DeployStatus.CANCELLED
        # What a participant has deployed keeps its place before what organisers have ordered.
        assert [session.get_one(Deploy, done[aid].deploy_id).is_rerun for aid in done] == [True, False, True]
        competition = session.get_one(Competition, cid)
        assert service.quota(session, competition, agent_of(services, active).user_id, 18) == used | {"active": 4}
    with pytest.raises(Exception, match="no such submission"):
        organisers.rerun(services, cid, gone, None)
    play(services, dict.fromkeys((fresh, waiting, running, active), 0.6))
    assert {agent_of(services, aid).mean_reward for aid in (fresh, waiting, running, active)} == {0.6}


def test_what_makes_no_agent_is_refused_and_does_not_keep_the_others(services: Services, make_agent: Any) -> None:
    good, broken, draft = make_agent("bob"), make_agent("eve"), make_agent("eve")
    cid = set_rules(services)
    grade(services, {good: 0.5})
    with services.database.transaction() as session:
        session.get_one(Agent, broken).files_ok = False

    with pytest.raises(RefusedError, match="never evaluated"):
        organisers.rerun(services, cid, broken, None)
    found = organisers.rerun_all(services, cid, None)

    assert ([one.agent.id for one in found.done], found.refused) == ([good], {})
    assert agent_of(services, draft).status == AgentStatus.UPLOAD_VALIDATED


def test_a_newcomer_is_served_before_all_that_is_run_again(services: Services, make_agent: Any) -> None:
    graded = [make_agent(name) for name in ("ada", "bob", "eve")]
    cid = set_rules(services)
    grade(services, dict.fromkeys(graded, 0.5))
    organisers.rerun_all(services, cid, None)
    first = deploy(services, make_agent("newcomer"))

    held = take(services)

    assert held is not None
    assert held.deploy_id == first


def used(services: Services, cid: int, user: str = "bob") -> int:
    with services.database.transaction() as session:
        uid = find_or_create_user(session, user).id
        found = service.quota(session, session.get_one(Competition, cid), uid, services.settings.daily_deploys)
        return int(found["daily_deploys_used"])


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


def test_what_an_organiser_ordered_its_owner_does_not_cancel(services: Services, make_agent: Any) -> None:
    aid = make_agent("bob")
    cid = set_rules(services)
    grade(services, {aid: 0.5})
    with pytest.raises(RefusedError, match="nothing"), services.database.transaction() as session:
        service.cancel(session, session.get_one(Agent, aid), None)
    organisers.rerun(services, cid, aid, None)

    with pytest.raises(RefusedError, match="only an organiser"), services.database.transaction() as session:
        service.cancel(session, session.get_one(Agent, aid), agent_of(services, aid).user_id)

    organisers.cancel(services, cid, aid, None)
    assert take(services) is None


def test_an_earlier_score_counts_again_after_a_cancellation(services: Services, make_agent: Any) -> None:
    aid = make_agent("bob")
    set_rules(services)
    grade(services, {aid: 0.5})
    deploy(services, aid)

    with services.database.transaction() as session:
        agent = session.get_one(Agent, aid)
        service.cancel(session, agent, agent.user_id)
        assert [row["MeanReward"] for row in board(session, agent.competition)] == [0.5]


def test_nobody_cancels_for_somebody_else(
    client: TestClient, services: Services, make_agent: Any, headers: Any
) -> None:
    aid = make_agent("bob")
    cid = set_rules(services)
    deploy(services, aid)
    path = f"/api/direct_attache_agents/competition/{cid}/{aid}/cancel"

    found = {name: client.put(path, headers=headers[name]).status_code for name in headers}

    assert found == {"nobody": 401, "eve": 404, "ada": 403, "dora": 403, "tess": 403, "gpu": 403, "bob": 200}


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


def test_all_submissions_come_in_one_archive(
    client: TestClient, services: Services, make_agent: Any, headers: Any
) -> None:
    graded, draft = make_agent("bob"), make_agent("eve")
    cid = set_rules(services)
    grade(services, {graded: 0.5})
    digest = services.blobs.put(b"changed since")
    with services.database.transaction() as session:
        agent = session.get_one(Agent, graded)
        service.keep_file(session, agent, "models/note.txt", digest, 13, services.sources)

    answer = client.get(f"/api/creator_competition/competition/{cid}/submissions/archive", headers=headers["ada"])

    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["submissions.csv", f"{draft}/agent.py", f"{graded}/agent.py"]
        assert b"class Agent" in archive.read(f"{graded}/agent.py")
        table = list(csv.DictReader(io.StringIO(archive.read("submissions.csv").decode())))
    assert [(row["id"], row["user"], row["score"]) for row in table] == [
        (str(draft), "eve", ""),
        (str(graded), "bob", "0.5"),
    ]


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


def test_a_baseline_is_a_yardstick(services: Services, make_agent: Any) -> None:
    mine, theirs = make_agent("bob"), make_agent("eve")
    cid = set_rules(services, rows_per_participant=1)
    grade(services, {mine: 0.9, theirs: 0.5})

    organisers.mark_baseline(services, cid, mine, True, None)

    with services.database.transaction() as session:
        found = board(session, session.get_one(Competition, cid))
        assert [(row["agentAttachId"], row["IsBenchmark"]) for row in found] == [(mine, True), (theirs, False)]
        assert queue_finalist(session, services)
        (final,) = session.query(Deploy).filter(Deploy.is_final).all()
        assert final.agent_id == theirs
    organisers.mark_baseline(services, cid, mine, False, None)
    assert not agent_of(services, mine).is_baseline


def metric(key: str, source: str, agg: str, order: str | None, **more: Any) -> dict[str, Any]:
    shown = {"label": key, "format": "number", "unit": None, "precision": 2, "is_ranking": False, "visible": True}
    return {"key": key, "source": source, "agg": agg, "order": order, **shown, **more}


METRICS = [
    metric("error", "score", "mean", "asc", is_ranking=True),
    metric("worst", "score", "max", "asc"),
    metric("action_time_max", "platform", "max", "asc"),
    metric("n_episodes", "platform", "sum", None),
]


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


def test_the_audit_log_is_read_page_by_page_and_of_one_competition(
    client: TestClient, services: Services, make_agent: Any, headers: Any
) -> None:
    aid = make_agent("bob")
    cid = set_rules(services)
    deploy(services, aid)
    body = {"name": "other", "kernel_version": "permuted_mnist"}
    client.post("/api/creator_competition/competition", json=body, headers=headers["ada"])
    path = f"/api/creator_competition/competition/{cid}/audit"

    entries = client.get(path, headers=headers["ada"]).json()["entries"]

    actions = [(one["user"], one["action"]) for one in entries]
    assert actions == [("bob", "agent.deploy"), ("bob", "agent.create"), ("ada", "competition.create")]
    older = client.get(path, params={"before": entries[0]["id"], "limit": 1}, headers=headers["ada"]).json()["entries"]
    assert older == entries[1:2]
    of_bob = client.get(path, params={"user": "bob", "action": "agent.c"}, headers=headers["ada"]).json()["entries"]
    assert of_bob == entries[1:2]
    with services.database.transaction(read_only=True) as session:
        everything = [one["action"] for one in audit.read(session, audit.Filter())]
    assert "token.create" in everything
    assert everything.count("competition.create") == 2
