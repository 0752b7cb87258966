"""The official client in an environment of its own, and what docs/arena.md says of its methods."""

import json
import os
import re
import secrets
import subprocess
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "arena.md"
PEOPLE = {
    "ada": "user",
    "bob": "user",
    "eve": "user",
    "carl": "creator",
    "dora": "creator",
    "tess": "teacher",
    "tom": "teacher",
}
LIMIT_S = 1200


def run_as_people(arena: Any, python: str, *arguments: str) -> str:
    """Run a program of the official client with a token of each person. Returns what it prints."""
    mark = secrets.token_hex(4)
    tokens = {name: arena.token(f"{name}-{mark}", scope) for name, scope in PEOPLE.items()}
    done = subprocess.run(
        [python, "-W", "ignore", *arguments],
        input=json.dumps(tokens),
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def rows_of_the_page(versions: str) -> list[list[str]]:
    """Get the cells of each row of the table of methods of these versions, with the heading."""
    text = PAGE.read_text(encoding="utf-8")
    table = text.split(f"<!-- methods of mlarena-sdk {versions} -->\n")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]


def names_in(cell: str) -> list[str]:
    """Get the methods that a cell names."""
    return re.findall(r"`(\w+)`", cell)


def outcome_in(cell: str) -> str:
    """Get whether a cell says that methods are served or refused."""
    return cell.split()[0].rstrip(":")
