"""What organisers may do with submissions, and what nobody else may."""

import csv
import io
import zipfile
from typing import Any

import pytest
from fastapi.testclient import TestClient
from organised import EVERYBODY, agent_of, deploy, grade, play, set_rules, sign_in, take

from ml_trainer_env.arena import audit
from ml_trainer_env.arena.errors import RefusedError
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
    Team,
    TeamMember,
    TeamRole,
)
from ml_trainer_env.arena.tokens.service import find_or_create_user
from ml_trainer_env.arena.workers.finals import queue_finalist

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

PEOPLE = EVERYBODY


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
