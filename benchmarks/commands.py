"""CPU seconds of every command's `--help`, of `ml-trainer-journal list`, and of importing the client.

    python benchmarks/commands.py --runs 5

User and system time of the process, mean (least to most). The commands are those installed beside this interpreter.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

COMMANDS = [
    "server",
    "ml-trainer-play",
    "ml-trainer-journal",
    *(f"ml-trainer-journal {word}" for word in ("list", "replay", "export", "prune")),
    "ml-arena",
    *(f"ml-arena {words}" for words in ("serve", "worker", "token", "token create", "token revoke", "backup")),
    "permuted-mnist",
    "permuted-mnist evaluate",
    "permuted-mnist check",
]


def cpu_s(command: Sequence[str], environment: dict[str, str]) -> float:
    """CPU seconds of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="of each (default: %(default)s)")
    runs = parser.parse_args().runs
    folder = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as state:
        (Path(state) / "journal.sqlite3").touch()
        environment = {**os.environ, "ML_TRAINER_STATE_DIR": state}
        rows = {f"{words} --help": [str(folder / words.split()[0]), *words.split()[1:], "--help"] for words in COMMANDS}
        rows["ml-trainer-journal list"] = [str(folder / "ml-trainer-journal"), "list"]
        rows["import ml_trainer_env.client"] = [sys.executable, "-c", "import ml_trainer_env.client"]
        print("| command | CPU, s |\n|---|---|")
        for name, command in rows.items():
            figures = [cpu_s(command, environment) for _ in range(runs)]
            print(f"| `{name}` | {sum(figures) / runs:.2f} ({min(figures):.2f} to {max(figures):.2f}) |", flush=True)


if __name__ == "__main__":
    main()
