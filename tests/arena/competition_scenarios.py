"""What people do with mlarena-sdk 0.2.0, 0.3.0 and 1.0.0, method by method. A script that runs with the official SDK in
an environment of its own, and needs only scenarios.py and outcomes.py beside it.

    python competition_scenarios.py URL     (tokens come as JSON on standard input)

It prints JSON: for each method of the installed version whether it was served or refused in words. 1.0.0 has new names
for fourteen methods, and keeps the old ones, which call the new ones.
"""

import inspect
import json
import sys
import tempfile
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import mlarena
from mlarena.client import MLArenaClient
from outcomes import OUTCOMES, noting
from scenarios import (
    AGENT,
    PICTURE,
    a_class,
    benchmarked,
    courses,
    creator,
    files,
    participant,
    raises,
    rows,
    status_of,
)

HAS_CONTENT = hasattr(MLArenaClient, "create_lesson")
"""From 0.3.0 on: courses have lessons, and competitions datasets."""

HAS_CHALLENGES = hasattr(MLArenaClient, "create_challenge")
"""From 1.0.0 on: competitions are called challenges, and users have a rank."""


class Recorded(MLArenaClient):
    """A client that notes which methods were called, by others of its methods too, and whether any call was served."""

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name.startswith("_") or not inspect.ismethod(found):
            return found
        return noting(name, found)


def connect(token, base_url):
    client = mlarena.connect(token, base_url=base_url)
    client.__class__ = Recorded
    return client


def author(carl, dora, ada, folder):
    """A competition with a template and data, from its creation to its stop. Returns its id, and it has started."""
    cid = carl.create_competition("Course work", "permuted_mnist", description="Learn.")["competition_id"]
    (listed,) = [row for row in carl.creator_competitions() if row["id"] == cid]
    assert (listed["role"], listed["is_started"], listed["is_public"]) == ("owner", False, True)
    assert listed["simulation_version"] == "permuted_mnist"
    assert cid not in {row["id"] for row in dora.creator_competitions()}
    carl.update_settings(cid, evaluation_deployment_nb_initial_score_run=2)

    data = carl.create_dataset(cid, "numbers")["id"]
    assert carl.update_dataset(cid, data, label="digits")["label"] == "digits"
    first, spare = files(folder, digits__csv="1,2\n", spare__csv="3,4\n")
    kept = carl.upload_dataset_file(cid, data, first)["id"]
    carl.delete_dataset_file(cid, data, carl.upload_dataset_file(cid, data, spare)["id"])
    (found,) = carl.creator_datasets(cid)["datasets"]
    assert [one["id"] for one in found["files"]] == [kept]

    carl.update_benchmark_file_content(cid, "agent.py", AGENT)
    carl.run_benchmark(cid)
    benchmarked(carl, cid)
    carl.start_competition(cid)
    for change in (
        lambda: carl.update_agent_template(cid, AGENT),
        lambda: carl.upload_dataset_file(cid, data, spare),
        lambda: carl.start_competition(cid),
    ):
        with raises(mlarena.MLArenaError, "started"):
            change()
    with raises(mlarena.AuthenticationError, "scope creator"):
        ada.stop_competition(cid)
    with raises(mlarena.CompetitionNotFoundError):
        dora.stop_competition(cid)
    carl.stop_competition(cid)
    assert ada.competition(cid)["is_started"] is False
    carl.update_agent_template(cid, AGENT)
    carl.start_competition(cid)
    return cid


def learner(ada, bob, cid, folder):
    """Fetch the data, submit to the end, read the leaderboard. Returns the id of an agent that is active."""
    assert ada.update_profile(bio="I learn", student_email="ada@example.org", student_number="1")["bio"] == "I learn"
    with raises(mlarena.MLArenaError, "update_profile failed", "user name"):
        ada.update_profile(username="carl")
    assert ada.profile()["student_number"] == "1"
    assert ada.competition(cid)["agent_template"] == AGENT
    assert ada.datasets(cid)["datasets"][0]["label"] == "digits"
    assert [Path(path).read_text() for path in ada.download_dataset(cid, folder)] == ["1,2\n"]
    aid = ada.submit(cid, files=files(folder, agent__py=AGENT), agent_name="constant")["attache_agent_id"]
    status, lines = status_of(ada, cid, aid)
    assert status["status"] == "active", lines
    assert aid in {row["agentAttachId"] for row in rows(ada.leaderboard(cid))}
    assert ada.recent_replays(cid)["replays"] == []
    with raises(mlarena.CompetitionNotFoundError, "no such agent"):
        bob.agent_status(cid, aid)
    return aid


def teammate(url, tokens, bob, cid, aid):
    """No version has methods for teams: a newer client makes one. A teammate changes nothing of the others."""
    team = post(url, tokens["ada"], f"/teams/challenge/{cid}/team", name="Learners")["id"]
    bob.create_attached_agent(cid, "mine")
    invited = post(url, tokens["ada"], f"/teams/{team}/invitations", user_id=bob.profile()["id"])["id"]
    post(url, tokens["bob"], f"/teams/invitations/{invited}/respond", accept=True)
    for change in (lambda: bob.update_agent_file_content(cid, aid, "agent.py", ""), lambda: bob.delete_agent(cid, aid)):
        with raises(mlarena.CompetitionNotFoundError, "no such agent"):
            change()
    assert aid in {row["agentAttachId"] for row in rows(bob.leaderboard(cid))}


def post(url, token, path, **body):
    """Send a request of the newer protocol."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/api{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def written_course(cid, folder):
    """Write a course as files. Returns their folder."""
    root = Path(folder) / "course"
    (root / "basics").mkdir(parents=True)
    (root / "cover.png").write_bytes(PICTURE)
    (root / "basics" / "first.md").write_text("# First\n")
    bar = {"pass_threshold": 0.01} if HAS_CHALLENGES else {}
    lessons = [
        {"title": "First", "file": "basics/first.md", "is_published": True, "estimated_minutes": 5},
        {"title": "Second", "body_md": "# Second", "gated": True, "is_published": True},
        {"title": "Later", "body_md": "a draft"},
    ]
    manifest = {
        "course": {
            "name": "Older digits",
            "code": "D1",
            "start_date": "2020-01-01",
            "end_date": "2120-01-01",
            "cover": "cover.png",
        },
        "modules": [
            {
                "title": "Basics",
                "competitions": [{"competition_id": cid, "label": "Work", **bar}],
                "lessons": lessons,
            },
            {"title": "More", "lessons": []},
        ],
    }
    (root / "course.json").write_text(json.dumps(manifest))
    return root


def teacher(tess, tom, ada, eve, cid, folder):
    """A course from a folder: students join it, read and complete it, and the teacher follows them."""
    root = written_course(cid, folder)
    made = tess.author_course_from_dir(str(root))
    course, slug, code = made["course_id"], made["slug"], made["join_code"]
    basics, more = (one["module_id"] for one in made["modules"])
    exported = tess.export_course_to_dir(slug, str(Path(folder) / "exported"))
    assert [one["competition_id"] for one in exported["modules"][0]["competitions"]] == [cid]
    assert [one["title"] for one in exported["modules"][0]["lessons"]] == ["First", "Second", "Later"]

    with raises(mlarena.CompetitionNotFoundError):
        ada.course(slug)
    assert ada.enrollment_info(code)["lesson_count"] == 2
    joined = ada.enroll_in_course(code, student_email="s@uni.example", student_number="42")
    assert joined["competition_ids"] == [cid]
    landing = ada.course(slug)
    pages = [
        ada.lesson(slug, module["slug"], toc["slug"])["body_md"]
        for module in landing["modules"]
        for toc in module["lessons"]
    ]
    assert pages == ["# First\n", "# Second"]
    assert ada.module_overview(slug, "basics")["competitions"][0]["competition_id"] == cid
    first, second, later = (one["id"] for one in tess.get_module(basics)["lessons"])
    ada.mark_lesson_viewed(first)
    ada.mark_lesson_complete(first)
    assert ada.my_progress(course)["content_percent"] == 50
    with raises(mlarena.CompetitionNotFoundError):
        eve.mark_lesson_complete(first)
    assert course in {row["id"] for row in rows(ada.list_courses(competition_id=cid)) if row["is_enrolled"]}
    (followed,) = tess.course_progress(course)["students"]
    assert (followed["content_percent"], followed["challenges"][0]["competition_id"]) == (50, cid)
    assert followed["challenges"][0]["value"] is not None

    tess.update_course(course, visibility="public")
    assert slug in {one["slug"] for one in eve.course_catalog(search="Older digits")["courses"]}
    with raises(mlarena.AuthenticationError, "joined"):
        eve.lesson(slug, "basics", "second")
    for change in (
        lambda: tom.update_course(course, name="mine"),
        lambda: tom.get_module(basics),
        lambda: tom.get_lesson(first),
        lambda: tom.course_progress(course),
        lambda: tom.fork_module(basics),
    ):
        with raises(mlarena.CompetitionNotFoundError):
            change()
    tess.update_module(basics, summary="The first steps", visibility="public")
    assert basics in {row["id"] for row in tom.list_modules(library="public")}
    assert [one["title"] for one in tom.fork_module(basics)["lessons"]] == ["First", "Second", "Later"]
    edited(tess, course, basics, more, cid, [second, first, later], folder)


def edited(tess, course, basics, more, cid, lessons, folder):
    """The teacher changes each part of the course."""
    tess.reorder_lessons(basics, lessons)
    extra = tess.create_lesson(basics, "Extra", kind="exercise", parent_lesson_id=lessons[0])["id"]
    tess.update_lesson(extra, body_md="about mlarena:board", is_published=True)
    assert tess.get_lesson(extra)["is_published"] is True
    with raises(mlarena.MLArenaError, "preview_lesson failed", "directives board"):
        tess.preview_lesson(extra)
    assert tess.preview_lesson(extra, "plain") == {"directives": [], "warnings": []}
    (lab,) = files(folder, lab__ipynb="{}")
    assert tess.upload_lesson_media(extra, lab)["filename"] == "lab.ipynb"
    if HAS_CHALLENGES:
        assert [row["filename"] for row in tess.list_lesson_media(extra)] == ["lab.ipynb"]
        assert Path(tess.download_lesson_media(extra, "lab.ipynb", folder)).read_text() == "{}"
    tess.delete_lesson_media(extra, "lab.ipynb")
    tess.delete_lesson(extra)
    tess.set_course_cover(course, str(Path(folder) / "course" / "cover.png"))
    tess.reorder_modules(course, [more, basics])
    assert [row["module_id"] for row in tess.list_course_modules(course)] == [more, basics]
    spare = tess.create_module("Spare")["id"]
    tess.link_module(course, spare)
    tess.attach_competition(spare, cid, label="again")
    assert len(tess.reorder_module_competitions(spare, [cid])) == 1
    tess.detach_competition(spare, cid)
    with raises(mlarena.MLArenaError, "delete_module failed", "unlink"):
        tess.delete_module(spare)
    tess.unlink_module(course, spare)
    tess.delete_module(spare)
    assert spare not in {row["id"] for row in tess.list_modules()}


def renamed(sdk, carl, tess, ada, eve, cid, aid):
    """What 1.0.0 added: new names of arguments, bars of courses, the ranking of users."""
    with raises(sdk.MLArenaError, "evaluation_frontend_precision"):
        carl.update_settings(
            carl.create_challenge("Copy", "permuted_mnist", copy_from_challenge_id=cid)["competition_id"],
            evaluation_frontend_precision=3,
        )
    assert ada.status(agent_id=aid, challenge_id=cid)["status"] == "active"
    assert len(rows(ada.leaderboard(challenge_id=cid))) == 2
    assert [row["Rank"] for row in rows(ada.leaderboard(challenge_id=cid, top=1))] == [1]
    with (
        tempfile.TemporaryDirectory() as folder,
        raises(sdk.SubmissionError, "did not pass upload validation", "agent.py"),
    ):
        eve.submit(challenge_id=cid, files=files(folder, other__py=AGENT))

    (course,) = [row["id"] for row in rows(ada.list_courses(challenge_id=cid)) if row["is_enrolled"]]
    (module,) = [row["module_id"] for row in tess.list_course_modules(course) if row["challenges"]]
    first = tess.get_module(module)["lessons"][0]["id"]
    ada.mark_lesson_complete(first, course_id=course)
    assert ada.mark_lesson_incomplete(first, course_id=course)["status"] == "in_progress"
    assert ada.my_progress(course)["challenges"][0]["passed"] is True
    assert tess.update_challenge_link(module, cid, label="Homework")["pass_threshold"] == 0.01
    assert tess.update_competition_link(module, cid, pass_threshold=None)["label"] == "Homework"
    assert tess.reorder_module_challenges(module, ordered_challenge_ids=[cid])[0]["pass_threshold"] is None

    me = ada.profile()
    (ranked,) = [row for row in rows(ada.global_ranking(search=me["username"])) if row["user_id"] == me["id"]]
    assert ranked.items() <= ada.user_global_rank(me["id"]).items()


def main():
    url, tokens = sys.argv[1], json.load(sys.stdin)
    ada, bob, eve, carl, dora, tess, tom = (
        connect(tokens[name], url) for name in ["ada", "bob", "eve", "carl", "dora", "tess", "tom"]
    )
    sdk = SimpleNamespace(**{**vars(mlarena), "connect": connect})
    scopes = {"user": tokens["ada"], "creator": tokens["carl"], "teacher": tokens["tess"]}
    participant(sdk, url, scopes)
    a_class(sdk, url, scopes)
    creator(sdk, url, scopes)
    if "competition_id" in inspect.signature(MLArenaClient.create_course).parameters:
        courses(sdk, url, scopes)
    if HAS_CONTENT:
        with tempfile.TemporaryDirectory() as folder:
            cid = author(carl, dora, ada, folder)
            aid = learner(ada, bob, cid, folder)
            teammate(url, tokens, bob, cid, aid)
            teacher(tess, tom, ada, eve, cid, folder)
        if HAS_CHALLENGES:
            renamed(sdk, carl, tess, ada, eve, cid, aid)
    methods = {name for name, _ in inspect.getmembers(MLArenaClient, inspect.isfunction) if not name.startswith("_")}
    missing = methods - set(OUTCOMES)
    assert not missing, sorted(missing)
    print(json.dumps({name: OUTCOMES[name] for name in sorted(methods)}))


if __name__ == "__main__":
    main()
