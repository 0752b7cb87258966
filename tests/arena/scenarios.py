"""What people do with a client, line by line. A script that stands alone: it runs with the official SDK, in an
environment of its own, and with ours.

    python scenarios.py MODULE SCENARIO URL     (tokens come as JSON on standard input)
"""

import importlib
import json
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

POLL_S, TIMEOUT_S = 0.2, 240.0

AGENT = """import numpy as np

LABEL = 1


class Agent:
    def train(self, X_train, y_train):
        print("trained on", X_train.shape)

    def predict(self, X_test):
        return np.full(len(X_test), LABEL)
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


def main():
    name, scenario, url = sys.argv[1:]
    sdk = importlib.import_module(name)
    SCENARIOS[scenario](sdk, url, json.load(sys.stdin))
    print("done")


def rows(table):
    return table.to_dict("records") if hasattr(table, "to_dict") else list(table)


def the_first(client):
    """The competition that a service has from its start."""
    return next(int(row["id"]) for row in rows(client.competitions()) if row["name"] == "Permuted MNIST")


def files(folder, **contents):
    for name, text in contents.items():
        (Path(folder) / name.replace("__", ".")).write_text(text)
    return [str(Path(folder) / name.replace("__", ".")) for name in contents]


def raises(errors, *words):
    """A context in which one of these errors must be raised, and must say these words."""

    class Expected:
        def __enter__(self):
            return self

        def __exit__(self, kind, error, _):
            assert kind is not None, f"nothing was raised instead of {errors}"
            assert issubclass(kind, errors), repr(error)
            for word in words:
                assert word in str(error), (word, str(error))
            return True

    return Expected()


def status_of(client, cid, aid):
    lines = list(client.tail_logs(cid, aid, poll_sec=POLL_S, timeout_sec=TIMEOUT_S))
    return client.agent_status(cid, aid), lines


def benchmarked(client, cid):
    """What came of the benchmark agent."""
    deadline = time.monotonic() + TIMEOUT_S
    while (found := client.benchmark_status(cid))["status"] == "running" and time.monotonic() < deadline:
        time.sleep(POLL_S)
    assert found["status"] == "completed", found
    return found


def started(client, name, **settings):
    """A competition of one run that counts."""
    cid = client.create_competition(name, "permuted_mnist")["competition_id"]
    client.update_settings(cid, evaluation_deployment_nb_initial_score_run=1, **settings)
    client.update_benchmark_file_content(cid, "agent.py", AGENT)
    client.run_benchmark(cid)
    benchmarked(client, cid)
    client.start_competition(cid)
    return cid


def participant(sdk, url, tokens):
    """The documented workflow: runtimes, submit, edit, redeploy, logs, games, leaderboard."""
    client = sdk.connect(tokens["user"], base_url=url)
    cid = the_first(client)
    assert client.competition(cid)["max_upload_files"] >= 1
    options = rows(client.runtime_options(cid))
    assert {row["language"] for row in options} == {"python"}
    runtime = client.resolve_runtime(cid, language="python", framework="gymnasium")

    with tempfile.TemporaryDirectory() as folder:
        paths = files(folder, agent__py=AGENT, model__pkl="not a real one")
        sub = client.submit(cid, files=paths, runtime_id=int(runtime["id"]))
    aid = sub["attache_agent_id"]
    assert client.agent_runtime(aid)["framework"] == "gymnasium"
    assert client.status()["status"] in {"deploy_queue", "deploy_run", "active"}

    source = client.get_agent_file_content(cid, aid, "agent.py")
    assert source == AGENT
    assert client.update_agent_file_content(cid, aid, "agent.py", source.replace("LABEL = 1", "LABEL = 2"))
    client.deploy_agent(cid, aid)
    assert client.agent_deploy_status(cid, aid)["deploymentLimits"]["daily_deploys_used"] == 2

    status, lines = status_of(client, cid, aid)
    assert status["status"] == "active", status
    assert lines[-1].startswith("[active] mean reward 0."), lines
    listed = client.list_agent_files(cid, aid)["files"]
    assert set(listed) == {"agent.py", "model.pkl"}
    assert "LABEL = 2" in listed["agent.py"]["content"]

    games = client.agent_games(aid)["games"]
    done = [game for game in games if game["reward"] is not None]
    assert len(done) >= 11
    with urllib.request.urlopen(done[0]["signed_url"]) as answer:
        assert b"trained on (1800, 28, 28)" in answer.read()

    board = rows(client.leaderboard(cid))
    mine = next(row for row in board if row["agentAttachId"] == aid)
    assert 0.05 < mine["MeanReward"] < 0.15
    assert mine["NumberOfRuns"] == 10
    assert [row["Rank"] for row in board] == list(range(1, len(board) + 1))
    assert [row["MeanReward"] for row in board] == sorted((row["MeanReward"] for row in board), reverse=True)
    client.delete_agent_file(cid, aid, "model.pkl")
    assert set(client.list_agent_files(cid, aid)["files"]) == {"agent.py"}
    client.delete_agent(cid, aid)
    assert aid not in {row["agentAttachId"] for row in rows(client.leaderboard(cid))}


def a_class(sdk, url, tokens):
    """An agent submitted as a class."""
    client = sdk.connect(tokens["user"], base_url=url)
    cid = the_first(client)
    aid = client.submit(cid, agent=Constant)["attache_agent_id"]
    status, lines = status_of(client, cid, aid)
    assert status["status"] == "active", lines
    assert status["agent_name"] == "Constant"
    client.delete_agent(cid, aid)


def creator(sdk, url, tokens):
    """A competition from its creation to its start."""
    client = sdk.connect(tokens["creator"], base_url=url)
    tags = rows(client.list_tags())
    made = client.create_competition(
        "A small one", "permuted_mnist", description="Short", tag_names=[tags[0]["name"]], is_public=False
    )
    cid = made["competition_id"]
    with raises(sdk.CompetitionNotFoundError):
        client.competition(cid)  # hidden, even from its owner, where no token is sent
    settings = client.update_settings(
        cid,
        evaluation_deployment_nb_initial_score_run=2,
        evaluation_metric="accuracy",
        max_upload_files=3,
        evaluation_episode_budget_brackets=[[0.0, 2], [0.99, 5]],
    )
    assert settings["evaluation_deployment_nb_initial_score_run"] == 2
    with raises(sdk.MLArenaError, "update_settings failed", "ascend"):
        client.update_settings(cid, evaluation_episode_budget_brackets=[[0.9, 2], [0.1, 5]])
    client.update_competition(cid, name="A small one, renamed")
    client.set_competition_tags(cid, tag_names=[])
    client.set_competition_markdown(cid, "# Rules")
    with raises(sdk.MLArenaError, "start_competition failed", "benchmark"):
        client.start_competition(cid)
    assert client.benchmark_status(cid)["status"] == "none"
    with tempfile.TemporaryDirectory() as folder:
        env, agent, fake = files(folder, env__py="VALUE = 1\n", agent__py=AGENT, picture__png="no picture")
        client.upload_env_file(cid, env)
        client.upload_benchmark_file(cid, agent)
        with raises(sdk.MLArenaError, "set_competition_image failed", "PNG"):
            client.set_competition_image(cid, fake)
        picture = Path(folder) / "real.png"
        picture.write_bytes(PICTURE)
        client.set_competition_image(cid, str(picture))
    assert client.update_env_file_content(cid, "env.py", "VALUE = (")["validation"] != "ok"
    assert client.update_env_file_content(cid, "env.py", "VALUE = 2\n")["validation"] == "ok"
    client.update_benchmark_file_content(cid, "agent.py", AGENT.replace("LABEL = 1", "LABEL = 3"))
    assert client.run_benchmark(cid)["status"] == "running"
    found = benchmarked(client, cid)
    assert 0 < found["agent_results"][0]["score"] < 0.2
    client.start_competition(cid)
    with raises(sdk.MLArenaError, "has started"):
        client.update_settings(cid, max_upload_files=4)
    client.update_competition(cid, is_public=True)
    assert client.competition(cid)["is_started"] is True
    board = rows(client.leaderboard(cid))
    assert [row["AgentName"] for row in board] == ["benchmark"]
    with raises(sdk.MLArenaError, "sync_env_from_github failed"):
        client.sync_env_from_github(cid, "https://example.org/repository")


def courses(sdk, url, tokens):
    """A teacher makes a course, and a student joins it."""
    teacher = sdk.connect(tokens["teacher"], base_url=url)
    student = sdk.connect(tokens["user"], base_url=url)
    cid = the_first(student)
    made = teacher.create_course("Learning", "L1", "2026-01-01", "2099-12-31", competition_id=cid)
    joined = student.enroll_in_course(made["enrollment_link"], student_number="17")
    assert joined["competition_id"] == cid
    assert student.enroll_in_course(made["enrollment_link"])["competition_id"] == cid
    with raises(sdk.CompetitionNotFoundError, "no such course"):
        student.enroll_in_course("nothing")
    with raises(sdk.MLArenaError, "create_course failed"):
        teacher.create_course("Learning", "L1", "2026-12-31", "2026-01-01")


def refusals(sdk, url, tokens):
    """What is refused, by the errors that the client has for it."""
    client = sdk.connect(tokens["user"], base_url=url)
    other = sdk.connect(tokens["other"], base_url=url)
    cid = the_first(client)
    aid = client.create_attached_agent(cid, "refused")["attache_agent_id"]

    scope, lookup, secret = tokens["user"].split("_", 3)[1:]
    for token in (
        f"mlk_{scope}_{lookup}_{'0' * len(secret)}",
        f"mlk_{scope}_ffffffff_{secret}",
        f"mlk_creator_{lookup}_{secret}",
        tokens["revoked"],
        tokens["expired"],
    ):
        with raises(sdk.AuthenticationError, "Invalid or missing"):
            sdk.connect(token, base_url=url).agent_status(cid, aid)
    with raises(sdk.AuthenticationError, "scope user"):
        sdk.connect(tokens["creator"], base_url=url).agent_status(cid, aid)
    with raises(sdk.AuthenticationError, "scope creator"):
        client.create_competition("Mine", "permuted_mnist")

    for call in (
        lambda: other.agent_status(cid, aid),
        lambda: other.list_agent_files(cid, aid),
        lambda: other.update_agent_file_content(cid, aid, "agent.py", AGENT),
        lambda: other.deploy_agent(cid, aid),
        lambda: other.delete_agent(cid, aid),
        lambda: other.agent_games(aid),
        lambda: other.agent_runtime(aid),
        lambda: other.create_attached_agent(cid, "copy", copy_from_agent_id=aid),
        lambda: client.agent_status(cid + 1000, aid),
        lambda: client.create_attached_agent(10**6, "nowhere"),
        lambda: client.leaderboard(10**6),
    ):
        with raises(sdk.CompetitionNotFoundError, "no such"):
            call()

    with raises(sdk.SubmissionError, "deploy_agent failed", "no agent.py"):
        client.deploy_agent(cid, aid)
    for source, words in (
        ("class Agent:\n    def train(self", "SyntaxError"),
        ("class Agent:\n    def train(self, X, y): pass\n", "predict"),
        ("x = 1\n", "class Agent"),
    ):
        answer = client.update_agent_file_content(cid, aid, "agent.py", source)
        assert answer["status"] == "upload_failed"
        assert words in answer["validation_message"], answer
        with raises(sdk.SubmissionError, "deploy_agent failed", words):
            client.deploy_agent(cid, aid)
    for name in ("../../x.py", "sub//agent.py", ".hidden", "a\\b.py", "..", "x" * 200):
        with raises(sdk.SubmissionError, "file's name"):
            client.update_agent_file_content(cid, aid, name, "x = 1\n")
    with raises(sdk.SubmissionError):
        client.create_attached_agent(cid, "../bad")

    assert client.update_agent_file_content(cid, aid, "agent.py", AGENT)["status"] == "upload_validated"
    with tempfile.TemporaryDirectory() as folder:
        limit = client.competition(cid)["max_upload_size_bytes"]
        big = Path(folder) / "agent.py"
        for size in (limit + 1, limit + 200_000_000):
            with big.open("wb") as file:
                file.truncate(size)
            with raises(sdk.SubmissionError, "bytes at the most"):
                client.upload_agent_file(cid, aid, str(big))
            assert client.get_agent_file_content(cid, aid, "agent.py") == AGENT
    allowed = client.competition(cid)["max_upload_files"]
    for number in range(allowed - 1):
        client.update_agent_file_content(cid, aid, f"helper_{number}.py", "")
    with raises(sdk.SubmissionError, f"{allowed} files at the most"):
        client.update_agent_file_content(cid, aid, "one_more.py", "")
    with raises(sdk.CompetitionNotFoundError):
        client.delete_agent_file(cid, aid, "nothing.py")
    with raises(sdk.MLArenaError):
        client.set_agent_runtime(aid, 10**6)
    client.delete_agent(cid, aid)
    with raises(sdk.CompetitionNotFoundError):
        client.agent_status(cid, aid)


def failures(sdk, url, tokens):
    """Agents that fail, each with its reason."""
    client = sdk.connect(tokens["user"], base_url=url)
    creator = sdk.connect(tokens["creator"], base_url=url)
    first, hurried = the_first(client), started(creator, "In a hurry", simulation_timeout_sec=6)
    head = "import os, time\nimport numpy as np\n\nclass Agent:\n"
    for cid, train, predict, kind, words in (
        (first, "raise KeyError('its own words')", "pass", "code_error", "its own words"),
        (first, "os._exit(3)", "pass", "crash", "status 3"),
        (first, "self.held = [np.ones(2**27) for _ in range(5)]", "pass", "oom_killed", "memory"),
        (first, "pass", "return [0.5] * len(X)", "code_error", "bad_output"),
        (first, "pass", "return [0]", "code_error", "bad_output"),
        (hurried, "time.sleep(600)", "pass", "timeout", "not done after 6 s"),
    ):
        aid = client.create_attached_agent(cid, "failing")["attache_agent_id"]
        source = f"{head}    def train(self, X, y):\n        {train}\n    def predict(self, X):\n        {predict}\n"
        client.update_agent_file_content(cid, aid, "agent.py", source)
        client.deploy_agent(cid, aid)
        status, lines = status_of(client, cid, aid)
        assert status["status"] == "deploy_failed", lines
        assert kind in status["last_status_message"], status
        assert words in status["last_status_message"], status
        assert status["run_info"]["results"][-1]["error_type"] == kind
        assert client.agent_deploy_status(cid, aid)["latestDeploy"]["status"] == "failed"
        assert aid not in {row["agentAttachId"] for row in rows(client.leaderboard(cid))}
        client.delete_agent(cid, aid)


SCENARIOS = {scenario.__name__: scenario for scenario in (participant, a_class, creator, courses, refusals, failures)}

if __name__ == "__main__":
    main()
