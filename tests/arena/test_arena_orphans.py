"""Workers end with the service that started them, also if it dies before they have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.usefixtures("layers")
def test_a_worker_whose_service_has_died_ends(tmp_path: Path) -> None:
    environment = {**os.environ, "ARENA_DATA_DIR": str(tmp_path)}
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    command = [sys.executable, "-m", "ml_trainer_env.arena", "worker", "--parent", str(gone.pid)]

    assert subprocess.run(command, env=environment, timeout=240, check=False).returncode == 0
