"""What importing the client costs, and that OpenEnv stays OpenEnv: the same classes, whenever they are asked for."""

import subprocess
import sys

import pytest

LIGHT = """
import sys
import ml_trainer_env, ml_trainer_env.client, ml_trainer_env.models
for name in ml_trainer_env.__all__:
    getattr(ml_trainer_env, name)
heavy = {"gradio", "pandas", "fastapi", "fastmcp", "torch", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""

WHOLE = """
import sys, threading
from ml_trainer_env import MLTrainerEnv, models
import openenv.core
assert "gradio" not in sys.modules

# Threads that ask at the same time all find the names.
found, start = [], threading.Barrier(4)
def look():
    start.wait()
    found.append((openenv.core.MCPToolClient, openenv.core.Environment, openenv.core.env_server.create_app))
threads = [threading.Thread(target=look) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(found) == 4 and len(set(found)) == 1, found

# The classes are the same, whichever way they are imported.
from openenv.core import *
from openenv.core.env_server import *
from openenv.core.rubrics import *
import openenv.core.mcp_client, openenv.core.env_server.mcp_types, openenv.core.env_server.http_server
assert issubclass(MLTrainerEnv, MCPToolClient) and MCPToolClient is openenv.core.mcp_client.MCPToolClient
assert CallToolAction is models.CallToolAction is openenv.core.env_server.mcp_types.CallToolAction
assert issubclass(models.ResetObservation, Observation) and issubclass(MCPEnvironment, Environment)
assert Rubric is openenv.core.rubrics.base.Rubric and issubclass(LLMJudge, Rubric)
assert create_app is openenv.core.env_server.http_server.create_app
assert type(openenv.core) is type(sys)
assert not hasattr(openenv.core, "no_such_name")
"""

FIRST = """
from openenv.core import MCPToolClient
import openenv.core
before = openenv.core
from ml_trainer_env import MLTrainerEnv
assert openenv.core is before
assert issubclass(MLTrainerEnv, MCPToolClient)
"""


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(LIGHT, id="light"),
        pytest.param(WHOLE, id="whole", marks=pytest.mark.slow),
        pytest.param(FIRST, id="openenv imported first", marks=pytest.mark.slow),
    ],
)
def test_a_fresh_process_imports_what_it_needs_and_finds_openenv_whole(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_server_does_without_gradio_and_without_a_client_of_models() -> None:
    program = "import sys, ml_trainer_env.server.composition; print({'gradio', 'pandas', 'openai'} & set(sys.modules))"

    assert subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE).stdout == b"set()\n"
