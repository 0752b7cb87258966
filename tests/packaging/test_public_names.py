"""The names a user imports, how OpenEnv finds them, and what importing them costs."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ml_trainer_env

DISCOVER = """
import json, sys
from openenv.auto._discovery import get_discovery
from openenv import AutoAction, AutoEnv
info = get_discovery().get_environment_by_name("ml_trainer")
assert info is not None, "not discovered"
env = AutoEnv.from_env("ml-trainer-env", base_url=sys.argv[1])
classes = (type(env), info.get_client_class(), AutoAction.from_env("ml_trainer"), info.get_observation_class())
print(json.dumps([one.__name__ for one in classes]))
"""


@pytest.mark.parametrize("name", sorted(ml_trainer_env.__all__))
def test_a_public_name_can_be_imported(name: str) -> None:
    assert getattr(ml_trainer_env, name) is not None


def test_a_name_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = ml_trainer_env.no_such_name


@pytest.mark.parametrize("module", ["client", "models", "inference", "server.app"])
def test_a_module_defines_all_it_promises(module: str) -> None:
    imported = importlib.import_module(f"ml_trainer_env.{module}")

    assert [name for name in imported.__all__ if not hasattr(imported, name)] == []


def test_what_runs_beside_an_agent_loads_no_torch() -> None:
    program = """
import sys
import ml_trainer_env, ml_trainer_env.client, ml_trainer_env.models, ml_trainer_env.inference
all_names = [getattr(ml_trainer_env, name) for name in ml_trainer_env.__all__]
print(*sys.modules)
"""
    fresh = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert fresh.returncode == 0, fresh.stderr
    assert {"torch", "torchvision", "ml_trainer_env.server"}.isdisjoint(fresh.stdout.split())


@pytest.mark.slow
def test_openenv_discovers_the_client_by_the_name_of_the_environment(live_server: str, tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", DISCOVER, live_server],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), "NO_PROXY": "*"},
    )

    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout.splitlines()[-1]) == [
        "MLTrainerEnv",
        "MLTrainerEnv",
        "CallToolAction",
        "CallToolObservation",
    ]
