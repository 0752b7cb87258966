"""Somebody with things of every kind, and callers of every kind who may neither see nor change them."""

import secrets
from dataclasses import dataclass
from typing import Any

import httpx
from arena_service import Arena

from ml_trainer_env.arena.client import connect

__all__ = ["Victim", "callers", "make_victim"]

AGENT = "class Agent:\n    def train(self, X, y): pass\n    def predict(self, X): return [0] * len(X)\n"


@dataclass(frozen=True)
class Victim:
    """Somebody whose things nobody else may see or change.

    Attributes:
        words: Random words in these things, which are found wherever they appear.
        numbers: Numbers and names of these things, by the names of parameters and fields.
        cid: The public competition that the submission is for; `numbers` has the hidden one.
        http: Connections of the victim by scope.
    """

    words: tuple[str, ...]
    numbers: dict[str, Any]
    cid: int
    http: dict[str, httpx.Client]

    def address(self, path: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Get the parameters of a path with which it names the victim's things."""
        known = {name: self.numbers.get(name, value) for name, value in parameters.items()}
        if "cid" in known and not path.startswith("/api/creator_"):
            known["cid"] = self.cid
        return known

    def references(self, body: dict[str, Any]) -> dict[str, Any]:
        """Get a JSON body whose fields name the victim's things."""
        return body | {name: self.numbers[name] for name in (*_COPIED, *body) if name in self.numbers}

    def state(self) -> list[Any]:
        """Get all that somebody else might have changed."""
        one = self.numbers
        paths = (
            ("user", f"/api/submissions/submission/{one['sid']}"),
            ("user", f"/api/direct_attache_agents/competition/{self.cid}/{one['aid']}/file"),
            ("user", f"/api/teams/challenge/{self.cid}/team"),
            ("user", "/api/profile/"),
            ("creator", f"/api/creator_challenge/challenge/{one['cid']}"),
            ("creator", f"/api/creator_challenge/challenge/{one['cid']}/assistants"),
            ("teacher", f"/api/academic_courses/{one['slug']}"),
            ("teacher", f"/api/teacher/lessons/{one['lesson_id']}"),
            ("teacher", f"/api/teacher/course/{one['course_id']}/assistants"),
        )
        return [_json(self.http[scope].get(path)) for scope, path in paths]


_COPIED = ("copy_from_agent_id", "copy_from_submission_id", "copy_from_competition_id", "copy_from_challenge_id")


def make_victim(arena: Arena) -> Victim:
    """Make a user with a submission, a team, a hidden competition with a dataset, and a private course."""
    http = {scope: _http(arena, "victim", scope) for scope in ("user", "creator", "teacher")}
    agent, source, competition, data, course, module, lesson = words = tuple(
        f"secret{secrets.token_hex(8)}" for _ in range(7)
    )
    with connect(arena.token("victim"), arena.url) as client:
        cid = min(int(row["id"]) for row in client.competitions().to_dict("records"))
        aid = client.create_attached_agent(cid, agent)["attache_agent_id"]
        client.update_agent_file_content(cid, aid, "agent.py", f"# {source}\n{AGENT}")
    team = _json(http["user"].post(f"/api/teams/challenge/{cid}/team", json={"name": "theirs"}))
    new = {"name": competition, "kernel_version": "permuted_mnist", "is_public": False}
    hidden = _json(http["creator"].post("/api/creator_challenge/challenge", json=new))["challenge_id"]
    path = f"/api/creator_challenge/challenge/{hidden}/datasets"
    dataset = _json(http["creator"].post(path, json={"label": data}))["id"]
    upload = http["creator"].post(f"{path}/{dataset}/files", files={"file": ("data.csv", b"1,2\n")})
    teacher = http["teacher"]
    taught = _json(teacher.post("/api/academic_courses/", json={"name": course, "slug": "theirs"}))["id"]
    part = _json(teacher.post("/api/teacher/modules", json={"title": module, "slug": "theirs"}))["id"]
    _json(teacher.post(f"/api/teacher/course/{taught}/modules", json={"module_id": part}))
    page = {"title": lesson, "slug": "theirs", "body_md": lesson, "gated": True}
    text = _json(teacher.post(f"/api/teacher/modules/{part}/lessons", json=page))["id"]
    numbers = {
        **dict.fromkeys(("aid", "sid", "copy_from_agent_id", "copy_from_submission_id"), aid),
        **dict.fromkeys(("cid", "challenge_id", "competition_id"), hidden),
        **dict.fromkeys(("copy_from_competition_id", "copy_from_challenge_id"), hidden),
        **dict.fromkeys(("slug", "module_slug", "lesson_slug"), "theirs"),
        "dataset_id": dataset,
        "file_id": _json(upload)["id"],
        "course_id": taught,
        "module_id": part,
        "lesson_id": text,
        "parent_lesson_id": text,
        "team_id": team["id"],
        "member_id": team["members"][0]["id"],
        "user_id": _json(http["user"].get("/api/auth/current_user"))["id"],
        "filename": "agent.py",
    }
    return Victim(words, numbers, cid, http)


def callers(arena: Arena) -> dict[str, str]:
    """Make a token of each kind of caller; an empty one for nobody."""
    revoked = arena.token("fuzzer-revoked")
    arena.revoke(revoked)
    scopes = {scope: arena.token(f"fuzzer-{scope}", scope) for scope in ("user", "creator", "teacher", "worker")}
    assistant = arena.token("fuzzer-assistant", "creator")
    with _http(arena, "bystander", "creator") as bystander:
        new = {"name": "of a bystander", "kernel_version": "permuted_mnist", "is_public": False}
        cid = _json(bystander.post("/api/creator_challenge/challenge", json=new))["challenge_id"]
        path = f"/api/creator_challenge/challenge/{cid}/assistants"
        _json(bystander.post(path, json={"username": "fuzzer-assistant"}))
    return {
        "nobody": "",
        "wrong": "mlk_user_00000000_00",
        "revoked": revoked,
        "expired": arena.token("fuzzer-expired", "user", days=0),
        **scopes,
        "assistant of somebody else": assistant,
    }


def _http(arena: Arena, user: str, scope: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {arena.token(user, scope)}"}
    return httpx.Client(base_url=arena.url, headers=headers, trust_env=False, timeout=60.0)


def _json(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()
