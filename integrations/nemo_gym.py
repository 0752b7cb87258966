"""Environments that NeMo Gym's resources server for OpenEnv makes in its own process. They play on a server of ours.

That server (`resources_servers/openenv/app.py` of NeMo Gym) makes an environment without arguments, lists its tools
after a reset without options, and offers each of them at an address of its own. In its configuration:

    env_class: ml_trainer_env.integrations.nemo_gym.TuningEnvironment
    action_class: openenv.core.env_server.mcp_types.CallToolAction
    is_mcp: true
    reset_kwargs: {task_id: tuning/validation/0}

`examples/nemo_gym.yaml` has the whole of it. `input_row` makes a line of the data set that an agent of NeMo Gym reads.

The address and the token of our server are read from the variables `ENV_URL` and `ML_TRAINER_TOKEN`, because nothing
else reaches the constructor. Every session begins with the same `reset_kwargs`, so each task needs an entry of its own
in the configuration. NeMo Gym calls the environment on its event loop, so one call runs at a time: for parallel
rollouts run several of its servers.
"""

import os
from typing import Any, ClassVar

from openenv.core.env_server.mcp_types import (
    CallToolAction,
    CallToolObservation,
    ListToolsAction,
    ListToolsObservation,
    ToolError,
    ToolErrorType,
)
from openenv.core.env_server.types import Observation, State

from ml_trainer_env.client import TOKEN_VARIABLE, MLTrainerEnv
from ml_trainer_env.errors import ToolCallError
from ml_trainer_env.fleet_client import FleetEnv
from ml_trainer_env.integrations.episode import DEFAULT_URL, EpisodeClient
from ml_trainer_env.integrations.rows import task_rows

__all__ = ["FleetEnvironment", "TuningEnvironment", "input_row"]


class TuningEnvironment:
    """The tuning game, with the synchronous methods of an OpenEnv environment.

    Attributes:
        client: The game's client.
        path: The game's path on the server.
    """

    client: ClassVar[type[MLTrainerEnv]] = MLTrainerEnv
    path: ClassVar[str] = ""

    def __init__(self) -> None:
        url = os.environ.get("ENV_URL", DEFAULT_URL)
        self._episode = EpisodeClient(url + self.path, os.environ.get(TOKEN_VARIABLE), self.client)
        self._state = State()

    def reset(self, **options: Any) -> Observation:
        """Begin an episode; see `MLTrainerEnv.reset` for the options. None are needed."""
        observation = self._episode.reset(**options)
        self._state = State(episode_id=observation.episode_id, step_count=0)
        return observation

    def step(self, action: CallToolAction | ListToolsAction) -> CallToolObservation | ListToolsObservation:
        """Call a tool, or list the tools. A refused call is an observation with an error.

        NeMo Gym sends null for each argument that the model left out. Those are left out here, too.
        """
        if isinstance(action, ListToolsAction):
            return ListToolsObservation(tools=list(self._episode.tools()))
        self._state.step_count += 1
        try:
            reply = self._episode.call(action.tool_name, action.arguments)
        except ToolCallError as refusal:
            error = ToolError(error_type=ToolErrorType.EXECUTION_ERROR, message=str(refusal))
            return CallToolObservation(tool_name=action.tool_name, error=error, reward=0.0, done=self._episode.done)
        return CallToolObservation(
            tool_name=action.tool_name, result=reply, reward=reply["reward"], done=self._episode.done
        )

    @property
    def state(self) -> State:
        """The episode's id, and how many calls it had."""
        return self._state

    def close(self) -> None:
        """Close the connection."""
        self._episode.close()


class FleetEnvironment(TuningEnvironment):
    """The fleet, at the path /fleet of the server."""

    client: ClassVar[type[MLTrainerEnv]] = FleetEnv
    path: ClassVar[str] = "/fleet"


def input_row(environment: TuningEnvironment, task_id: str) -> dict[str, Any]:
    """Make a row of a data set of NeMo Gym: the prompt of an episode, and the tools.

    Args:
        environment: An environment of the game. Its server is asked for the task and the tools.
        task_id: The drawn task that `reset_kwargs` names, such as `tuning/validation/0`.

    Raises:
        ResetRefusedError: The task is unknown, or the server is full.
    """
    split, _, index = task_id.rpartition("/")
    (row,) = task_rows(split, [int(index)])
    description = environment.reset(task_id=task_id).model_dump()["task"]["description"]
    listed = environment.step(ListToolsAction())
    tools = [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.input_schema,
            "strict": False,
        }
        for tool in getattr(listed, "tools", ())
    ]
    asked = [{"role": "developer", "content": row["prompt"][0]["content"]}, {"role": "user", "content": description}]
    return {"responses_create_params": {"input": asked, "tools": tools}}
