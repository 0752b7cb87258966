"""The record of a run: every event on a line of its own, and no secret in any."""

import json
from contextlib import nullcontext

import pytest
from drawn_session import DrawnSession, DrawnSessions, Model

from ml_trainer_env.baselines.play import play
from ml_trainer_env.baselines.progress import LineProgress
from ml_trainer_env.baselines.random_agent import RandomAgent
from ml_trainer_env.baselines.run import Plan, play_all
from ml_trainer_env.baselines.run_log import RunLog, record_nothing
from ml_trainer_env.baselines.search.population import PopulationAgent


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_event_is_a_line_with_its_time_and_kind(tmp_path):
    with RunLog(tmp_path / "logs" / "run.jsonl") as log:
        log("call", {"tool": "run_epochs", "arguments": {"num_epochs": 3}})

    (event,) = lines(tmp_path / "logs" / "run.jsonl")
    assert event["kind"] == "call"
    assert event["arguments"] == {"num_epochs": 3}
    assert event["time"].endswith("+00:00")


def test_an_event_is_on_disk_at_once(tmp_path):
    with RunLog(tmp_path / "run.jsonl") as log:
        log("call", {})
        assert len(lines(tmp_path / "run.jsonl")) == 1


def test_secrets_are_hidden_however_deep(tmp_path):
    with RunLog(tmp_path / "run.jsonl", secrets=('sk-"1', "hf_2")) as log:
        log("message", {"content": 'my key is sk-"1', "deep": [{"hf_2": ("hf_2", ValueError("hf_2"))}]})

    text = (tmp_path / "run.jsonl").read_text()
    assert "sk-" not in text
    assert "hf_2" not in text


def test_numbers_that_are_not_finite_become_null(tmp_path):
    with RunLog(tmp_path / "run.jsonl") as log:
        log("reply", {"loss": [float("nan"), float("inf"), 1.5]})

    assert lines(tmp_path / "run.jsonl")[0]["loss"] == [None, None, 1.5]


def test_a_run_records_every_call_reply_and_result(tmp_path, make_session, capsys):
    opened = []

    def open_session(task, seed):
        opened.append((task, seed))
        return make_session(seed=42 if seed is None else seed)

    with RunLog(tmp_path / "run.jsonl") as log:
        plan = Plan(("a", "b"), episodes=2)
        results = list(play_all(plan, RandomAgent(), open_session, log, LineProgress(), lambda: 0))

    kinds = [event["kind"] for event in lines(tmp_path / "run.jsonl")]
    calls = sum(len(result.calls) for result in results)
    assert opened == [("a", None), ("a", 43), ("b", None), ("b", 43)]
    assert (kinds.count("episode"), kinds.count("result")) == (4, 4)
    assert kinds.count("call") == kinds.count("reply") == calls
    replies = [event for event in lines(tmp_path / "run.jsonl") if event["kind"] == "reply"]
    assert all("seconds" in event and ("reward" in event or "refusal" in event) for event in replies)
    assert capsys.readouterr().out.count("score 0.9") == 4


def test_a_seed_counts_up_over_the_episodes_of_a_task(make_session):
    opened = []

    def open_session(_task, seed):
        opened.append(seed)
        return make_session(seed=seed)

    plan = Plan(("a",), seed=7, episodes=3)
    list(play_all(plan, RandomAgent(), open_session, record_nothing, LineProgress()))

    assert opened == [7, 8, 9]


def test_playing_needs_no_log(make_session):
    assert play(RandomAgent(), make_session())[-1].outcome.done


def test_an_agent_that_forks_is_one_episode_with_the_turns_of_all_its_branches():
    sessions = DrawnSessions(budget=16, start=Model(2, 0.7))
    events = []

    (result,) = play_all(
        Plan(("a",)),
        PopulationAgent(),
        lambda *_: DrawnSession(),
        lambda kind, _: events.append(kind),
        LineProgress(),
        open_sessions=lambda *_: nullcontext(sessions),
    )

    assert result.played_to_end
    assert len(result.calls) == sum(len(session.calls) for session, _ in sessions.opened)
    assert [call.number for call in result.calls] == list(range(1, len(result.calls) + 1))
    assert events.count("episode") == events.count("result") == 1


def test_an_agent_that_forks_needs_sessions_that_fork():
    with pytest.raises(ValueError, match="pbt forks, and nothing was given that forks"):
        list(play_all(Plan(("a",)), PopulationAgent(), lambda *_: DrawnSession(), record_nothing, LineProgress()))
