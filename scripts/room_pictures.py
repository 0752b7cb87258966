"""Takes the pictures of docs/room.md: starts a server, plays a few episodes, and opens the pages in Chromium.

    uv run scripts/room_pictures.py               # writes docs/images/room-*.png; takes a few minutes
    uv run scripts/room_pictures.py --into FOLDER

Needs Chromium on the PATH. Everything runs on this machine, in a folder that is deleted at the end.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, sync_playwright

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.fleet_client import FleetEnv

IMAGES = Path(__file__).resolve().parents[1] / "docs/images"
LIMIT_S = 300.0
LOADED_MS = 2_500
REASONS = {
    "save_checkpoint": "a place to come back to, before trying dropout",
    "restore_checkpoint": "dropout did not help: back to the checkpoint",
    "adjust_learning_rate": "the curve has flattened: a lower rate",
}


def main() -> int:
    """Write the pictures. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=IMAGES, help="the folder of the pictures")
    into: Path = parser.parse_args().into
    program = shutil.which("chromium")
    if program is None:
        print("Chromium is not on the PATH", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, served(folder) as url, sync_playwright() as playwright:
        for name, agent, rate in (
            ("careful", "careful", 0.002),
            ("careful-2", "careful", 0.0005),
            ("hasty", "hasty", 0.03),
        ):
            play_tuning(url, name, agent, [("configure_training", {"optimizer": "adam", "learning_rate": rate})])
        play_fleet(url, "fleet")
        run = play_command(url, Path(folder) / "outputs")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        with live(url):
            take(browser.new_page(viewport={"width": 1440, "height": 900}), f"{url}/room", into / "room-watch.png")
        wide: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}}
        narrow: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
        take(browser.new_page(**wide), f"{url}/room/episode?name=careful", into / "room-episode.png")
        take(browser.new_page(**wide), f"{url}/room/episode?name=fleet", into / "room-fleet.png")
        compared = f"{url}/room/compare?name=careful&name=careful-2&name=hasty"
        take(browser.new_page(**wide), compared, into / "room-compare.png", chosen=("#lines", "agents"))
        take(browser.new_page(**wide), f"{url}/room/results/evals/{run}", into / "room-results.png")
        take(browser.new_page(**narrow), f"{url}/room/episode?name=careful", into / "room-phone.png", whole=False)
        browser.close()
    return 0


def take(page: Page, address: str, path: Path, whole: bool = True, chosen: tuple[str, str] | None = None) -> None:
    """Write a picture of a page, maybe after choosing a value of a list on it."""
    page.goto(address)
    if chosen:
        page.wait_for_timeout(LOADED_MS)
        page.select_option(*chosen)
    page.wait_for_timeout(LOADED_MS)
    page.screenshot(path=path, full_page=whole)
    print(f"wrote {path}")
    page.close()


def play_tuning(url: str, name: str, agent: str, begin: list[tuple[str, dict[str, Any]]]) -> None:
    """Play an episode with a checkpoint and a way back."""
    calls = [
        *begin,
        ("run_epochs", {"num_epochs": 8}),
        ("save_checkpoint", {"name": "a"}),
        ("configure_training", {"dropout": 0.3}),
        ("run_epochs", {"num_epochs": 6}),
        ("restore_checkpoint", {"name": "a"}),
        ("adjust_learning_rate", {"new_lr": 0.0005}),
        ("run_epochs", {"num_epochs": 12}),
        ("submit_model", {}),
    ]
    with MLTrainerEnv(base_url=url) as session:
        env: Any = session
        env.reset(task_id="easy_mnist", episode_id=name, agent=agent)
        for tool, arguments in calls:
            env.explain(REASONS.get(tool, ""))
            env.call_tool(tool, **arguments)


def play_command(url: str, output: Path) -> str:
    """Let an agent play two episodes by `ml-trainer-play`. Returns the name of its run."""
    command = [sys.executable, "-m", "ml_trainer_env.inference", "--agent", "heuristic", "--tasks", "easy_mnist"]
    variables = {**os.environ, "ENV_URL": url}
    subprocess.run([*command, "--episodes", "2", "--output", str(output)], env=variables, check=True)
    (run,) = (output / "evals").iterdir()
    return run.name


def play_fleet(url: str, name: str) -> None:
    """Let a fleet run, and let it be graded."""
    with FleetEnv(base_url=f"{url}/fleet") as session:
        env: Any = session
        env.reset(task_id="fleet_straggler", episode_id=name, agent="bystander")
        for _ in range(3):
            env.call_tool("run_steps", num_steps=30)
        env.call_tool("query_metrics", metric="compute_s", by="rank")
        env.call_tool("submit_model")


@contextmanager
def live(url: str) -> Iterator[None]:
    """Keep two episodes live, one of which trains."""
    with MLTrainerEnv(base_url=url) as one, MLTrainerEnv(base_url=url) as other:
        waiting: Any = one
        training: Any = other
        waiting.reset(task_id="easy_mnist", agent="waiting")
        waiting.call_tool("run_epochs", num_epochs=5)
        training.reset(task_id="medium_fashion", agent="prober")

        def train() -> None:
            with suppress(Exception):  # the session ends before the call
                training.call_tool("run_epochs", num_epochs=20)

        thread = threading.Thread(target=train, daemon=True)
        thread.start()
        time.sleep(LOADED_MS / 1000 * 3)
        yield
    thread.join(LIMIT_S)


@contextmanager
def served(folder: str) -> Iterator[str]:
    """Start a server of this program. Yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {"ML_TRAINER_STATE_DIR": folder, "ML_TRAINER_DOWNLOAD": "no", "ML_TRAINER_WORKERS": "1"}
    variables["ML_TRAINER_RESULTS_DIR"] = str(Path(folder) / "outputs")
    command = [sys.executable, "-m", "ml_trainer_env.server.app", "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, **variables}, stderr=subprocess.DEVNULL)
    url, ends_at = f"http://127.0.0.1:{port}", time.monotonic() + LIMIT_S
    try:
        while True:
            with suppress(httpx.TransportError):
                if httpx.get(f"{url}/ready", trust_env=False).status_code == 200:
                    break
            if process.poll() is not None or time.monotonic() > ends_at:
                raise SystemExit("the server does not start")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
