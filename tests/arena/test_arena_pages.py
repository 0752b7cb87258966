"""Pages: what anybody sees, what only an owner sees, and what no other site can do."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ml_trainer_env.arena.client import connect

AGENT = """class Agent:
    def train(self, X, y):
        print("<script>alert(1)</script>")
        raise ValueError("<b>its own words</b>")

    def predict(self, X):
        return [0] * len(X)
"""


@pytest.fixture(scope="module")
def failed(arena: Any) -> Iterator[tuple[int, int, str]]:
    """A submission that failed: its competition, its number, and its owner's token."""
    token = arena.token("paula")
    with connect(token, arena.url) as client:
        cid = min(int(row["id"]) for row in client.competitions().to_dict("records"))
        aid = client.create_attached_agent(cid, "<i>slanted</i>".replace("<i>", "").replace("</i>", ""))
        number = int(aid["attache_agent_id"])
        client.update_agent_file_content(cid, number, "agent.py", AGENT)
        client.deploy_agent(cid, number)
        while client.agent_status(cid, number)["status"] not in {"deploy_failed", "active"}:
            time.sleep(0.2)
        yield cid, number, token


@pytest.fixture
def visitor(arena: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=arena.url) as client:
        yield client


def sign_in(visitor: httpx.Client, token: str) -> httpx.Response:
    return visitor.post("/signin", data={"token": token})


def test_nobody_but_its_owner_sees_a_submission(visitor: httpx.Client, failed: Any, arena: Any) -> None:
    cid, aid, token = failed
    paths = (f"/submissions/{aid}", f"/submissions/{aid}/progress")

    assert [visitor.get(path).status_code for path in paths] == [404, 404]
    sign_in(visitor, arena.token("stranger"))
    assert [visitor.get(path).status_code for path in paths] == [404, 404]
    assert sign_in(visitor, token).status_code == 303
    assert [visitor.get(path).status_code for path in paths] == [200, 200]
    assert f'href="/submissions/{aid}"' in visitor.get(f"/competitions/{cid}").text


def test_an_owner_reads_what_went_wrong_and_nothing_of_it_is_markup(visitor: httpx.Client, failed: Any) -> None:
    _, aid, token = failed
    sign_in(visitor, token)

    page = visitor.get(f"/submissions/{aid}").text

    assert "deploy_failed" in page
    assert "ValueError: &lt;b&gt;its own words&lt;/b&gt;" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page


def test_a_log_is_text_to_every_browser(failed: Any, arena: Any) -> None:
    _, aid, token = failed
    with connect(token, arena.url) as client:
        url = client.agent_games(aid)["games"][0]["signed_url"]

    answer = httpx.get(url)

    assert "<script>alert(1)</script>" in answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert httpx.get(url.replace("signature=", "signature=0")).status_code == 404
    assert httpx.get(url.replace("expires=", "expires=9")).status_code == 404


def test_competitions_and_their_board_are_for_everybody(visitor: httpx.Client, failed: Any) -> None:
    home = visitor.get("/").text
    page = visitor.get(f"/competitions/{failed[0]}")

    assert "Permuted MNIST" in home
    assert 'scope="col">Rank' in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert visitor.get("/?q=nothing%20like%20that").text.count("<article>") == 0


def test_a_wrong_token_signs_nobody_in(visitor: httpx.Client) -> None:
    answer = sign_in(visitor, "mlk_user_00000000_00000000000000000000000000000000")

    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_the_cookie_holds_no_secret_and_cannot_be_forged(visitor: httpx.Client, failed: Any, arena: Any) -> None:
    _, aid, token = failed
    cookie = sign_in(visitor, token).headers["set-cookie"]

    assert token.split("_", 3)[3] not in cookie
    assert all(word in cookie.lower() for word in ("httponly", "samesite=strict"))
    value = visitor.cookies["arena_session"]
    for forged in (f"{value}0", value.replace(".", ".9", 1), f"ffffffff.{value.partition('.')[2]}", "..", ""):
        assert httpx.get(f"{arena.url}/submissions/{aid}", cookies={"arena_session": forged}).status_code == 404


def test_a_revoked_token_signs_out(visitor: httpx.Client, arena: Any) -> None:
    token = arena.token("paula")
    sign_in(visitor, token)
    assert "paula" in visitor.get("/").text

    arena.revoke(token)

    assert "paula" not in visitor.get("/").text


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
@pytest.mark.parametrize("path", ["/signin", "/signout"])
def test_forms_of_other_sites_are_refused(visitor: httpx.Client, path: str, headers: dict[str, str]) -> None:
    assert visitor.post(path, data={"token": "x"}, headers=headers).status_code == 403


def test_signing_out_ends_it(visitor: httpx.Client, failed: Any) -> None:
    sign_in(visitor, failed[2])
    visitor.post("/signout")

    assert visitor.get(f"/submissions/{failed[1]}").status_code == 404


@pytest.mark.parametrize("path", ["/nothing", "/docs", "/competitions/999999", "/static/../app.py", "/competitions/x"])
def test_what_is_not_there_is_a_page_that_says_so(visitor: httpx.Client, path: str) -> None:
    answer = visitor.get(path)

    assert answer.status_code in {404, 422}
    assert "<h1>" in answer.text


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", ""])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/creator_competition/competition"),
        ("PUT", "/api/creator_competition/competition/files"),
        ("POST", "/api/academic_courses/enroll/file"),
        ("PUT", "/api/direct_attache_agents/agent_runtime/file"),
        ("POST", "/signin"),
    ],
)
def test_a_body_that_is_no_file_is_bounded(visitor: httpx.Client, method: str, path: str, kind: str) -> None:
    body = (b"x" * 2**18 for _ in range(5))

    answer = visitor.request(method, path, content=body, headers={"content-type": kind})

    assert answer.status_code == 413
    assert "1,048,576 bytes at the most" in answer.text


@pytest.mark.parametrize("path", ["1/1/file", "1/env/files", "1/benchmark/files", "1/image"])
def test_a_file_of_an_unknown_sender_is_not_held(visitor: httpx.Client, arena: Any, path: str) -> None:
    area = "direct_attache_agents" if path.endswith("/file") else "creator_competition"
    before = most_memory_mb(arena.process.pid)

    with contextlib.suppress(httpx.WriteError):
        answer = visitor.put(f"/api/{area}/competition/{path}", content=(b"x" * 2**20 for _ in range(400)))
        assert answer.status_code in {401, 404}

    assert most_memory_mb(arena.process.pid) < before + 100


def most_memory_mb(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
