"""A ranked server, played over its wire: no second try, no fork, no hidden figure before the run is closed."""

import asyncio
import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import uvicorn
from fastmcp import Client
from fastmcp.exceptions import ToolError
from openenv.core.mcp_client import MCPToolClient

from ml_trainer_env import MLTrainerEnv, ToolCallError
from ml_trainer_env.client import ResetRefusedError
from ml_trainer_env.server.app import build_app
from ml_trainer_env.server.commands import journal, ranked
from ml_trainer_env.server.datasets import ExampleDraw, draw_examples
from ml_trainer_env.server.episodes.errors import ResetError
from ml_trainer_env.server.episodes.game import Game
from ml_trainer_env.server.episodes.registry import EpisodeRequest
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.services import Services
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.store import Database, RankedRun, RankedRunError
from ml_trainer_env.server.store.folder import JOURNAL_FILE
from ml_trainer_env.server.store.ranked import begin_task
from ml_trainer_env.server.store.tables import WITHHELD
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.trainer.changes import Change, ChangeKind
from ml_trainer_env.server.trainer.kinds import AugmentationKind, NetworkKind
from ml_trainer_env.server.trainer.network_specs import NetworkSpec
from ml_trainer_env.server.tuning.families.instance import Instance
from ml_trainer_env.server.tuning.families.table import Row, row_to_json
from ml_trainer_env.server.tuning.game import TuningGame
from ml_trainer_env.server.tuning.reference import FLOOR, Reference

SECRET, OTHER_SECRET = "a-secret-of-the-operator", "another-secret-of-theirs"
TOKEN = "a-token-of-sixteen-or-more"

FIGURES = {"score", "details", "grade", "test_accuracy", "x", "oracle", "default", "submitted", "best"} | {
    f"{model}_{figure}" for model in ("submitted", "best") for figure in ("accuracy", "loss")
}
"""Names of all that a ranked run tells when it is closed."""


def row(number: int, **changes: Any) -> Row:
    """A tiny calibrated task: its references are set, not measured."""
    examples = ExampleDraw("small_digits", (0, 1, 2, 3, 4, 5 + number), 200, 200, 300, seed=number)
    network = NetworkSpec(NetworkKind.MLP, (1, 8, 8), 6, 1, 16)
    instance = Instance(examples, network, AugmentationKind.NONE, 1.0, 6, 64, seed=number, **changes)
    checksum = draw_examples(examples).checksum
    return Row(number, instance, Reference(0.31, 0.97, 0.0123), number + 1, 0.87, checksum, "identity")


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of three tasks; in one of them labels turn noisy on the way."""
    noisy = {"change": Change(ChangeKind.NOISY_LABELS, 0.3, 5), "change_after": 2}
    rows = [row(0), row(1, **noisy), row(2)]
    file = tmp_path_factory.mktemp("table") / "test.jsonl"
    file.write_text("\n".join(map(row_to_json, rows)) + "\n")
    return file


@dataclass
class Ranked:
    """A ranked server of a test."""

    url: str
    variables: dict[str, str]

    @contextmanager
    def client(self) -> Iterator[MLTrainerEnv]:
        with MLTrainerEnv(base_url=self.url) as env:
            yield env


class Operator:
    """Starts ranked servers and runs the commands, always in one state folder."""

    def __init__(self, folder: Path, table: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self._folder, self._table, self._monkeypatch, self._capsys = folder, table, monkeypatch, capsys

    def variables(self, secret: str = SECRET) -> dict[str, str]:
        return {
            "ML_TRAINER_STATE_DIR": str(self._folder),
            "ML_TRAINER_DOWNLOAD": "no",
            "ML_TRAINER_TORCH_THREADS": "1",
            "ML_TRAINER_RANKED": secret,
            "ML_TRAINER_RANKED_TABLE": str(self._table),
        }

    def database(self) -> Database:
        return Database(self._folder / JOURNAL_FILE)

    @contextmanager
    def serve(self, secret: str = SECRET, **more: str) -> Iterator[Ranked]:
        """Serve on loopback from another thread of this process."""
        variables = {**self.variables(secret), **more}
        app = build_app(Settings.from_environment(variables), InProcessExecutor(1, probe=PROBE))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                thread.join(0.01)
            yield Ranked(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", variables)
        finally:
            server.should_exit = True
            thread.join()

    def run(self, command: Any, *words: str, secret: str = SECRET) -> tuple[int, str]:
        """Run a command. Returns its exit status and all that it printed."""
        for name, value in self.variables(secret).items():
            self._monkeypatch.setenv(name, value)
        status = command.main(list(words))
        captured = self._capsys.readouterr()
        return status, captured.out + captured.err


@pytest.fixture
def operator(tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Operator:
    return Operator(tmp_path, table, monkeypatch, capsys)


def play(env: MLTrainerEnv, task_id: str, epochs: int = 4) -> dict[str, Any]:
    """Begin a task, train a little and submit. Returns the reply of the submission."""
    env.reset(task_id=task_id)
    env.call_tool("configure_training", learning_rate=0.01)
    env.call_tool("run_epochs", num_epochs=epochs)
    return env.call_tool("submit_model")


def keys_of(value: object) -> set[str]:
    """All keys of nested JSON."""
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


def refused(env: MLTrainerEnv, **options: Any) -> str:
    with pytest.raises(ResetRefusedError) as caught:
        env.reset(**options)
    return str(caught.value)


def test_a_task_is_begun_once_and_never_forked(operator: Operator) -> None:
    with operator.serve() as server, server.client() as env, server.client() as another:
        name = env.reset(task_id="ranked/1").observation.episode_id
        env.call_tool("run_epochs", num_epochs=1)

        assert f"ranked/1 was begun as episode {name!r}" in refused(another, task_id="ranked/1")
        assert "begun once" in refused(another, task_id="ranked/1", episode_id="another")
        assert "begun once" in refused(another, split="ranked", index=1)
        assert "draws its own seed" in refused(another, task_id="ranked/0", seed=3)
        assert "nothing is forked" in refused(another, fork_from=name)
        assert "nothing is forked" in refused(another, fork_from=f"{name}@0")
        assert "in this ranked run" in refused(another, episode_id="unknown", resume=True)
        assert "rubric v1 does not grade ranked/2" in refused(another, task_id="ranked/2", rubric="v1")
        for elsewhere in ("easy_mnist", "tuning/test/0", "tuning/train/5", "ranked/3", "ranked/01"):
            assert "its tasks are ranked/0 to ranked/2" in refused(another, task_id=elsewhere)

        resumed = another.reset(episode_id=name, resume=True).observation
        assert (resumed.resumed, resumed.status.current_epoch) == (True, 1)
        another.call_tool("submit_model")
        assert f"episode {name!r} of ranked/1 has ended" in refused(env, episode_id=name, resume=True)
        assert "begun once" in refused(env, task_id="ranked/1")


def test_mcp_and_http_refuse_as_the_socket_does(operator: Operator) -> None:
    async def by_mcp(url: str, given: dict[str, Any]) -> str:
        async with Client(f"{url}/mcp") as client:
            with pytest.raises(ToolError) as caught:
                await client.call_tool("start_task", given)
            return str(caught.value)

    with operator.serve() as server, server.client() as env:
        name = env.reset(task_id="ranked/0").observation.episode_id

        for given, words in (
            ({"task_id": "ranked/0"}, "begun once"),
            ({}, "ranked/0 was begun"),
            ({"task_id": "ranked/1", "seed": 1}, "draws its own seed"),
            ({"fork_from": name}, "nothing is forked"),
            ({"task_id": "easy_mnist"}, "this server is ranked"),
        ):
            answer = httpx.post(f"{server.url}/reset", json=given, trust_env=False)

            assert words in asyncio.run(by_mcp(server.url, given))
            assert (answer.status_code, words in answer.text) == (422, True)


def test_a_task_that_mcp_began_is_begun_on_every_surface_and_its_grade_told_on_none(operator: Operator) -> None:
    async def play_by_mcp(url: str) -> list[Any]:
        async with Client(f"{url}/mcp") as client:
            listed = await client.call_tool("list_tasks", {})
            begun = await client.call_tool("start_task", {"task_id": "ranked/2", "episode_id": "mine"})
            trained = await client.call_tool("run_epochs", {"num_epochs": 2})
            submitted = await client.call_tool("submit_model", {})
            return [one.structured_content for one in (listed, begun, trained, submitted)]

    with operator.serve() as server, server.client() as env:
        replies = asyncio.run(play_by_mcp(server.url))

        assert replies[0]["splits"] == {"ranked": 3}
        assert replies[3]["done"] is True
        assert not keys_of(replies) & FIGURES
        assert "ranked/2 was begun as episode 'mine'" in refused(env, task_id="ranked/2")
        assert "has ended" in refused(env, episode_id="mine", resume=True)


def test_a_submission_by_json_rpc_tells_no_grade(operator: Operator) -> None:
    with operator.serve() as server, MCPToolClient(base_url=server.url).sync() as stock:
        stock.reset(task_id="ranked/0")
        session_id = stock.async_client._production_session_id

        def call(tool: str, **arguments: Any) -> dict[str, Any]:
            params = {"session_id": session_id, "name": tool, "arguments": arguments}
            request = {"jsonrpc": "2.0", "method": "tools/call", "params": params, "id": 1}
            answer = httpx.post(f"{server.url}/mcp", json=request, trust_env=False).json()
            return json.loads(answer["result"]["content"][0]["text"])

        call("run_epochs", num_epochs=1)
        submitted = call("submit_model")

        assert (submitted["done"], submitted["reward"]) == (True, 0.0)
        assert not keys_of([submitted, call("get_training_status"), stock.state().model_dump()]) & FIGURES


def test_no_reply_page_metric_log_or_export_tells_a_grade_while_the_run_is_open(
    operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    with operator.serve() as server, server.client() as env:
        begun = env.reset(task_id="ranked/0").observation.model_dump(mode="json")
        trained = env.call_tool("run_epochs", num_epochs=5)
        submitted = env.call_tool("submit_model")
        later = [env.call_tool("get_training_status"), env.state().model_dump(mode="json")]
        metrics = httpx.get(f"{server.url}/metrics", trust_env=False).text
        _, listed = operator.run(journal, "list")
        exports = [operator.run(journal, "export", "--all", "--format", form)[1] for form in ("trajectory", "chat")]
        status, progress = operator.run(ranked, "report")

        assert submitted["message"] == "Submitted. The score is told when the ranked run is closed."
        assert (submitted["done"], submitted["reward"]) == (True, 0.0)
        assert submitted["reward_parts"]["submission"] == 0.0
        assert (status, "1 of 3 tasks begun, 1 ended" in progress) == (1, True)
        exported = [json.loads(text) for text in exports]
        assert [one.pop("score") for one in exported] == [None, None]
        told = [json.loads(one["content"]) for one in exported[1]["messages"] if one["role"] in {"user", "tool"}]
        assert not keys_of([begun, trained, submitted, *later, *exported, *told]) & FIGURES

    with contextlib.closing(operator.database()) as database:
        (kept,) = database.read_now(
            lambda connection: connection.execute(sa.select(WITHHELD.c.figures)).scalars().all()
        )
    assert keys_of(kept) == FIGURES - {"grade", "test_accuracy"}
    for text in (metrics, listed, *exports, caplog.text):
        assert str(kept["submitted_loss"]) not in text


def test_the_training_room_tells_no_figure_of_an_ended_episode(operator: Operator) -> None:
    with operator.serve() as server, server.client() as env, httpx.Client(base_url=server.url, trust_env=False) as http:
        play(env, "ranked/0")
        shown = http.get("/room/api/episode", params={"name": env.episode_id}).raise_for_status().json()
        listed = http.get("/room/api/episodes").raise_for_status().json()

    told = [shown.pop("episode"), *listed["episodes"]]
    assert [one.pop("score") for one in told] == [None, None]
    assert not keys_of([*told, shown["calls"]]) & FIGURES


def test_a_restart_keeps_what_was_begun_and_comes_to_the_same_grade(operator: Operator) -> None:
    with operator.serve() as server, server.client() as env:
        play(env, "ranked/0")
        ended = env.episode_id
        checksum = env.reset(task_id="ranked/1", episode_id="open").observation.task.dataset.checksum
        env.call_tool("run_epochs", num_epochs=2)

    with operator.serve(OTHER_SECRET) as server, server.client() as env:
        assert "no episode 'open' in this ranked run" in refused(env, episode_id="open", resume=True)
        others = {env.reset(task_id=f"ranked/{index}").observation.task.dataset.checksum for index in range(3)}
        assert checksum not in others
        assert "choose another episode_id" in refused(env, task_id="ranked/1", episode_id="open")

    with operator.serve() as server, server.client() as env:
        assert "begun once" in refused(env, task_id="ranked/0")
        assert "begun once" in refused(env, task_id="ranked/1")
        assert "has ended" in refused(env, episode_id=ended, resume=True)
        resumed = env.reset(episode_id="open", resume=True).observation
        assert (resumed.status.current_epoch, resumed.task.dataset.checksum) == (2, checksum)
        env.call_tool("submit_model")

    status, verdict = operator.run(journal, "replay", ended, "open")
    assert (status, verdict.count("the same: ")) == (0, 2)
    assert "ranked/" in operator.run(journal, "replay", "open", secret=OTHER_SECRET)[1]


def test_a_run_goes_on_only_with_the_tasks_that_it_began_with(operator: Operator) -> None:
    run = RankedRun("a run", {"tasks": "3"})
    with contextlib.closing(operator.database()) as database:
        database.submit(lambda connection: begin_task(connection, run, "ranked/0", "mine")).result()
        fewer = database.submit(lambda c: begin_task(c, replace(run, facts={"tasks": "2"}), "ranked/1", "another"))

        with pytest.raises(RankedRunError, match="began with tasks 3, and this server has 2"):
            fewer.result()


def test_a_replay_that_comes_to_another_grade_is_reported(operator: Operator) -> None:
    with operator.serve() as server, server.client() as env:
        play(env, "ranked/0", epochs=1)
        name = env.episode_id
    with contextlib.closing(operator.database()) as database:
        grown = sa.update(WITHHELD).values(figures=sa.func.json_set(WITHHELD.c.figures, "$.score", 0.99))
        database.submit(lambda connection: connection.execute(grown)).result()

    status, verdict = operator.run(journal, "replay", name)

    assert (status, "submit_model, was graded differently" in verdict) == (1, True)
    assert "0.99" not in verdict


def test_the_closing_report_counts_what_has_no_grade_as_the_floor_and_ends_the_run(operator: Operator) -> None:
    with operator.serve() as server, server.client() as env, server.client() as another:
        play(env, "ranked/2")
        env.reset(task_id="ranked/0", episode_id="open")
        env.call_tool("run_epochs", num_epochs=1)

        status, text = operator.run(ranked, "close", "--format", "json")
        report = json.loads(text)
        open_one, not_begun, ended = report["scores"]

        assert (status, report["ranked"], report["begun"], report["ended"]) == (0, True, 2, 1)
        assert [row["status"] for row in report["scores"]] == ["unfinished", "not begun", "ended"]
        assert [open_one["score"], not_begun["score"]] == [FLOOR, FLOOR]
        x = (ended["submitted"] - 0.31) / (0.97 - 0.31)
        assert ended["x"] == pytest.approx(x, abs=1e-3)
        assert ended["score"] == pytest.approx(max(FLOOR, min(1.0, x)), abs=1e-3)
        assert (ended["default"], ended["oracle"], ended["deviation"]) == (0.31, 0.97, 0.0123)
        assert report["mean_score"] == pytest.approx((ended["score"] + 2 * FLOOR) / 3, abs=1e-4)
        assert report["interval_95"][0] < report["mean_score"] < report["interval_95"][1]
        with pytest.raises(ToolCallError, match="taken this episode over"):
            env.call_tool("submit_model")
        for options in ({"task_id": "ranked/1"}, {"task_id": "ranked/0"}, {"episode_id": "open", "resume": True}):
            assert "is closed" in refused(another, **options)

    again = operator.run(ranked, "close", "--format", "json")
    text = operator.run(ranked, "report")[1]
    assert again == (0, json.dumps(report, indent=2) + "\n")
    assert text.startswith(f"ranked: mean score {report['mean_score']:.4f} over 3 tasks, 95 % interval")


def test_a_run_whose_tasks_have_all_ended_reports_without_being_closed(operator: Operator) -> None:
    with operator.serve() as server, server.client() as env:
        for index in range(3):
            play(env, f"ranked/{index}", epochs=1)

    assert operator.run(journal, "prune", "--older-than", "0d")[0] == 0
    status, text = operator.run(ranked, "report", "--format", "json")
    assert (status, json.loads(text)["ended"]) == (0, 3)


def test_callers_without_the_token_of_the_agent_reach_nothing(operator: Operator) -> None:
    with operator.serve(ML_TRAINER_TOKEN=TOKEN) as server:
        own = {"Authorization": f"Bearer {TOKEN}"}
        with MLTrainerEnv(base_url=server.url, headers=own) as env:
            name = env.reset(task_id="ranked/0").observation.episode_id
        for headers in ({}, {"Authorization": "Bearer of-another-agent-here"}):
            given = {"episode_id": name, "resume": True}
            answer = httpx.post(f"{server.url}/reset", json=given, headers=headers, trust_env=False)
            assert answer.status_code == 401


@pytest.mark.slow
def test_a_server_that_is_not_ranked_neither_forks_nor_resumes_a_ranked_episode(operator: Operator) -> None:
    variables = operator.variables()
    plain = {name: value for name, value in variables.items() if "RANKED" not in name}

    async def ask(chosen: dict[str, str], **request: Any) -> str:
        services = Services(Settings.from_environment(chosen), InProcessExecutor(1, probe=PROBE))
        try:
            opened = await services.registry.open(EpisodeRequest(**request))
        except ResetError as error:
            return str(error)
        else:
            opened.close()
            return "opened"
        finally:
            await services.close()

    assert asyncio.run(ask(variables, task_id="ranked/0", episode_id="mine")) == "opened"
    assert "unknown task 'ranked/0'" in asyncio.run(ask(plain, fork_from="mine"))
    assert "unknown task 'ranked/0'" in asyncio.run(ask(plain, episode_id="mine", resume=True))
    assert "of a ranked run" in asyncio.run(ask(plain, task_id="tuning/train/3", episode_id="mine"))
    assert asyncio.run(ask(variables, episode_id="mine", resume=True)) == "opened"


@pytest.mark.slow
def test_a_killed_server_loses_no_beginning_and_no_grade(operator: Operator, start_server: Any) -> None:
    variables = operator.variables()
    with start_server(**variables) as server, MLTrainerEnv(base_url=server.url) as env:
        play(env, "ranked/0", epochs=1)
        env.reset(task_id="ranked/1")
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait()

    with start_server(**variables) as server, MLTrainerEnv(base_url=server.url) as env:
        for task in ("ranked/0", "ranked/1"):
            assert "begun once" in refused(env, task_id=task)

    report = json.loads(operator.run(ranked, "close", "--format", "json")[1])
    assert [row["status"] for row in report["scores"]] == ["ended", "unfinished", "not begun"]


def test_a_ranked_server_has_the_tuning_game_alone(operator: Operator) -> None:
    settings = Settings.from_environment(operator.variables())
    tuning = TuningGame(settings.data, settings.limits)

    async def prefixes(games: Mapping[str, Game] | None) -> list[str]:
        services = Services(settings, InProcessExecutor(1, probe=PROBE), games)
        await services.close()
        return list(services.registries)

    assert asyncio.run(prefixes(None)) == [""]
    with pytest.raises(ValueError, match="a ranked server has one game, got 2"):
        asyncio.run(prefixes({"": tuning, "/fleet": tuning}))
