"""The fleet on real servers: beside the tuning game, and alone."""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fleet_words import drawn, leaks
from openenv.validation.graders import Subject
from openenv.validation.graders.runtime import ObservationSchemaGrader, RewardWellFormedGrader, StateContractGrader
from openenv.validation.manifest import NormalizedManifestV2
from openenv.validation.parsers.openenv_yaml import OpenEnvYamlParser
from openenv.validation.runtime.collector import collect_runtime_evidence
from openenv.validation.runtime.contracts import load_runtime_plan
from openenv.validation.types import CheckStatus
from websockets.sync.client import connect

from ml_trainer_env.server.fleet.incidents import Incident
from ml_trainer_env.server.fleet.tasks import SPLITS, count_tasks
from ml_trainer_env.server.fleet.tools import TOOLS
from ml_trainer_env.server.fleet_app import games
from ml_trainer_env.server.settings import Settings, SettingsError

ROOT = Path(__file__).resolve().parents[2]
FLEET = "/fleet/ml_trainer_fleet"
COUNTS = {"named": 12, "train": 512, "validation": 128, "test": 128}
ONE_WORKER = {"ML_TRAINER_WORKERS": "1", "ML_TRAINER_TORCH_THREADS": "1"}

StartServer = Callable[..., Any]


class Client:
    """A client of the WebSocket."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    def ask(self, kind: str, **data: Any) -> Any:
        self._socket.send(json.dumps({"type": kind, "data": data} if kind != "state" else {"type": kind}))
        answer = json.loads(self._socket.recv(timeout=120))
        assert answer["type"] != "error", answer
        return answer["data"]

    def reply(self, tool: str, **arguments: Any) -> dict[str, Any]:
        observed = self.ask("step", type="call_tool", tool_name=tool, arguments=arguments)["observation"]
        assert observed["error"] is None, observed
        return dict(observed["result"]["data"])


@contextmanager
def session(url: str, **options: Any) -> Iterator[tuple[Client, dict[str, Any]]]:
    with connect(url.replace("http", "ws") + "/ws") as socket:
        client = Client(socket)
        yield client, client.ask("reset", **options)["observation"]


def validate(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "openenv.cli", "validate", *arguments, "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return dict(json.loads(run.stdout))


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "/fleet"])
def test_both_games_of_the_program_pass_openenvs_validation_of_a_running_server(live_server: str, prefix: str) -> None:
    summary = validate("--url", live_server + prefix, "--timeout", "30")["summary"]

    assert (summary["passed_count"], summary["total_count"]) == (6, 6)


@pytest.mark.slow
def test_the_task_api_has_the_tasks_of_all_splits_and_their_ids_lead_back(live_server: str) -> None:
    with httpx.Client(base_url=live_server, timeout=60.0, trust_env=False) as http:

        def post(path: str, **body: Any) -> Any:
            return http.post(f"{FLEET}/{path}", json=body).json()

        assert [row["name"] for row in http.get(f"{FLEET}/splits").json()] == list(SPLITS) == list(COUNTS)
        for split, count in COUNTS.items():
            assert post("num_tasks", split=split)["num_tasks"] == count
            last = post("task", split=split, index=count - 1)["task"]
            page = post("task_range", split=split, start=count - 5, stop=count)["tasks"]
            assert len(page) == 5
            assert page[-1] == last
            assert len({task["id"] for task in page}) == 5
            assert http.post(f"{FLEET}/task", json={"split": split, "index": count}).status_code == 400
            begun = http.post("/fleet/reset", json={"task_id": last["id"]}).json()["observation"]
            assert (begun["task"]["id"], begun["task"]["index"]) == (last["id"], count - 1)
        assert len(post("tasks", split="train")["tasks"]) == 512
        named = post("tasks", split="named")["tasks"]
        assert all("seed" not in task and "incident" not in task for task in named)


def test_an_unknown_task_is_refused_with_the_tasks_that_there_are(live_server: str) -> None:
    answer = httpx.post(f"{live_server}/fleet/reset", json={"task_id": "fleet/train/512"})

    assert answer.status_code == 422
    assert "train (512)" in answer.json()["detail"]
    for task in ("fleet/train/01", "fleet/train/-1", "fleet/none/0", "fleet/train/", "fleet"):
        assert httpx.post(f"{live_server}/fleet/reset", json={"task_id": task}).status_code == 422


@pytest.mark.slow
def test_no_surface_of_a_real_server_has_a_word_of_the_scenario_before_the_end(start_server: StartServer) -> None:
    heard: dict[str, str] = {}
    with start_server(**ONE_WORKER) as server:
        folder = server.log_path.parent / "state"
        url, task = f"{server.url}/fleet", drawn(Incident.SILENT_CORRUPTION)
        rpc = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        with session(url, task_id=task, seed=3, episode_id="secret") as (client, begun):
            heard["reset"] = json.dumps(begun)
            heard["steps"] = json.dumps(client.reply("run_steps", num_steps=3))
            heard["log"] = json.dumps(client.reply("read_log", rank=2, tail=20))
            heard["OpenEnv's state"] = json.dumps(client.ask("state"))
            refused = client.ask("step", type="call_tool", tool_name="restart", arguments={"checkpoint": "x"})
            heard["refusal"] = json.dumps(refused)
            for path in ("/schema", "/metadata", "/state", "/openapi.json", "/metrics", "/ready", "/list_environments"):
                heard[path] = httpx.get(url + path).text
            heard["tools of MCP"] = httpx.post(f"{url}/mcp", json=rpc).text
            row = {"split": "train", "index": int(task.rpartition("/")[2])}
            heard["task API"] = httpx.post(f"{server.url}{FLEET}/task", json=row).text
        heard["export"] = journal_of(folder, "export", "secret", "--format", "chat")
        heard["trajectory"] = journal_of(folder, "export", "secret")
        heard["list"] = journal_of(folder, "list")
        heard["log of the server"] = server.log

    assert {place: leaks(text) for place, text in heard.items() if leaks(text)} == {}
    assert all(len(text) > 10 for place, text in heard.items() if place != "log of the server")


def journal_of(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "ml_trainer_env.server.commands.journal", *arguments]
    variables = {"ML_TRAINER_STATE_DIR": str(folder), **ONE_WORKER, "ML_TRAINER_DOWNLOAD": "no"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **variables})
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


# Alone.


@pytest.fixture(scope="module")
def manifest() -> NormalizedManifestV2:
    parsed = OpenEnvYamlParser().parse(ROOT / "fleet")
    assert isinstance(parsed, NormalizedManifestV2)
    return parsed


def test_the_manifest_declares_the_tools_and_the_tasks(manifest: NormalizedManifestV2) -> None:
    assert manifest.name == "ml_trainer_fleet"
    assert manifest.capabilities.declared_tools == list(TOOLS.names)
    assert manifest.capabilities.declared_task_count == {split: count_tasks(split) for split in SPLITS}


@pytest.mark.slow
def test_the_folder_of_the_fleet_passes_openenvs_static_validation() -> None:
    assert validate(str(ROOT / "fleet"), "--level", "static", "--skip-build")["verdict"] == "pass"


@pytest.mark.slow
def test_a_server_of_the_fleet_alone_has_it_at_the_root_and_passes_the_checks_of_its_manifest(
    start_server: StartServer, manifest: NormalizedManifestV2, tmp_path: Path
) -> None:
    with start_server(("-m", "ml_trainer_env.server.fleet_app"), **ONE_WORKER) as server:
        assert httpx.get(f"{server.url}/metadata").json()["name"] == manifest.name
        assert httpx.get(f"{server.url}/fleet/health").status_code == 404
        assert validate("--url", server.url, "--timeout", "30")["passed"]
        plan = load_runtime_plan(ROOT / "fleet", manifest.execution)
        with warnings.catch_warnings(category=DeprecationWarning, action="ignore"):  # OpenEnv's, of websockets
            evidence = collect_runtime_evidence(server.url, plan, episode_timeout_s=300.0)
        log = server.log

    subject = Subject(ROOT / "fleet", manifest, None, None, tmp_path, runtime_evidence=evidence)
    for grader in (ObservationSchemaGrader(), RewardWellFormedGrader(), StateContractGrader()):
        result = grader.run(subject)
        assert result.status is CheckStatus.PASS, result.evidence
    assert "straggler" not in log.replace("fleet_straggler", "").replace("validation-fleet-straggler", "")


def test_the_fleet_is_not_ranked() -> None:
    settings = Settings.from_environment({"ML_TRAINER_RANKED": "a-secret-of-the-organizers-1234"})

    with pytest.raises(SettingsError, match="the fleet is not ranked"):
        games(settings)


# References, and the journal.


@pytest.mark.slow
def test_who_does_nothing_comes_to_the_reference_and_a_killed_server_goes_on_with_equal_bits(
    start_server: StartServer, tmp_path: Path
) -> None:
    def run_on(client: Client) -> dict[str, Any]:
        while not (reply := client.reply("run_steps", num_steps=50))["done"]:
            pass
        return reply

    folder = tmp_path / "killed"
    task = {"task_id": "fleet_sticky_node", "seed": 5}
    with (
        start_server(**ONE_WORKER, ML_TRAINER_STATE_DIR=str(folder)) as server,
        session(f"{server.url}/fleet", **task, episode_id="e") as (client, _),
    ):
        for steps in (50, 40):  # the references are being trained meanwhile
            before = client.reply("run_steps", num_steps=steps)
        server.process.kill()
        server.process.wait()
    with start_server(**ONE_WORKER, ML_TRAINER_STATE_DIR=str(folder)) as server:
        with session(f"{server.url}/fleet", episode_id="e", resume=True) as (client, begun):
            assert begun["last_call"]["reply"] == before
            killed = run_on(client)
        straight_task = {**task, "episode_id": "straight"}
        with session(f"{server.url}/fleet", **straight_task) as (client, _):
            straight = run_on(client)
        log = server.log
    assert killed["held_out_loss"] == killed["nothing_loss"]
    assert (killed["score"], killed["restarts"]) == (0.0, straight["restarts"])
    assert killed == straight | {"reward": killed["reward"], "losses": killed["losses"], "events": killed["events"]} | {
        "reward_parts": killed["reward_parts"]
    }
    assert not any(word in log.replace("fleet_sticky_node", "") for word in ("sticky", "life_us", "begins_us"))

    replayed = journal_of(folder, "replay", "e", "straight")
    assert "e: the same" in replayed
    assert "straight: the same" in replayed
