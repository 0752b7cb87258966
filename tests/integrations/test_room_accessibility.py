"""axe-core has nothing serious to say about any page of the training room, in both schemes and on a phone."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from served_here import served_here

from ml_trainer_env import MLTrainerEnv
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
)


def test_no_page_has_a_serious_violation(library_environment: Callable[..., Any], tmp_path: Path) -> None:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed")
    environment = library_environment("axe-playwright-python", package=False)
    with served_here(tmp_path) as (address, _), MLTrainerEnv(base_url=f"http://{address}") as env:
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
        told = environment.run("axe_check.py", program, *pages)

    assert told["violations"] == {}
    assert told["passed"] > 20 * len(PAGES)
