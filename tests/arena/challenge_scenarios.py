"""What people do with mlarena-sdk 4.6.0, method by method. A script that runs with the official SDK in an environment
of its own, and needs only outcomes.py beside it.

    python challenge_scenarios.py URL     (tokens come as JSON on standard input)

It prints JSON: for each method of the client whether it was served or refused in words.
"""

import inspect
import json
import sys
import tempfile
import time
from pathlib import Path

import mlarena
from mlarena.client import _KEYED_BY_SUBMISSION_METHODS, _RENAMED_METHODS, MLArenaClient
from outcomes import OUTCOMES, noting

POLL_S, TIMEOUT_S = 0.3, 400.0

AGENT = """import numpy as np


class Agent:
    def train(self, X_train, y_train):
        print("trained on", X_train.shape)

    def predict(self, X_test):
        return np.full(len(X_test), 1)
"""

PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
)
"""One pixel."""


class Constant:
    """An agent to be submitted as a class."""

    def train(self, X_train, y_train):
        self.label = int(y_train.ravel()[0])

    def predict(self, X_test):
        return [self.label] * len(X_test)


class Recorded:
    """A client that notes which methods were called, and whether any call of each was served."""

    def __init__(self, token, url):
        self.client = mlarena.connect(token, base_url=url)

    def __getattr__(self, name):
        return noting(name, getattr(self.client, name))


def raises(kind, *words):
    """A context in which an error of this kind must be raised, and must say these words."""

    class Expected:
        def __enter__(self):
            return self

        def __exit__(self, found, error, _):
            assert found is not None, f"nothing was raised instead of {kind}"
            assert issubclass(found, kind), repr(error)
            for word in words:
                assert word in str(error), (word, str(error))
            self.error = error
            return True

    return Expected()


def file(folder, name, content):
    path = Path(folder) / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def wait_for_benchmark(carl, cid):
    deadline = time.monotonic() + TIMEOUT_S
    while (found := carl.benchmark_status(cid))["run"]["job_status"] in {"pending", "running"}:
        assert time.monotonic() < deadline, found
        time.sleep(POLL_S)
    assert found["run"]["submission_results"][0]["score"] is not None, found
    return found


def creator(carl, dora, folder):
    """Author a challenge: configuration, files, benchmark, start. Returns its id."""
    assert carl.me()["is_creator"]
    assert carl.machines("permuted_mnist")[0]["kernels"][0]["kernel_version"] == "permuted_mnist"
    assert {"permuted_mnist", "gymnasium"} <= {kind["kernel_version"] for kind in carl.available_kinds()}
    fields = {field["key"] for field in carl.config_fields()}
    assert fields == set(carl.config_schema()["properties"])
    tag = carl.list_tags()[0]["name"]
    made = carl.create_challenge("Course work", "permuted_mnist", description="Learn.", tag_names=[tag.upper()])
    cid = made["challenge_id"]
    assert cid not in {row["id"] for row in dora.challenges(status="all")}
    assert cid in {row["id"] for row in carl.challenges(status="all")}
    with raises(mlarena.ChallengeNotFoundError):
        dora.challenge(cid)

    blockers = {one["code"] for one in carl.creator_challenge(cid)["start_blockers"]}
    assert blockers == {"benchmark_missing"}
    with raises(mlarena.MLArenaError, "run the benchmark first") as refused:
        carl.start_challenge(cid)
    assert len(refused.error.body["details"]) == 1

    carl.update_settings(cid, deployment_nb_initial_score_run=2, deployment_nb_constraint_run=0, window_days=30)
    toml = "# limits\nmax_upload_files = 7\n\nepisode_budget_brackets = [[0.0001, 2], [0.9, 3]]\n"
    carl.upload_env_file(cid, file(folder, "challenge.toml", toml))
    config = carl.creator_challenge(cid)["config"]
    assert config["values"]["max_upload_files"] == 7
    assert config["origin"]["max_upload_files"] == "file"
    assert config["origin"]["window_days"] == "console"
    assert config["file_lines"] == {"max_upload_files": 2, "episode_budget_brackets": 4}
    assert config["file_in_sync"]
    with raises(mlarena.MLArenaError, "max_upload_files is set in challenge.toml (line 2)"):
        carl.update_settings(cid, max_upload_files=8)
    for text, words in (
        ("\nwrong = 1\n", "challenge.toml:2: unknown key 'wrong'"),
        ("window_days = 7\nmax_upload_files = 'x'\n", "challenge.toml:2"),
        ("a = [", "challenge.toml:1"),
    ):
        with raises(mlarena.MLArenaError, words):
            carl.update_env_file_content(cid, "challenge.toml", text)
    with raises(mlarena.MLArenaError, "elo_k_factor"):
        carl.update_settings(cid, elo_k_factor=30)
    carl.update_settings(cid, machine_id=1, required_files=["notes.txt"])
    assert "max_upload_files = 7" in carl.export_config(cid, str(Path(folder) / "exported.toml"))
    assert "required_file_missing" in {one["code"] for one in carl.creator_challenge(cid)["start_blockers"]}
    carl.update_env_file_content(cid, "notes.txt", "about the data")
    carl.update_env_file_content(cid, "spare.txt", "x")
    carl.delete_env_file(cid, "spare.txt")
    assert set(carl.list_env_files(cid)["files"]) == {"challenge.toml", "notes.txt"}
    assert not carl.check_env(cid, "x = (")["is_valid"]
    with raises(mlarena.MLArenaError, "upload the files"):
        carl.sync_env_from_github(cid, "https://example.org/x/y")

    metric = {
        "key": "accuracy",
        "label": "Accuracy",
        "source": "score",
        "agg": "mean",
        "order": "desc",
        "format": "percent",
        "unit": None,
        "precision": 1,
        "is_ranking": True,
        "visible": True,
    }
    best = metric | {"key": "runs", "source": "platform", "agg": "sum", "is_ranking": False}
    with raises(mlarena.MLArenaError, "platform's figures"):
        carl.update_settings(cid, metrics=[metric, best])
    carl.update_settings(cid, metrics=[metric, best | {"key": "n_episodes", "format": "integer"}])

    assert [row["name"] for row in carl.challenge_tags(cid)] == [tag]
    carl.set_challenge_tags(cid, tag_names=[])
    carl.update_challenge(cid, name="Course work 1", description="Learn digits.")
    carl.set_challenge_image(cid, file(folder, "picture.png", PICTURE))
    assert Path(carl.challenge_image(cid, folder)).read_bytes() == PICTURE
    carl.delete_challenge_image(cid)
    carl.set_challenge_markdown(cid, "# Rules")
    assert carl.challenge_markdown(cid) == {"content": "# Rules"}
    carl.update_agent_template(cid, AGENT)
    assert carl.agent_template(cid)["agent_template"] == AGENT
    assert carl.csv_ground_truth(cid) == {"ground_truth": None}

    data = carl.create_dataset(cid, "digits")["id"]
    carl.update_dataset(cid, data, description="a few")
    kept = carl.upload_dataset_file(cid, data, file(folder, "digits.csv", "1,2\n"))["id"]
    spare = carl.upload_dataset_file(cid, data, file(folder, "spare.csv", "1,2\n"))["id"]
    carl.delete_dataset_file(cid, data, spare)
    carl.delete_dataset(cid, carl.create_dataset(cid, "spare")["id"])
    (found,) = carl.creator_datasets(cid)["datasets"]
    assert [one["id"] for one in found["files"]] == [kept]

    with raises(mlarena.NotFoundError):
        dora.creator_challenge(cid)
    user_id = carl.add_challenge_assistant(cid, dora.me()["username"])["user_id"]
    assert dora.creator_challenge(cid)["role"] == "assistant"
    with raises(mlarena.PermissionDeniedError, "owner"):
        dora.add_challenge_assistant(cid, "somebody")
    assert [one["user_id"] for one in carl.challenge_assistants(cid)] == [user_id]
    carl.remove_challenge_assistant(cid, user_id)
    with raises(mlarena.NotFoundError):
        dora.creator_challenge(cid)

    carl.upload_benchmark_file(cid, file(folder, "baseline.py", AGENT), filename="agent.py")
    carl.update_benchmark_file_content(cid, "helper.py", "x = 1\n")
    carl.delete_benchmark_file(cid, "helper.py")
    assert set(carl.list_benchmark_files(cid)["files"]) == {"agent.py"}
    assert carl.benchmark_status(cid) == {"run": None, "checks": []}
    assert carl.run_benchmark(cid)["job_status"] == "pending"
    checks = {one["key"]: one for one in wait_for_benchmark(carl, cid)["checks"]}
    assert checks["simulation_timeout_sec"]["status"] == "ok"
    assert carl.creator_challenge(cid)["start_blockers"] == []
    assert carl.start_challenge(cid)["status"] == "started"
    with raises(mlarena.MLArenaError, "has started"):
        carl.update_settings(cid, deployment_nb_initial_score_run=3)
    carl.update_settings(cid, metrics=[metric | {"label": "Right"}, best | {"key": "n_episodes", "format": "integer"}])
    carl.update_challenge(cid, is_public=True)
    assert {"id": cid} in [{"id": row["id"]} for row in carl.copyable_challenges()["challenges"]]
    copied = carl.create_challenge("Copy", "permuted_mnist", copy_from_challenge_id=cid)["challenge_id"]
    assert carl.creator_challenge(copied)["config"]["origin"]["max_upload_files"] == "file"
    assert {cid, copied} <= {row["id"] for row in carl.creator_challenges()}
    return cid


def participant(ada, bob, cid, folder):
    """Submit, wait, edit, read. Returns the id of a submission that is active."""
    ada.update_profile(bio="I learn", avatar_key="bottts:ada", student_email="ada@example.org", student_number="1")
    with raises(mlarena.MLArenaError, "user name"):
        ada.update_profile(username="carl")
    assert ada.profile()["bio"] == "I learn"
    assert ada.public_stats()["challenges"] >= 1
    assert ada.challenge(cid)["agent_template"] == AGENT
    assert [Path(path).read_text() for path in ada.download_dataset(cid, folder)] == ["1,2\n"]
    assert ada.datasets(cid)["datasets"][0]["label"] == "digits"
    assert {row["language"] for row in ada.runtime_options(cid)} == {"python"}
    numpy = ada.resolve_runtime(cid, language="python", framework="numpy")

    with raises(mlarena.SubmissionError, "did not pass upload validation", "agent.py"):
        ada.submit(cid, files=[file(folder, "other.py", AGENT)])
    rejected = ada.status()["id"]
    with raises(mlarena.SubmissionError, "agent.py") as refused:
        ada.deploy_submission(cid, rejected)
    assert refused.error.status_code == 409
    assert refused.error.body["active_submission_limits"]["active_submissions_count"] == 0
    ada.delete_submission(cid, rejected)

    made = ada.submit(cid, agent=Constant, runtime={"framework": "numpy"}, wait=True, poll_sec=POLL_S)
    sid = made["submission_id"]
    found = made["status"]
    assert (found["status"], found["viewer_role"], found["submission_name"]) == ("active", "owner", "Constant")
    assert found["number_of_runs"] >= 3  # by the brackets, and more when the finals have been played
    assert found["latest_deploy"]["status"] == "succeeded"
    assert set(found["metrics"]) == set(found["metrics_window"]) == {"accuracy", "n_episodes"}
    assert ada.agent_runtime(sid)["id"] == numpy["id"]
    ada.set_agent_runtime(sid, numpy["id"])
    lines = ada.tail_logs(cid, sid, poll_sec=POLL_S)
    assert lines[0].startswith("[active]")
    assert any("job_status=completed" in line for line in lines)
    runs = ada.submission_runs(sid, deploy_id=found["latest_deploy"]["id"], is_test=False)
    assert runs["total"] >= 2
    assert runs["runs"][0]["submission_results"][0]["submission_id"] == sid
    assert [one["status"] for one in ada.submission_deploys(sid)["deploys"]] == ["succeeded"]
    assert ada.submission(sid)["latest_run_failure"] is None

    copied = ada.create_submission(cid, "copy", copy_from_submission_id=sid)["submission_id"]
    assert {sid, copied} <= {row["id"] for row in ada.copyable_submissions()["submissions"]}
    ada.upload_submission_file(cid, copied, file(folder, "README.md", "# How\n"))
    ada.update_submission_file_content(cid, copied, "weights.bin", "\x00")
    listed = {row["name"]: row for row in ada.list_submission_files(cid, copied)["files"]}
    assert {name: row["role"] for name, row in listed.items()} == {
        "agent.py": "entry",
        "README.md": "report",
        "weights.bin": "other",
    }
    source = ada.get_submission_file_content(cid, copied, "agent.py")
    assert Path(ada.download_submission_file(cid, copied, "agent.py", folder)).read_text() == source
    ada.delete_submission_file(cid, copied, "weights.bin")
    broken = source.replace("self.label = ", "raise ValueError('broken') #")
    ada.update_submission_file_content(cid, copied, "agent.py", broken)
    ada.deploy_submission(cid, copied)
    lines = ada.tail_logs(cid, copied, poll_sec=POLL_S, timeout_sec=TIMEOUT_S)
    told = [line for line in lines if line.strip().startswith("agent error[code_error]")]
    assert "broken" in told[0], lines
    failed = ada.submission(copied)
    assert failed["latest_deploy"]["failure_owner"] == "participant"
    assert failed["latest_run_failure"]["agent_error_type"] == "code_error"

    with raises(mlarena.SubmissionNotFoundError):
        bob.submission(sid)
    ada.update_submission(sid, submission_name="constant")
    ada.set_submission_visibility(copied, True)
    seen = bob.submission(copied)
    assert (seen["viewer_role"], seen["last_status_message"]) == ("public", None)
    assert seen["latest_deploy"]["failure_message"] is None
    results = [row for run in bob.submission_runs(copied)["runs"] for row in run["submission_results"]]
    assert {(row["agent_error_message"], row["agent_stdout_logs"]) for row in results} == {(None, None)}
    for change in (
        lambda: bob.rename_submission(copied, "mine"),
        lambda: bob.upload_submission_file(cid, copied, file(folder, "agent.py", AGENT)),
        lambda: bob.deploy_submission(cid, copied),
        lambda: bob.delete_submission(cid, copied),
    ):
        with raises(mlarena.SubmissionNotFoundError):
            change()
    ada.rename_submission(copied, "broken")

    board = ada.leaderboard(cid, me=True, around=sid, q="ada", window=1)
    assert board["me"]["submission_id"] == board["around"]["submission_id"] == sid
    assert board["me"]["is_my_submission"]
    assert board["me"]["submission_name"] == "constant"
    assert board["matches"][0]["submission_id"] == sid
    assert board["challenge"]["metrics"][0]["label"] == "Right"
    assert [row["rank"] for row in board["leaders"]] == sorted(row["rank"] for row in board["leaders"])
    mine = {row["id"]: row for row in ada.my_submissions()["submissions"]}
    assert mine[sid]["rank"] == board["me"]["rank"]
    limits = ada.submission_deploy_status(cid, sid)
    assert limits["deployment_limits"]["daily_deploys_used"] == 2
    assert ada.replays(cid)["replays"] == []
    ada.recent_replays(cid)
    with raises(mlarena.NotFoundError, "record no frames"):
        ada.replay(cid, 1)
    with raises(ValueError, "no replay"):
        ada.download_replay(runs["runs"][0], folder)
    assert ada.user_global_rank(ada.me()["id"])["user_id"] == ada.me()["id"]
    assert ada.global_ranking(search="ada")["rankings"] if isinstance(ada.global_ranking(), dict) else True
    return sid


def organiser(carl, ada, cid, sid):
    """Read runs and submissions, run submissions again, stop and start."""
    assert any(run["submission_results"][0]["submission_id"] == sid for run in carl.creator_runs(cid)["runs"])
    rows = {row["submission_id"]: row for row in carl.creator_submissions(cid)["submissions"]}
    assert rows[sid]["rank"] is not None
    assert rows[sid]["restart_allowed"]
    assert carl.submission(sid)["viewer_role"] == "staff"
    with raises(mlarena.AuthenticationError):
        ada.clean_redeploy_submission(cid, sid)
    assert carl.clean_redeploy_submission(cid, sid)["deleted_results"] >= 2
    ada.tail_logs(cid, sid, poll_sec=POLL_S, timeout_sec=TIMEOUT_S)
    assert ada.submission(sid)["status"] == "active"
    assert ada.submission_deploy_status(cid, sid)["deployment_limits"]["daily_deploys_used"] == 2
    again = carl.clean_redeploy_all(cid)
    assert again["failed"] == []
    assert again["total"] == len(again["redeployed"]) >= 2
    ada.tail_logs(cid, sid, poll_sec=POLL_S, timeout_sec=TIMEOUT_S)
    broken = next(row["id"] for row in ada.my_submissions()["submissions"] if row["submission_name"] == "broken")
    ada.tail_logs(cid, broken, poll_sec=POLL_S, timeout_sec=TIMEOUT_S)
    assert carl.soft_delete_submission(cid, broken)["status"] == "deleted"
    with raises(mlarena.SubmissionNotFoundError):
        ada.submission(broken)
    assert carl.stop_challenge(cid)["status"] == "stopped"
    with raises(mlarena.SubmissionError, "not started"):
        ada.deploy_submission(cid, sid)
    assert carl.start_challenge(cid)["status"] == "started"


def teammate(ada, bob, eve, cid, sid):
    """Teams and invitations. Bob takes part with a submission that he does not deploy."""
    own = bob.create_submission(cid, "mine")["submission_id"]
    assert ada.challenge_team(cid) is None
    team = ada.create_team(cid, "The learners")["id"]
    assert ada.update_team(team, "Learners", True)["looking_for_members"]
    with raises(mlarena.MLArenaError, "already"):
        ada.create_team(cid, "Another")
    (found,) = ada.search_teams(cid, bob.me()["username"])["users"]
    with raises(mlarena.NotFoundError):
        ada.invite_to_team(team, eve.me()["id"])
    with raises(mlarena.NotFoundError):
        eve.invite_to_team(team, found["id"])
    first = ada.invite_to_team(team, found["id"])["id"]
    with raises(mlarena.NotFoundError):
        eve.respond_to_invitation(first, True)
    with raises(mlarena.NotFoundError):
        bob.submission(sid)
    assert [one["id"] for one in ada.pending_invitations(team)] == [first]
    assert ada.cancel_invitation(first)["status"] == "cancelled"
    declined = ada.invite_to_team(team, found["id"])["id"]
    assert bob.respond_to_invitation(declined, False)["status"] == "declined"
    ada.invite_to_team(team, found["id"])
    (received,) = bob.received_invitations()
    assert bob.respond_to_invitation(received["id"], True)["status"] == "accepted"
    assert bob.challenge_team(cid)["my_role"] == "member"
    assert bob.submission(sid)["viewer_role"] == "teammate"
    assert bob.leaderboard(cid, me=True)["me"]["team_name"] == "Learners"
    with raises(mlarena.PermissionDeniedError, "leader"):
        bob.delete_team(team)
    with raises(mlarena.SubmissionNotFoundError):
        bob.delete_submission(cid, sid)
    with raises(mlarena.MLArenaError, "leader cannot leave"):
        ada.leave_team(team)
    bob.leave_team(team)
    ada.invite_to_team(team, found["id"])
    bob.respond_to_invitation(bob.received_invitations()[0]["id"], True)
    member = next(one["id"] for one in ada.challenge_team(cid)["members"] if one["role"] == "member")
    ada.remove_team_member(team, member)
    with raises(mlarena.SubmissionNotFoundError):
        bob.submission(sid)
    ada.delete_team(team)
    bob.delete_submission(cid, own)


def teacher(tess, tom, ada, eve, cid, sid, folder):
    """A course written as files, students, progress, CSV."""
    root = Path(folder) / "course"
    (root / "basics").mkdir(parents=True)
    file(root, "cover.png", PICTURE)
    file(root / "basics", "first.md", "# First\n")
    manifest = {
        "course": {
            "name": "Digits",
            "code": "D1",
            "description": "Learn.",
            "start_date": "2020-01-01",
            "end_date": "2120-01-01",
            "cover": "cover.png",
            "visibility": "private",
        },
        "modules": [
            {
                "title": "Basics",
                "challenges": [{"challenge_id": cid, "label": "Work", "pass_threshold": 0.01}],
                "lessons": [
                    {"title": "First", "file": "basics/first.md", "is_published": True, "estimated_minutes": 5},
                    {"title": "Second", "body_md": "# Second", "gated": True, "is_published": True},
                ],
            },
            {"title": "Drafts", "is_published": False, "lessons": [{"title": "Later", "body_md": "x"}]},
        ],
    }
    file(root, "course.json", json.dumps(manifest))
    made = tess.author_course_from_dir(str(root))
    course, slug, code = made["course_id"], made["slug"], made["join_code"]
    module, drafts = (one["module_id"] for one in made["modules"])
    exported = tess.export_course_to_dir(slug, str(Path(folder) / "exported"))
    assert [one["title"] for one in exported["modules"]] == ["Basics", "Drafts"]

    with raises(mlarena.NotFoundError):
        ada.course(slug)
    assert ada.enrollment_info(code)["lesson_count"] == 2
    joined = ada.enroll_in_course(code, student_email="=1+1", student_number="7", project_url="https://example.org")
    assert joined["challenge_ids"] == [cid]
    landing = ada.course(slug)
    assert [one["title"] for one in landing["modules"]] == ["Basics"]
    assert landing["is_enrolled"]
    assert not landing["can_manage"]
    assert ada.module_overview(slug, "basics")["challenges"][0]["challenge"]["id"] == cid
    assert ada.lesson(slug, "basics", "second")["body_md"] == "# Second"
    with raises(mlarena.NotFoundError):
        ada.lesson(slug, "drafts", "later")
    tess.update_course(course, visibility="public")
    assert slug in {one["slug"] for one in eve.course_catalog(search="Digits", limit=100)["courses"]}
    with raises(mlarena.PermissionDeniedError, "joined"):
        eve.lesson(slug, "basics", "second")
    first, second = (one["id"] for one in landing["modules"][0]["lessons"])
    ada.mark_lesson_viewed(first)
    ada.mark_lesson_complete(first, course_id=course)
    assert ada.my_progress(course)["content_percent"] == 50
    assert ada.my_progress(course)["challenges"][0]["passed"] is True
    assert ada.mark_lesson_incomplete(first)["status"] == "in_progress"
    with raises(mlarena.NotFoundError):
        eve.mark_lesson_complete(first)
    assert Path(ada.course_cover(course, folder)).read_bytes() == PICTURE
    assert slug in {row["slug"] for row in ada.list_courses(challenge_id=cid) if row["is_enrolled"]}
    assert ada.leaderboard(cid, course_id=course)["leaders"][0]["passed"] is True
    with raises(mlarena.NotFoundError):
        eve.leaderboard(cid, course_id=course)

    assert tess.submission(sid)["viewer_role"] == "teacher"
    assert tess.course_progress(course)["students"][0]["challenges"][0]["passed"] is True
    assert tess.course_students(course, challenge_id=cid)["students"][0]["student_number"] == "7"
    table = Path(tess.export_course_csv(course, cid, by_participant=True, dest_dir=folder)).read_text()
    assert "'=1+1" in table
    assert "constant" in table
    assert [row["role"] for row in tess.teacher_courses() if row["id"] == course] == ["teacher"]
    assert cid in {row["id"] for row in tess.challenges_for_course()}

    for change in (
        lambda: tom.update_course(course, name="mine"),
        lambda: tom.get_module(module),
        lambda: tom.get_lesson(first),
        lambda: tom.course_progress(course),
        lambda: tom.course_students(course),
        lambda: tom.fork_module(module),
        lambda: tom.link_module(tom.create_course("Other")["id"], module),
    ):
        with raises(mlarena.NotFoundError):
            change()
    helper = tess.add_course_assistant(course, tom.me()["username"])["user_id"]
    assert tom.course_progress(course)["course_id"] == course
    with raises(mlarena.PermissionDeniedError, "teacher"):
        tom.course_assistants(course)
    assert [row["user_id"] for row in tess.course_assistants(course)] == [helper]
    tess.remove_course_assistant(course, helper)

    tess.update_module(module, summary="The first steps", visibility="public")
    assert module in {row["id"] for row in tom.list_modules(library="public")}
    copy = tom.fork_module(module)
    assert [one["title"] for one in copy["lessons"]] == ["First", "Second"]
    assert copy["id"] in {row["id"] for row in tom.list_modules()}
    tess.update_challenge_link(module, cid, label="Homework", pass_threshold=None)
    assert tess.get_module(module)["challenges"][0]["pass_threshold"] is None
    tess.reorder_module_challenges(module, [cid])
    tess.reorder_lessons(module, [second, first])
    extra = tess.create_lesson(module, "Extra", kind="exercise", parent_lesson_id=first)["id"]
    assert tess.get_lesson(extra)["parent_lesson_id"] == first
    tess.update_lesson(extra, body_md="about mlarena:board", is_published=True)
    with raises(mlarena.MLArenaError, "directives board"):
        tess.preview_lesson(extra)
    assert tess.preview_lesson(extra, "plain") == {"directives": [], "warnings": []}
    tess.upload_lesson_media(extra, file(folder, "lab.ipynb", "{}"))
    assert [row["filename"] for row in tess.list_lesson_media(extra)] == ["lab.ipynb"]
    assert Path(ada.download_lesson_media(extra, "lab.ipynb", folder)).read_text() == "{}"
    tess.delete_lesson_media(extra, "lab.ipynb")
    tess.delete_lesson(extra)
    tess.set_course_cover(course, str(root / "cover.png"))
    tess.reorder_modules(course, [drafts, module])
    assert [row["module_id"] for row in tess.list_course_modules(course)] == [drafts, module]
    spare = tess.create_module("Spare")["id"]
    tess.link_module(course, spare)
    tess.attach_challenge(spare, cid)
    tess.detach_challenge(spare, cid)
    with raises(mlarena.MLArenaError, "unlink"):
        tess.delete_module(spare)
    tess.unlink_module(course, spare)
    tess.delete_module(spare)
    entry = tess.add_course_challenge(course, cid, title="Once more", pass_threshold=0.5)["module_id"]
    assert tess.remove_course_challenge(course, entry)["module_deleted"] is True
    tess.remove_student(course, ada.me()["id"])
    with raises(mlarena.NotFoundError):
        ada.my_progress(course)


def chats(ada, carl, cid):
    """Chat challenges are refused in words."""
    for call in (
        lambda: ada.chat_challenge(cid),
        lambda: ada.open_chat_session(cid),
        lambda: ada.chat_session(1),
        lambda: ada.send_chat_message(1, "hello"),
        lambda: ada.close_chat_session(1),
        lambda: ada.export_chat_session(1),
        lambda: ada.chat(cid).say("hello"),
        lambda: carl.chat_admin(cid),
        lambda: carl.update_chat_settings(cid, llm_model="x"),
        lambda: carl.chat_sessions(cid),
        lambda: carl.void_chat_session(1, "no"),
        lambda: carl.unvoid_chat_session(1),
        lambda: carl.export_chat_evidence(cid),
    ):
        with raises(mlarena.MLArenaError, "no chat challenges"):
            call()
    OUTCOMES["chat"] = "refused"  # it makes its first request when something is said


def main():
    url = sys.argv[1]
    people = {name: Recorded(token, url) for name, token in json.load(sys.stdin).items()}
    ada, bob, eve, carl, dora, tess, tom = (
        people[name] for name in ["ada", "bob", "eve", "carl", "dora", "tess", "tom"]
    )
    with tempfile.TemporaryDirectory() as folder:
        cid = creator(carl, dora, folder)
        sid = participant(ada, bob, cid, folder)
        organiser(carl, ada, cid, sid)
        teammate(ada, bob, eve, cid, sid)
        teacher(tess, tom, ada, eve, cid, sid, folder)
        chats(ada, carl, cid)
    aliases = {*_RENAMED_METHODS, *_KEYED_BY_SUBMISSION_METHODS}
    methods = {name for name, _ in inspect.getmembers(MLArenaClient, inspect.isfunction) if not name.startswith("_")}
    missing = methods - aliases - set(OUTCOMES)
    assert not missing, sorted(missing)
    print(json.dumps({name: OUTCOMES[name] for name in sorted(methods - aliases)}))


if __name__ == "__main__":
    main()
