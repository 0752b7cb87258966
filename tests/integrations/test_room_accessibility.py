"""axe-core has nothing serious to say about any page of the training room, in both schemes and on a phone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from served_here import served_here

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.baselines.charts import (
    Interval,
    Line,
    Mark,
    Series,
    heat_chart,
    interval_chart,
    line_chart,
    scatter_chart,
)
from ml_trainer_env.baselines.page import page
from ml_trainer_env.fleet_client import FleetEnv

pytestmark = [pytest.mark.libraries, pytest.mark.timeout(1800)]

PAGES = (
    "/room",
    "/room/play",
    "/room/results",
    "/room/episode?name=tuned",
    "/room/episode?name=open",
    "/room/episode?name=fleet",
    "/room/episode?name=nobody",
    "/room/compare",
    "/room/compare?name=tuned&name=open",
    "/room/results/evals/a-run",
)


def test_no_page_has_a_serious_violation(library_environment: Callable[..., Any], tmp_path: Path) -> None:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed")
    environment = library_environment("axe-playwright-python", package=False)
    write_run(tmp_path / "outputs" / "evals" / "a-run")
    state = tmp_path / "state"
    with (
        served_here(state, RESULTS_DIR=str(tmp_path / "outputs")) as (address, _),
        MLTrainerEnv(base_url=f"http://{address}") as env,
    ):
        env.reset(task_id="easy_mnist", episode_id="tuned", agent="careful")
        env.explain("a usual rate")
        env.call_tool("configure_training", learning_rate=0.01)
        env.call_tool("run_epochs", num_epochs=2)
        env.call_tool("save_checkpoint", name="a")
        env.call_tool("submit_model")
        with FleetEnv(base_url=f"http://{address}/fleet") as fleet:
            fleet.reset(task_id="fleet_straggler", episode_id="fleet")
            fleet.call_tool("run_steps", num_steps=5)
        env.reset(task_id="easy_mnist", episode_id="open", agent="waits")
        env.call_tool("run_epochs", num_epochs=1)

        pages = [f"http://{address}{quote(page, safe='/?=&')}" for page in PAGES]
        # The room sends a report under a policy that lets no script run, not even axe-core's: it is read from its file.
        report = (tmp_path / "outputs" / "evals" / "a-run" / "report.html").as_uri()
        told = environment.run("axe_check.py", program, *pages, report)

    assert told["violations"] == {}
    assert told["passed"] > 20 * len(PAGES)


def write_run(folder: Path) -> None:
    """Write a run with a report that has a chart of each kind."""
    run = {"run": "a-run", "agent": "careful", "started": "", "seconds": 1.0, "problem": "", "mean_score": 0.5}
    losses = [(epoch, 1 / epoch) for epoch in range(1, 21)]
    charts = (
        line_chart("Loss by epoch", "epoch", [Line("train", losses)], marks=[Mark(5.5, "a call")]),
        interval_chart("Mean score", "score", [Interval("careful", 0.5, 0.25, 0.75, "careful: 0.5 [0.25, 0.75]")]),
        heat_chart("By task", ["careful"], ["first", "second"], [[0.125, 0.75]]),
        scatter_chart("Seen and hidden", "seen", "hidden", [Series("careful", [(0.5, 0.25, "careful: 0.5, 0.25")])]),
    )
    curve = [{"epoch": epoch, "train_loss": loss} for epoch, loss in losses]
    episode = {"task_id": "easy_mnist", "agent": "careful", "seed": 1, "score": 0.5, "curve": curve}
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"episodes": [episode], "problem": ""}))
    (folder / "report.html").write_text(
        page(run, (), ("Task", "Score"), "<tr><td>a</td><td>1</td></tr>", "".join(charts))
    )
