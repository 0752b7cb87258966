"""The official SDK, unmodified and in an environment of its own, and our client run the same scenarios."""

import inspect
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ml_trainer_env.arena.client.organisers import OrganiserMethods

SCENARIOS = ("participant", "a_class", "creator", "courses", "refusals", "failures")
OFFICIAL = "mlarena-sdk 0.2.0"
SCRIPT = Path(__file__).with_name("scenarios.py")
LIMIT_S = 280


@pytest.fixture
def tokens(arena: Any) -> dict[str, str]:
    """Those of people who have done nothing yet."""
    ada, bob, carl, tess = (f"{name}-{secrets.token_hex(4)}" for name in ("ada", "bob", "carl", "tess"))
    revoked = arena.token(ada)
    arena.revoke(revoked)
    return {
        "user": arena.token(ada),
        "other": arena.token(bob),
        "expired": arena.token(ada, "user", days=0),
        "revoked": revoked,
        "creator": arena.token(carl, "creator"),
        "teacher": arena.token(tess, "teacher"),
    }


def cases() -> Iterator[Any]:
    """Each client with its scenarios.

    test_arena_older_clients.py has the other scenarios for newer versions of the official client.
    """
    for client in (OFFICIAL, "mlarena-sdk 0.3.0", "mlarena-sdk 1.0.0", "ours"):
        for scenario in SCENARIOS if client in (OFFICIAL, "ours") else ("refusals", "failures"):
            yield pytest.param(client, scenario)


@pytest.mark.slow
@pytest.mark.parametrize(("client", "scenario"), list(cases()))
def test_a_client_does_what_people_do(arena: Any, tokens: Any, python_with: Any, client: str, scenario: str) -> None:
    interpreter = sys.executable if client == "ours" else python_with(client.split()[1])
    module = "ml_trainer_env.arena.client" if client == "ours" else "mlarena"
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}

    done = subprocess.run(
        [interpreter, str(SCRIPT), module, scenario, arena.url],
        input=json.dumps(tokens),
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("done\n")


SIGNATURES = """
import importlib, inspect, json, sys
client = importlib.import_module(sys.argv[1]).connect("mlk_user_00000000_00", base_url="http://localhost:1")
methods = inspect.getmembers(type(client), inspect.isfunction)
print(json.dumps({
    name: [[one.name, one.kind, repr(one.default)] for one in inspect.signature(method).parameters.values()]
    for name, method in methods if not name.startswith("_")
}))
"""


def signatures(interpreter: str, module: str) -> dict[str, Any]:
    done = subprocess.run([interpreter, "-c", SIGNATURES, module], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_our_client_has_every_method_of_the_official_one_with_its_arguments(python_with: Any) -> None:
    official = signatures(python_with("0.2.0"), "mlarena")
    ours = signatures(sys.executable, "ml_trainer_env.arena.client")

    assert len(official) >= 30
    for name, arguments in official.items():
        more = ours[name][len(arguments) :]
        assert ours[name][: len(arguments)] == arguments
        assert all(kind == inspect.Parameter.KEYWORD_ONLY and default == "None" for _, kind, default in more)
    of_organisers = {name for name in vars(OrganiserMethods) if not name.startswith("_")}
    assert set(ours) - set(official) == {"close", "cancel_agent"} | of_organisers
