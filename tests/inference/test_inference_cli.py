"""The command: one clear line and its own exit code a failure, and what a run leaves behind."""

import json
import os
import subprocess
import sys
from itertools import count

import httpx
import pytest
from served_here import served_here

from ml_trainer_env.inference import main
from ml_trainer_env.server.room.results import list_runs
from ml_trainer_env.server.tuning.families.tasks import family_task

NO_KEYS = ("OPENAI_API_KEY", "OPENROUTER_API_KEY", "GEMINI_API_KEY", "ENV_URL", "HF_TOKEN", "API_BASE_URL")


@pytest.fixture
def command(tmp_path):
    """Runs the command in an empty folder, without any key of the machine's."""

    def run(*arguments, **variables):
        clean = {name: value for name, value in os.environ.items() if name not in NO_KEYS}
        return subprocess.run(
            [sys.executable, "-m", "ml_trainer_env.inference", *arguments],
            cwd=tmp_path,
            env={**clean, "OMP_WAIT_POLICY": "passive", **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def run_here(tmp_path, monkeypatch, capsys):
    """The same in this process, where the client is imported once for all tests."""

    def run(*arguments, **variables):
        monkeypatch.chdir(tmp_path)
        for name in NO_KEYS:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        try:
            code = main(arguments)
        except SystemExit as left:
            code = left.code
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return run


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One real environment for all the tests that need one."""
    with served_here(tmp_path_factory.mktemp("server")) as (address, _):
        yield f"http://{address}"


@pytest.fixture(scope="module")
def family_task_id():
    """The id of a small task of the family, beyond any table."""
    drawn = (family_task("train", index) for index in count(1_000_000))
    return next(
        task.id
        for task in drawn
        if task.network.kind == "mlp" and task.budget_epochs <= 6 and task.examples.train_size <= 600
    )


def lines(result):
    return result.stderr.strip().splitlines()


def test_a_missing_key_is_one_line_that_says_what_to_set(command):
    result = command("--agent", "llm")

    assert result.returncode == 3
    assert len(lines(result)) == 1
    assert "OPENAI_API_KEY, OPENROUTER_API_KEY or GEMINI_API_KEY" in result.stderr


def test_an_unreachable_server_is_one_line_that_names_it(run_here):
    result = run_here("--agent", "heuristic", ENV_URL="http://127.0.0.1:9")

    assert result.returncode == 5
    assert len(lines(result)) == 1
    assert "http://127.0.0.1:9" in result.stderr


def test_a_setting_out_of_bounds_is_one_line_that_names_it(run_here):
    result = run_here(OPENAI_API_KEY="k", LLM_RPM_LIMIT="lots")

    assert result.returncode == 2
    assert len(lines(result)) == 1
    assert "LLM_RPM_LIMIT" in result.stderr


def test_without_a_key_the_heuristic_plays_and_it_says_so(run_here):
    result = run_here(ENV_URL="http://127.0.0.1:9")

    assert "agent: heuristic (the default, since none of OPENAI_API_KEY" in result.stdout


def test_with_a_key_the_model_plays_and_it_says_so(run_here, tmp_path):
    (tmp_path / ".env").write_text("GEMINI_API_KEY=sk-secret\nENV_URL=http://127.0.0.1:9\n")

    result = run_here()

    assert "agent: llm (gemini-2.5-flash, key from GEMINI_API_KEY)" in result.stdout
    assert "sk-secret" not in result.stdout + result.stderr


def test_a_run_that_broke_off_leaves_its_log(run_here, tmp_path):
    run_here("--agent", "random", ENV_URL="http://127.0.0.1:9")

    (log,) = (tmp_path / "outputs" / "logs").glob("*.jsonl")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["kind"] for event in events] == ["run", "end"]
    assert "127.0.0.1:9" in events[-1]["problem"]


@pytest.mark.parametrize("arguments", [("--agent", "wizard"), ("--episodes", "0"), ("--tasks", ","), ("--seed", "x")])
def test_bad_usage_is_refused(run_here, arguments):
    assert run_here(*arguments).returncode == 2


def test_it_imports_no_torch():
    check = "import sys, ml_trainer_env.inference; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.slow
def test_a_run_with_a_server_of_its_own_leaves_log_results_pictures_and_report(run_here, tmp_path):
    result = run_here("--agent", "random", "--tasks", "easy_mnist", "--seed", "2", "--output", "kept")

    assert result.returncode == 0, result.stderr
    (log,) = (tmp_path / "kept" / "logs").glob("*.jsonl")
    (results,) = (tmp_path / "kept" / "evals").glob("*/results.json")
    episode = json.loads(results.read_text())["episodes"][0]
    assert (episode["task_id"], episode["seed"], episode["data_source"]) == ("easy_mnist", 2, "bundled")
    assert 0 < episode["score"] < 1
    assert {path.name for path in results.parent.glob("*")} == {"results.json", "report.html", "01-easy_mnist.png"}
    assert log.stem == results.parent.name
    opens = f"ML_TRAINER_RESULTS_DIR=kept make serve, then open http://localhost:8000/room/results/evals/{log.stem}"
    assert opens in result.stdout


@pytest.mark.slow
def test_an_agent_that_forks_plays_on_a_server(run_here, server, tmp_path):
    result = run_here("--agent", "pbt", "--tasks", "tuning/validation/26", "--output", "kept", ENV_URL=server)

    assert result.returncode == 0, result.stderr
    (results,) = (tmp_path / "kept" / "evals").glob("*/results.json")
    (episode,) = json.loads(results.read_text())["episodes"]
    assert episode["played_to_end"]
    trained = {point["epoch"] for point in episode["curve"]}
    assert len(episode["curve"]) == 10 >= len(trained)


def test_a_refused_key_is_one_line_and_is_written_nowhere(command, server, chat_server, tmp_path):
    chat_server.fails(401, "Incorrect API key provided: sk-very-secret")

    keys = {"OPENAI_API_KEY": "sk-very-secret", "API_BASE_URL": chat_server.url}
    result = command("--agent", "llm", "--tasks", "easy_mnist", ENV_URL=server, **keys)

    assert result.returncode == 4
    assert len(lines(result)) == 1
    assert "refused the key in OPENAI_API_KEY" in result.stderr
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    assert not any("sk-very-secret" in text for text in [*written, result.stdout, result.stderr])


def test_a_model_plays_the_real_environment(run_here, server, chat_server, tmp_path):
    chat_server.says(None, ("configure_training", '{"optimizer": "adamw", "dropout": 0.1}'))
    chat_server.calls("run_epochs", num_epochs=2)
    chat_server.calls("submit_model")

    keys = {"OPENAI_API_KEY": "sk-very-secret", "API_BASE_URL": chat_server.url}
    result = run_here("--tasks", "easy_mnist", ENV_URL=server, **keys)

    assert result.returncode == 0, result.stderr
    (results,) = (tmp_path / "outputs" / "evals").glob("*/results.json")
    episode = json.loads(results.read_text())["episodes"][0]
    assert [call["name"] for call in episode["calls"]] == ["configure_training", "run_epochs", "submit_model"]
    assert episode["configuration"]["dropout"] == 0.1
    assert episode["tokens"] == 330
    assert len(episode["curve"]) == 2
    assert "sk-very-secret" not in results.read_text()


def test_a_task_that_does_not_exist_is_one_line_with_those_that_do(run_here, server):
    result = run_here("--agent", "random", "--tasks", "easy_peasy", ENV_URL=server)

    assert result.returncode == 7
    assert len(lines(result)) == 1
    assert "easy_mnist" in result.stderr


@pytest.mark.parametrize("task", ["tuning/other/1", "tuning/train/01", "tuning/train/-1", "tuning/train", "tuning"])
def test_an_id_that_is_no_task_of_the_family_is_refused_before_a_server_starts(run_here, task):
    result = run_here("--tasks", task)

    assert result.returncode == 2
    assert len(lines(result)) == 1
    assert "tuning/<split>/<index>" in result.stderr


@pytest.mark.slow
def test_the_prober_plays_a_task_of_the_family_by_its_own_rubric(run_here, server, family_task_id, tmp_path):
    result = run_here("--agent", "prober", "--tasks", family_task_id, ENV_URL=server)

    assert result.returncode == 0, result.stderr
    (file,) = (tmp_path / "outputs" / "evals").glob("*/results.json")
    (episode,) = json.loads(file.read_text())["episodes"]
    assert (episode["task_id"], episode["rubric"], episode["agent"]) == (family_task_id, "accuracy", "prober")
    assert episode["played_to_end"]
    assert episode["score"] == episode["details"]["submitted"]
    (run,) = list_runs(tmp_path / "outputs", limit=5)
    assert (run.scores, run.problem, run.has_report) == ({"prober": episode["score"]}, "", True)
    assert set(run.episodes[0].curve) >= {"val_accuracy", "train_loss", "learning_rate"}


@pytest.mark.slow
def test_people_see_who_plays_and_why(run_here, server, family_task_id, tmp_path):
    opened, browser = tmp_path / "opened", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    browser.chmod(0o755)

    result = run_here(
        "--agent", "heuristic", "--tasks", family_task_id, "--watch", ENV_URL=server, BROWSER=str(browser)
    )

    assert result.returncode == 0, result.stderr
    assert f"training room: {server}/room" in result.stdout
    assert opened.read_text() == f"{server}/room\n"
    (file,) = (tmp_path / "outputs" / "evals").glob("*/results.json")
    (played,) = json.loads(file.read_text())["episodes"]
    shown = httpx.get(f"{server}/room/api/episode", params={"name": played["episode_id"]}, trust_env=False).json()
    assert shown["episode"]["agent"] == "heuristic"
    assert [call["reason"] for call in shown["calls"]] == [call["reason"] or None for call in played["calls"]]
    assert any(call["reason"] for call in shown["calls"])


def test_a_rubric_that_cannot_grade_a_task_is_one_line_that_says_so(run_here, server, family_task_id):
    result = run_here("--agent", "prober", "--rubric", "v3", "--tasks", family_task_id, ENV_URL=server)

    assert result.returncode == 7
    assert "rubric v3 compares with a calibrated reference" in result.stderr
