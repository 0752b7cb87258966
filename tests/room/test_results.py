"""The results of runs, as a server shows them: what is listed and sent, and that no path leads out of the folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from served_here import served_here

TOKEN, WATCHER = "correct-horse-battery", "observing-horse-battery"
HOSTILE = "<img src=x onerror=alert(1)>"
SECRET = "what lies outside"


def episode(task: str, score: float | None, agent: str = "heuristic") -> dict[str, Any]:
    points = [{"epoch": one, "val_accuracy": 0.5 + one / 10, "val_loss": None if one == 1 else 0.5} for one in (1, 2)]
    return {"task_id": task, "agent": agent, "seed": 3, "score": score, "episode_id": f"of {task}", "curve": points}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of each kind, and with others that are damaged, hostile, or links that lead out of it."""
    outside = tmp_path_factory.mktemp("outside")
    for name in ("report.html", "results.json"):
        (outside / name).write_text(SECRET)
    root = tmp_path_factory.mktemp("outputs")
    plays = {
        "first": {"episodes": [episode("easy_mnist", 0.5), episode("hard_cifar", None)], "problem": ""},
        HOSTILE: {"episodes": [episode(HOSTILE, 0.25, HOSTILE)], "problem": HOSTILE},
        "odd": {"episodes": [5], "problem": ""},
        "linked report": {"episodes": [], "problem": ""},
    }
    for name, results in plays.items():
        (root / "evals" / name).mkdir(parents=True)
        (root / "evals" / name / "results.json").write_text(json.dumps(results))
    (root / "evals" / "first" / "report.html").write_text("<h1>a report</h1><script>alert(1)</script>")
    (root / "evals" / "linked report" / "report.html").symlink_to(outside / "report.html")
    (root / "evals" / "linked run").symlink_to(outside)
    rows = [{"task": "easy_mnist", "agent": one, "seed": "own", "score": 0.125} for one in ("nothing", "recipe")]
    (root / "bench" / "second").mkdir(parents=True)
    (root / "bench" / "second" / "results.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"cut": of')
    (root / "report.html").write_text(SECRET)
    return root


@pytest.fixture(scope="module")
def watcher(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    variables = {"TOKEN": TOKEN, "OBSERVER_TOKEN": WATCHER, "RESULTS_DIR": str(folder)}
    presented = {"Authorization": f"Bearer {WATCHER}"}
    with (
        served_here(tmp_path_factory.mktemp("state"), **variables) as (address, _),
        httpx.Client(base_url=f"http://{address}", headers=presented, timeout=60.0, trust_env=False) as client,
    ):
        yield client


def test_runs_of_both_kinds_are_listed_with_the_means_of_their_agents(watcher: httpx.Client) -> None:
    page = watcher.get("/room/results").raise_for_status().text

    assert 'href="/room/results/evals/first"' in page
    assert "heuristic 0.2500" in page  # an episode without a score counts 0
    assert 'href="/room/results/bench/second"' in page
    assert "nothing 0.1250, recipe 0.1250" in page
    assert "its results cannot be read" in page
    assert "linked run" not in page


def test_an_episode_leads_to_its_page_and_its_curve_may_be_read(watcher: httpx.Client) -> None:
    page = watcher.get("/room/results/evals/first").raise_for_status().text
    run = watcher.get("/room/api/run", params={"kind": "evals", "name": "first"}).raise_for_status().json()

    assert 'href="/room/episode?name=of%20easy_mnist"' in page
    assert run["episodes"][0]["curve"] == {"val_accuracy": [0.6, 0.7], "val_loss": [None, 0.5]}


def test_a_report_is_sent_as_it_was_written_and_may_run_nothing(watcher: httpx.Client) -> None:
    report = watcher.get("/room/results/evals/first/report")

    assert report.text == "<h1>a report</h1><script>alert(1)</script>"
    policy = report.headers["content-security-policy"].split("; ")
    assert {"sandbox", "default-src 'none'"} <= set(policy)
    assert not [part for part in policy if "script" in part or "http" in part]


@pytest.mark.parametrize(
    "path",
    [
        "evals/linked%20run",
        "evals/linked%20run/report",
        "evals/linked%20report/report",
        "evals/../report",
        "evals/..%2f..%2fevals%2ffirst/report",
        "evals/%2e%2e/report",
        "evals/./report",
        "..%2fevals/first",
        "evals/first%2freport.html",
        "evals/first%00/report",
        "other/first",
        "bench/second/report",
        f"evals/{'x' * 5000}",
    ],
)
def test_what_is_no_run_of_the_folder_is_not_found(watcher: httpx.Client, path: str) -> None:
    answer = watcher.get(f"/room/results/{path}")

    assert answer.status_code == 404
    assert SECRET not in answer.text


def test_names_are_text(watcher: httpx.Client) -> None:
    page = watcher.get("/room/results").text
    run = watcher.get(f"/room/results/evals/{HOSTILE.replace(' ', '%20')}").raise_for_status().text

    for shown in (page, run):
        assert "&lt;img src=x" in shown
        assert "<img" not in shown


def test_a_folder_that_is_not_there_is_an_empty_page_that_says_what_writes_one(tmp_path: Path) -> None:
    with served_here(tmp_path, RESULTS_DIR=str(tmp_path / "nowhere")) as (address, _):
        page = httpx.get(f"http://{address}/room/results", trust_env=False)

    assert page.status_code == 200
    assert "make demo" in page.text


def test_results_need_a_token(watcher: httpx.Client) -> None:
    for path in ("/room/results", "/room/results/evals/first", "/room/results/evals/first/report"):
        assert watcher.get(path, headers={"Authorization": ""}).status_code == 401
