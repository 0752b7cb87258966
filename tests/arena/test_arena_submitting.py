"""Pages on which people submit, compare scores and find each other. A service in this process, and no browser."""

import io
import re
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from ml_trainer_env.arena.app import create_app
from ml_trainer_env.arena.client.competitions import BOARD_COLUMNS
from ml_trainer_env.arena.client.tables import as_table
from ml_trainer_env.arena.competitions.schemas import NewCompetition
from ml_trainer_env.arena.competitions.service import create
from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.leaderboard.service import Entry, board
from ml_trainer_env.arena.pages.charts import HEIGHT, WIDTH, charts_of
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.settings import Settings
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.tables import (
    Agent,
    AgentFile,
    AgentStatus,
    Competition,
    Deploy,
    Run,
    RunKind,
    RunStatus,
    Scope,
)
from ml_trainer_env.arena.tokens.service import create_token, find_or_create_user

AGENT = b"class Agent:\n    def train(self, X, y): pass\n    def predict(self, X): return [0] * len(X)\n"
PATH = "/competitions/1/submit"


@dataclass
class Site:
    """A service in this process, with a competition in which Ada has an agent with a hostile name."""

    services: Services
    browser: TestClient

    def sign_in(self, user: str, scope: Scope = Scope.USER) -> TestClient:
        """Sign a user in, who is new if the name is."""
        with self.services.database.transaction() as session:
            token = create_token(session, user, scope)
        self.browser.cookies.clear()
        self.browser.post("/signin", data={"token": token})
        return self.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    variables = {"ARENA_DATA_DIR": str(tmp_path_factory.mktemp("site") / "data")}
    services = Services.open(Settings.from_environment(variables))
    with services.database.transaction() as session:
        ada = find_or_create_user(session, "ada")
        competition = create(session, ada.id, NewCompetition(name="x", kernel_version=Kernel.PERMUTED_MNIST))
        competition.is_started = True
        agent = service.attach(session, ada.id, competition.id, "agent", None, services.sources)
        agent.name = "<b>bold</b>"
        graded(agent, 0.7)
        ada.profile = {
            "bio": "<script>alert(1)</script>",
            "github_page": "javascript:alert(1)",
            "personal_website": "https://example.org/?a=1&b=2",
            "student_email": "secret@example.org",
        }
    with TestClient(create_app(services), follow_redirects=False) as browser:
        yield Site(services, browser)


def graded(agent: Agent, mean: float) -> None:
    agent.status, agent.mean_reward, agent.rewards, agent.scored_at = AgentStatus.ACTIVE, mean, [mean], time.time()
    agent.max_run_s, agent.max_ram_bytes = 1.5, 2**28


def packed(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


def everything(services: Services) -> list[Any]:
    with services.database.transaction(read_only=True) as session:
        return [*session.execute(sa.select(Agent.id, Agent.status)), *session.scalars(sa.select(Deploy.id))]


def test_files_a_folder_or_an_archive_become_a_submission_that_waits(site: Site) -> None:
    client, services = site.sign_in("bob"), site.services
    empty = ("files", ("", b""))
    uploads = {
        "files": [("files", ("agent.py", AGENT)), ("files", ("model.pt", b"x")), empty],
        "folder": [empty, *(("files", (f"mine/{name}", AGENT)) for name in ("agent.py", "models/net.py", ".git/x"))],
        "archive": [("files", ("mine.zip", packed(agent__py=AGENT))), empty],
    }
    kept = {}
    for name, files in uploads.items():
        answer = client.post(PATH, data={"name": name, "runtime": ""}, files=files)
        assert answer.status_code == 303, answer.text
        aid = int(re.fullmatch(r"/submissions/(\d+)", answer.headers["location"])[1])
        assert "deploy_queue" in client.get(answer.headers["location"]).text
        with services.database.transaction(read_only=True) as session:
            assert session.get_one(Agent, aid).name == name
            kept[name] = set(session.scalars(sa.select(AgentFile.name).where(AgentFile.agent_id == aid)))

    assert kept == {
        "files": {"agent.py", "model.pt"},
        "folder": {"agent.py", "models/net.py"},
        "archive": {"agent.py"},
    }
    assert "deployed 3 of 20 times in 24 hours, and 3 of 5 submissions" in client.get(PATH).text
    mine = client.get("/submissions").text
    assert all(f">{name} " in mine for name in uploads)
    assert "3 of 20" in mine


def test_a_refused_upload_makes_nothing_and_says_why(site: Site) -> None:
    client, services = site.sign_in("carl"), site.services
    before = everything(services)
    agent = ("files", ("agent.py", AGENT))
    for data, files, words in (
        ({}, [("files", ("", b""))], "choose files"),
        ({}, [agent, ("files", ("AGENT.py", AGENT))], "same file on some systems"),
        ({}, [agent, ("files", ("mine.zip", packed(agent__py=AGENT)))], "two files would be called agent.py"),
        ({}, [("files", ("../agent.py", AGENT))], "file&#39;s name"),
        ({}, [("files", ("mine.zip", b"nothing"))], "no zip file"),
        ({}, [("files", ("model.pt", b"x"))], "there is no agent.py"),
        ({"name": "<i>"}, [agent], "submission&#39;s name"),
        ({"runtime": "9" * 30}, [agent], "there is no runtime"),
        ({}, [agent] * 30, "Too many files"),
    ):
        answer = client.post(PATH, data=data, files=files)

        assert answer.status_code == 400, (words, answer.text)
        assert words in answer.text
        assert 'role="alert"' in answer.text
    assert everything(services) == before


def test_nobody_else_submits(site: Site) -> None:
    client, services = site.sign_in("dora"), site.services
    before = everything(services)
    files = {"files": ("agent.py", AGENT)}

    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.post(PATH, files=files, headers=headers).status_code == 403
    assert client.post("/competitions/99/submit", files=files).status_code == 404
    with services.database.transaction() as session:
        session.get_one(Competition, 1).is_public = False
    assert client.post(PATH, files=files).status_code == 404
    assert [client.get(f"/competitions/1/{tab}").status_code for tab in ("rules", "scores", "submit")] == [404] * 3
    assert "<b>bold" not in client.get("/users/ada").text
    with services.database.transaction() as session:
        session.get_one(Competition, 1).is_public = True
    site.sign_in("dora", Scope.CREATOR)
    assert client.post(PATH, files=files).status_code == 403
    assert "scope user" in client.get(PATH).text
    client.cookies.clear()
    assert client.post(PATH, files=files).status_code == 401
    assert client.get("/submissions").status_code == 401
    assert "Sign in to submit" in client.get(PATH).text
    assert everything(services) == before


def test_what_others_wrote_is_text_on_every_page(site: Site) -> None:
    client = site.sign_in("emil")
    user = client.get("/users/ada").text

    for path in ("/users/ada", "/competitions/1", "/competitions/1/scores", "/competitions/1/rules", PATH, "/runtimes"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "<b>bold" not in answer.text
        assert "<script>alert" not in answer.text
        assert " style=" not in answer.text
        assert 'aria-current="page"' in answer.text or not path.startswith("/competitions")
    assert "&lt;b&gt;bold" in client.get("/competitions/1/scores").text
    assert "javascript:" not in user
    assert 'href="https://example.org/?a=1&amp;b=2"' in user
    assert "secret@" not in user
    assert '<td class="right">1</td><td class="right">0.7000</td>' in user
    assert client.get("/users/nobody").status_code == 404


def test_withheld_finals_say_so(site: Site) -> None:
    client, services = site.sign_in("fran"), site.services
    with services.database.transaction() as session:
        agent = Agent(competition_id=1, user_id=find_or_create_user(session, "fran").id, name="final")
        session.add(agent)
        session.flush()
        done = {"seed": 1, "status": RunStatus.COMPLETED, "reward": 0.123456, "wall_s": 7.7, "finished_at": 1.0}
        runs = [Run(number=0, kind=RunKind.SCORE, **done), Run(number=1, kind=RunKind.FINAL, **done)]
        session.add(Deploy(agent_id=agent.id, files={}, runs=runs))
        path = f"/submissions/{agent.id}"

    text = client.get(path).text

    rows = {kind: next(one for one in text.splitlines() if f"<td>{kind}</td>" in one) for kind in ("score", "final")}
    assert "0.1235" in rows["score"]
    assert "7.7 s" in rows["score"]
    assert rows["final"].count("withheld") == 3
    assert "None" not in text
    assert "so that their tasks stay unknown" in text


def test_a_board_has_its_columns_before_anything_is_graded(site: Site) -> None:
    with site.services.database.transaction(read_only=True) as session:
        rows = board(session, session.get_one(Competition, 1))

    assert list(as_table([], BOARD_COLUMNS).columns) == list(as_table(rows, BOARD_COLUMNS).columns) == list(rows[0])


def entry(number: int, mean: float, scored_at: float | None = 0.0, ram: int | None = 2**20) -> Entry:
    return Entry(number, "x", 1, "ada", False, False, (mean,), mean, None, 0.0, scored_at, number, 1.0, ram)


def test_charts_have_every_agent_inside_and_the_best_so_far_as_a_line() -> None:
    time_chart, run_chart, memory_chart = charts_of([entry(1, 0.9, 30.0), entry(2, 0.5, 10.0), entry(3, 0.4, 20.0)])

    for chart in (time_chart, run_chart, memory_chart):
        assert len(chart.dots) == 3
        assert all(0 < dot.x < WIDTH and 0 < dot.y < HEIGHT for dot in chart.dots)
    first, _, best = time_chart.dots
    assert time_chart.line.startswith(f"{first.x},{first.y} {best.x},{first.y} {best.x},{best.y} ")
    assert run_chart.line == ""
    assert charts_of([]) == []
    assert [chart.title for chart in charts_of([entry(1, 0.5, None, None)])] == ["Score against time"]
