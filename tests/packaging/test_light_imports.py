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

SAME = """
import sys
from ml_trainer_env import MLTrainerEnv, models
assert "gradio" not in sys.modules
from openenv.core import MCPToolClient, CallToolAction, Environment
from openenv.core.env_server import MCPEnvironment, Observation
import openenv.core.mcp_client, openenv.core.env_server.mcp_types, openenv.core.env_server.types
assert issubclass(MLTrainerEnv, MCPToolClient)
assert MCPToolClient is openenv.core.mcp_client.MCPToolClient
assert CallToolAction is models.CallToolAction is openenv.core.env_server.mcp_types.CallToolAction
assert issubclass(models.ResetObservation, Observation)
assert issubclass(MCPEnvironment, Environment)
assert openenv.core.env_server.create_app is openenv.core.env_server.http_server.create_app
assert type(openenv.core) is type(sys)
"""

STAR = """
import ml_trainer_env.models
from openenv.core import *
from openenv.core.env_server import *
assert Environment and EnvClient and create_app
"""

FIRST = """
from openenv.core import MCPToolClient
import openenv.core
before = openenv.core
from ml_trainer_env import MLTrainerEnv
assert openenv.core is before
assert issubclass(MLTrainerEnv, MCPToolClient)
"""

THREADS = """
import threading
import ml_trainer_env.client
import openenv.core
found, start = [], threading.Barrier(8)
def look():
    start.wait()
    found.append((openenv.core.MCPToolClient, openenv.core.Environment, openenv.core.env_server.create_app))
threads = [threading.Thread(target=look) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(found) == 8 and len(set(found)) == 1, found
"""

MISSING = """
import ml_trainer_env.client
import openenv.core
try:
    openenv.core.no_such_name
except AttributeError as error:
    assert "no_such_name" in str(error)
else:
    raise AssertionError
"""


@pytest.mark.parametrize("program", [LIGHT, SAME, STAR, FIRST, THREADS, MISSING], ids=lambda text: text.split()[1])
def test_a_fresh_process_imports_what_it_needs_and_finds_openenv_whole(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_a_server_without_the_page_does_without_gradio() -> None:
    program = (
        "import sys, ml_trainer_env.server.composition; sys.exit('gradio' in sys.modules or 'pandas' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
