"""Real runs on a server of this machine: killed and resumed, made again from the journal, with forks, and given up."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from served_here import served_here

from ml_trainer_env.baselines.agent import Call, Script
from ml_trainer_env.baselines.session import CallRefusedError
from ml_trainer_env.bench.command import main
from ml_trainer_env.bench.from_journal import rows_from_journal
from ml_trainer_env.bench.games import find_game
from ml_trainer_env.bench.plan import Cell, EpisodeName, Plan, read_plan, write_plan
from ml_trainer_env.bench.record import append_row, read_rows
from ml_trainer_env.bench.rows import Row
from ml_trainer_env.bench.run import Target, count_workers, play_cell
from ml_trainer_env.server.room.results import list_runs
from ml_trainer_env.server.tuning.reference import FLOOR

TASKS = ("tuning/validation/26", "tuning/validation/66")
"""The two cheapest tasks of the split: 10 and 20 epochs of a perceptron, a tenth of a second together."""

AGENTS = "nothing,random"
CELLS = 4
LIMIT_S = 120.0


@dataclass
class Served:
    """A server's base URL and state folder."""

    url: str
    state: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server in this process."""
    state = tmp_path_factory.mktemp("state")
    with served_here(state) as (address, _):
        yield Served(f"http://{address}", state)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `.env` of whoever runs the tests, and their keys, make no difference."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ML_TRAINER_") or name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)


def arguments(server, folder: Path, agents: str = AGENTS) -> list[str]:
    return ["run", "--tasks", ",".join(TASKS), "--agents", agents, "--base-url", server.url, "--out", str(folder)]


def comparable(rows: Sequence[Row]) -> list[Row]:
    """Rows without what two runs may differ in: the name of the episode, and the time."""
    return [replace(row, episode_id="", seconds=None) for row in rows]


def recorded(folder: Path) -> list[Row]:
    plan = read_plan(folder)
    assert plan is not None
    rows = read_rows(folder / "results.jsonl")
    return [rows[cell] for cell in plan.cells()]


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_and_comes_to_the_same(server, tmp_path: Path, capsys) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(arguments(server, whole)) == 0

    program = [sys.executable, "-m", "ml_trainer_env.bench.command", *arguments(server, killed), "--parallel", "1"]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        ends_at = time.monotonic() + LIMIT_S
        while not read_rows(killed / "results.jsonl") and process.poll() is None and time.monotonic() < ends_at:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    before = (killed / "results.jsonl").read_bytes()
    assert 1 <= len(read_rows(killed / "results.jsonl")) < CELLS
    with (killed / "results.jsonl").open("ab") as file:
        file.write(b'{"agent": "noth')  # as a kill in the middle of a line would leave it

    capsys.readouterr()
    assert main(arguments(server, killed)) == 0
    assert (killed / "results.jsonl").read_bytes().startswith(before)
    assert capsys.readouterr().out.count(" seed own: ") == CELLS - before.count(b"\n")
    assert comparable(recorded(killed)) == comparable(recorded(whole))
    assert {EpisodeName.read(row.episode_id).attempt for row in recorded(killed)} == {1, 2}

    assert (killed / "report.html").exists()


@pytest.mark.slow
def test_a_run_may_grow_and_its_rows_can_be_made_again_from_the_journal(server, tmp_path: Path) -> None:
    folder = tmp_path / "bench" / "again"
    assert main(arguments(server, folder)) == 0
    first = recorded(folder)
    assert main([*arguments(server, folder, "nothing,random,recipe"), "--seeds", "own,3"]) == 0
    plan, before, written = read_plan(folder), recorded(folder), (folder / "tables.md").read_text()
    assert plan is not None
    assert (len(first), len(before)) == (CELLS, 2 * 3 * 2)
    assert set(first) < set(before)

    found = rows_from_journal(plan, server.state, {})
    assert found == [replace(row, seconds=None, tokens=None) for row in before]
    assert any(row.refused for row in found)
    shown = httpx.get(f"{server.url}/room/api/episodes", params={"agent": "recipe"}, trust_env=False).json()["episodes"]
    assert {row.episode_id for row in before if row.agent == "recipe"} <= {one["name"] for one in shown}
    (run,) = list_runs(tmp_path, 1)
    assert (len(run.episodes), set(run.scores), run.has_report) == (len(before), set(plan.agents), True)

    (folder / "tables.md").unlink()
    assert main(["from-journal", str(folder), "--state-dir", str(server.state)]) == 0
    assert recorded(folder) == before
    assert (folder / "tables.md").read_text() == written


@pytest.mark.slow
def test_a_server_tells_its_number_of_workers(start_server) -> None:
    assert count_workers(start_server(ML_TRAINER_WORKERS="2").url, {}) == 2


class _Quitter:
    """Trains a little and submits nothing."""

    name = "quitter"

    def script(self, brief, tools) -> Script:
        yield Call("run_epochs", {"num_epochs": 2})


class _Forker:
    """Trains two branches, asks for more than the tree has, and submits the second branch and then the first."""

    name = "forker"

    def play(self, sessions):
        first = sessions.begin()
        first.call("run_epochs", {"num_epochs": 4})
        second = sessions.fork(first)
        first.call("run_epochs", {"num_epochs": 1})
        second.call("run_epochs", {"num_epochs": 2})
        with pytest.raises(CallRefusedError, match="3 epochs left of 10"):
            second.call("run_epochs", {"num_epochs": 4})
        second.call("run_epochs", {"num_epochs": 3})
        with pytest.raises(CallRefusedError, match="0 epochs left"):
            first.call("run_epochs", {"num_epochs": 1})
        second.call("submit_model", {})
        first.call("submit_model", {})
        return second


def played(server, agent, folder: Path) -> tuple[Row, list[Row]]:
    """Let an agent play the cheapest task. Returns its row, and the rows of the journal."""
    cell = Cell(agent.name, TASKS[0], "own")
    plan = Plan(folder.name, "tuning", "", (cell.task,), (cell.agent,), (cell.seed,), baseline=cell.agent, attempts=1)
    write_plan(folder, plan)
    name = EpisodeName(plan.name, cell, plan.attempts)
    row = play_cell(find_game("tuning"), name, agent, Target(server.url, {}))
    append_row(folder / "results.jsonl", row)
    return row, rows_from_journal(plan, server.state, {})


def test_an_agent_that_submits_nothing_gave_up_and_the_journal_knows_it(server, tmp_path: Path) -> None:
    row, found = played(server, _Quitter(), tmp_path / "quit")

    assert (row.score, row.counted, row.spent, row.calls) == (None, FLOOR, 2.0, 1)
    assert found == [replace(row, seconds=None, tokens=None)]


def test_a_tree_of_forks_has_one_budget_and_its_first_submission_counts(server, tmp_path: Path) -> None:
    row, found = played(server, _Forker(), tmp_path / "fork")

    assert (row.spent, row.budget, row.episodes) == (10.0, 10.0, 2)
    assert EpisodeName.read(row.episode_id).fork == 1
    assert row.calls == 6
    assert row.score is not None
    assert found == [replace(row, seconds=None, tokens=None)]


class _ChatApi(BaseHTTPRequestHandler):
    """A language model that trains for two epochs and submits. A request costs 110 tokens."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        begins = not any(message["role"] == "assistant" for message in asked["messages"])
        name, given = ("run_epochs", {"num_epochs": 2}) if begins else ("submit_model", {})
        call = {"id": "1", "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": "small",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        pass


@pytest.fixture
def chat_url() -> Iterator[str]:
    """The base URL of a language model."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _ChatApi) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}/v1"
        http.shutdown()


@pytest.mark.slow
def test_the_tokens_of_a_language_model_are_counted_for_each_play(
    server, chat_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"OPENAI_API_KEY": "a key", "API_BASE_URL": chat_url, "LLM_RPM_LIMIT": "1000"}.items():
        monkeypatch.setenv(name, value)
    assert main(arguments(server, tmp_path / "model", "nothing,llm")) == 0

    rows = recorded(tmp_path / "model")
    assert [(row.agent, row.tokens, row.spent > 2) for row in rows] == [("nothing", 0, True), ("llm", 220, False)] * 2
    assert "a key" not in "".join(file.read_text() for file in (tmp_path / "model").glob("*.*"))


@pytest.mark.slow
def test_the_fleet_is_played_and_read_again_too(server, tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    options = ["--game", "fleet", "--tasks", "0", "--agents", "nothing,detective", "--base-url", server.url]
    assert main(["run", *options, "--out", str(folder)]) == 0

    plan, before = read_plan(folder), recorded(folder)
    assert plan is not None
    assert before[0].kinds
    assert rows_from_journal(plan, server.state, {}) == [replace(row, seconds=None, tokens=None) for row in before]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--agents", "clever", "--out", "x"], "no agent of tuning is called clever"),
        (["run", "--game", "chess", "--out", "x"], "there is no game 'chess'"),
        (["run", "--tasks", "none:", "--out", "x"], "'none:'"),
        (["run", "--agents", "nothing", "--baseline", "prober", "--out", "x"], "baseline 'prober'"),
        (["run", "--agents", "llm", "--out", "x"], "needs a key"),
        (["report", "nowhere"], "not the folder of a run"),
        (["from-journal", "nowhere"], "not the folder of a run"),
    ],
)
def test_what_the_user_can_mend_is_said_in_one_line(words: list[str], said: str, capsys) -> None:
    assert main(words) == 2

    printed = capsys.readouterr().err
    assert printed.startswith("ml-trainer-bench: ")
    assert said in printed
    assert printed.count("\n") == 1
