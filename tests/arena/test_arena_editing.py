"""A submission is changed on its page, and its earlier evaluations are in the chart. In less-is-better boards, too."""

from typing import Any

from fastapi.testclient import TestClient

from ml_trainer_env.arena.leaderboard.history import earlier_scores
from ml_trainer_env.arena.leaderboard.service import Entry
from ml_trainer_env.arena.pages.charts import Earlier, charts_of
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.submissions.repository import agent_files
from ml_trainer_env.arena.tables import Agent, AgentStatus, Deploy, DeployStatus, Run, RunKind, RunStatus, Scope
from ml_trainer_env.arena.tokens.service import create_token

OTHER = b"import helper\n\nclass Agent:\n    def train(self, X, y): pass\n    def predict(self, X): return X\n"


def sign_in(client: TestClient, services: Services, user: str, scope: Scope = Scope.USER) -> None:
    with services.database.transaction() as session:
        token = create_token(session, user, scope)
    client.post("/signin", data={"token": token})


def state(services: Services, aid: int) -> tuple[str, list[str]]:
    with services.database.transaction(read_only=True) as session:
        return session.get_one(Agent, aid).status, [file.name for file in agent_files(session, aid)]


def upload(client: TestClient, aid: int, names: dict[str, bytes], **fields: str) -> int:
    files = [("files", (name, content)) for name, content in names.items()]
    return client.post(f"/submissions/{aid}/files", files=files, data=fields, follow_redirects=False).status_code


def test_an_owner_replaces_files_and_deploys_cancels_and_deletes(
    client: TestClient, services: Services, make_agent: Any
) -> None:
    aid = make_agent("bob")
    sign_in(client, services, "bob")

    assert upload(client, aid, {"agent.py": OTHER, "helper.py": b""}, deploy="true") == 303
    assert state(services, aid) == (AgentStatus.DEPLOY_QUEUE, ["agent.py", "helper.py"])
    assert upload(client, aid, {"agent.py": b"class Agent: pass"}, only="true", deploy="true") == 400
    assert state(services, aid) == (AgentStatus.DEPLOY_QUEUE, ["agent.py", "helper.py"])  # nothing of it is kept
    assert upload(client, aid, {"../agent.py": b""}) == 400
    assert client.post(f"/submissions/{aid}", data={"action": "cancel"}).status_code == 200
    assert client.post(f"/submissions/{aid}", data={"action": "sell"}).status_code == 400
    assert upload(client, aid, {"agent.py": OTHER.replace(b"import helper", b"")}, only="true") == 303
    assert state(services, aid) == (AgentStatus.UPLOAD_VALIDATED, ["agent.py"])
    page = client.get(f"/submissions/{aid}").text
    assert "agent.py" in page
    assert "helper.py" not in page
    client.post(f"/submissions/{aid}", data={"action": "delete"})
    assert state(services, aid)[0] == AgentStatus.DELETED


def test_nobody_else_changes_a_submission_on_its_page(client: TestClient, services: Services, make_agent: Any) -> None:
    aid = make_agent("bob")
    foreign = {"Origin": "https://evil.example"}

    def codes() -> list[int]:
        actions = [client.post(f"/submissions/{aid}", data={"action": one}) for one in ("deploy", "cancel", "delete")]
        return [*(answer.status_code for answer in actions), upload(client, aid, {"agent.py": OTHER})]

    assert codes() == [404] * 4
    for name, scope in (("eve", Scope.USER), ("ada", Scope.CREATOR), ("tess", Scope.TEACHER)):
        sign_in(client, services, name, scope)
        assert codes() == [404] * 4
    sign_in(client, services, "bob", Scope.CREATOR)
    assert codes() == [403] * 4
    sign_in(client, services, "bob")
    assert client.post(f"/submissions/{aid}", data={"action": "delete"}, headers=foreign).status_code == 403
    assert state(services, aid) == (AgentStatus.UPLOAD_VALIDATED, ["agent.py"])


def test_what_was_graded_before_is_known_unless_an_organiser_has_dropped_it(
    services: Services, make_agent: Any
) -> None:
    aid = make_agent("bob")

    def graded(at: float, reward: float, is_rerun: bool = False) -> int:
        run = Run(number=0, kind=RunKind.SCORE, seed=1, status=RunStatus.COMPLETED, reward=reward)
        deploy = Deploy(agent_id=aid, files={}, status=DeployStatus.SUCCEEDED, finished_at=at, is_rerun=is_rerun)
        deploy.runs = [run]
        session.add(deploy)
        session.flush()
        return deploy.id

    with services.database.transaction() as session:
        graded(1.0, 0.1)
        graded(2.0, 0.2)
        session.get_one(Agent, aid).scored_deploy_id = graded(3.0, 0.3)
        session.flush()
        assert [(one.at, one.mean) for one in earlier_scores(session, [aid], 10)] == [(2.0, 0.2), (1.0, 0.1)]
        assert earlier_scores(session, [], 10) == []
        session.get_one(Agent, aid).scored_deploy_id = graded(4.0, 0.4, is_rerun=True)
        session.flush()
        assert earlier_scores(session, [aid], 10) == []
        agent = session.get_one(Agent, aid)
        assert service.rerun(session, agent, services, None).is_rerun


def entry(number: int, mean: float, at: float) -> Entry:
    return Entry(number, "a", number, "u", False, False, (mean,), mean, None, 0.0, at, number, 1.0, 1)


def test_the_line_of_the_best_goes_down_where_less_is_better() -> None:
    entries = [entry(1, 0.5, 10.0), entry(2, 0.7, 20.0)]
    earlier = [Earlier(entries[0], 5.0, 0.9), Earlier(entries[1], 15.0, 0.3)]

    def heights(lower_is_better: bool) -> list[float]:
        chart = charts_of(entries, earlier, lower_is_better=lower_is_better)[0]
        assert [dot.kind for dot in chart.dots] == ["earlier", "agent", "earlier", "agent"]
        return [float(point.split(",")[1]) for point in chart.line.split()]

    falling, rising = heights(lower_is_better=True), heights(lower_is_better=False)
    assert falling == sorted(falling)  # the vertical axis of a picture points down
    assert len(set(falling)) == 3  # 0.9, 0.5, 0.3
    assert len(set(rising)) == 1  # 0.9 is the best from the beginning
    assert "earlier" not in {dot.kind for dot in charts_of(entries, earlier)[1].dots}
