"""The Python client. Works with plain `with`, `async with`, `.sync()` and `new_session()`.

with MLTrainerEnv(base_url="http://localhost:8000") as env:
env.reset(task_id="easy_mnist")
reply = env.call_tool("run_epochs", num_epochs=10)
print(reply["val_accuracy"], env.reward, env.done)
"""

from collections.abc import Mapping
from typing import Any

from openenv.core.client_types import StepResult
from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation
from openenv.core.env_server.types import Observation
from openenv.core.mcp_client import MCPToolClient
from openenv.core.sync_client import SyncEnvClient
from websockets.exceptions import ConnectionClosed

from ml_trainer_env.models import MLTrainerState, ResetObservation

__all__ = ["MLTrainerEnv", "MlTrainerAction", "MlTrainerEnv", "MlTrainerObservation", "ToolCallError"]

MESSAGE_TIMEOUT_S = 1020.0
"""Longer than the server lets any call take, so that it is the server that says a call took too long."""


class ToolCallError(RuntimeError):
    """A tool call was refused or failed. The message is the server's.

    Attributes:
        tool_name: The tool that was called.
    """

    def __init__(self, tool_name: str, message: str) -> None:
        super().__init__(message)
        self.tool_name = tool_name


class MLTrainerEnv(MCPToolClient):
    """A session with an ML Training Optimizer server, over one WebSocket.

    Every method answers at once in synchronous code and is to be awaited in asynchronous code.

    Args:
        base_url: The server's address.
        message_timeout_s: How long to wait for the answer to a call, in seconds.
        options: As `openenv.core.mcp_client.MCPToolClient` takes them, `headers` for instance.

    Attributes:
        reward: Reward of the last call, 0.0 before the first.
        done: Whether the episode is over.
        step_count: Tool calls made in this episode.
        episode_id: The episode of the last reset, None before the first.
    """

    def __init__(self, base_url: str, *, message_timeout_s: float = MESSAGE_TIMEOUT_S, **options: Any) -> None:
        super().__init__(base_url, message_timeout_s=message_timeout_s, **options)
        # The stock client posts calls to /mcp, past step(), where reward and done are lost.
        self.use_production_mode = False
        self.reward = 0.0
        self.done = False
        self.step_count = 0
        self.episode_id: str | None = None

    def list_tools(self, use_cache: bool = True) -> Any:
        """The tools with their schemas: a list of `openenv.core.env_server.mcp_types.Tool`."""
        return self._dispatch(lambda: super(MLTrainerEnv, self).list_tools(use_cache))

    def get_tool(self, name: str) -> Any:
        """One tool, None if there is none of that name."""
        return self._dispatch(lambda: super(MLTrainerEnv, self).get_tool(name))

    def has_tool(self, name: str) -> Any:
        """Whether there is a tool of that name."""
        return self._dispatch(lambda: super(MLTrainerEnv, self).has_tool(name))

    def call_tool(self, name: str, /, **arguments: Any) -> Any:  # type: ignore[override]  # tools have a `name` too
        """Call a tool.

        Args:
            name: Which tool.
            arguments: Its arguments. A tool's own parameter may be called `name` too.

        Returns:
            The reply, a dict: see README for its fields.

        Raises:
            ToolCallError: The server refused the call or could not do it.
            ConnectionError: The server cannot be reached.
        """
        return self._dispatch(lambda: self._call_tool_async(name, arguments))

    def resume(self, episode_id: str | None = None) -> Any:
        """Go on with an episode after a lost connection or a restart of the server; connects anew if need be.

        Args:
            episode_id: Which episode; the one of this session's last reset if None.

        Returns:
            As `reset`. The observation's `last_call` is the last call that counted, with its reply: whoever
            lost a reply finds it there.

        Raises:
            RuntimeError: The server does not know the episode.
            ConnectionError: The server cannot be reached.
        """
        return self._dispatch(lambda: self._reset_async(episode_id=episode_id or self.episode_id, resume=True))

    def sync(self) -> SyncEnvClient[Any, Any, Any]:
        """The same client for synchronous code."""
        if self._sync_client is None:
            self._sync_client = _SyncClient(self)
        return self._sync_client

    def new_session(self) -> Any:
        """Another session with the same server, closed with this one."""
        if self._execution_mode == "sync":
            client = self._create_session_client()
            client._run_sync(client._connect_async)
            self._child_clients.append(client)
            return client
        return self._dispatch(super().new_session)

    async def _call_tool_async(self, name: str, arguments: Mapping[str, Any]) -> Any:
        result = await self._step_async(CallToolAction(tool_name=name, arguments=dict(arguments)))
        observation = result.observation
        if isinstance(observation, CallToolObservation):
            if observation.error is not None:
                raise ToolCallError(name, observation.error.message)
            return _reply_of(observation.result)
        raise ToolCallError(name, f"the server answered with {type(observation).__name__}, not with a tool's reply")

    async def _send_and_receive(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = await super()._send_and_receive(message)
        except ConnectionClosed as error:
            raise ConnectionError(f"the server at {self.base_url} closed the connection: {error}") from error
        return answer

    async def _reset_async(self, **options: Any) -> StepResult[Observation]:
        result = await super()._reset_async(**options)
        self.reward, self.done = 0.0, result.done
        self.step_count = int((result.metadata or {}).get("step_count", 0))
        if isinstance(result.observation, ResetObservation):
            self.episode_id = result.observation.episode_id
        return result

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[Observation]:
        observed = payload.get("observation", {})
        if "task" in observed:
            observation = ResetObservation.model_validate({**observed, "reward": payload.get("reward")})
            done = bool(payload.get("done"))
            metadata = payload.get("metadata")
            return StepResult(observation=observation, reward=payload.get("reward"), done=done, metadata=metadata)
        result = super()._parse_result(payload)
        if isinstance(result.observation, CallToolObservation):
            self.reward = float(result.reward or 0.0)
            self.done = result.done
            self.step_count = int((result.metadata or {}).get("step_count", self.step_count + 1))
        return result

    def _parse_state(self, payload: dict[str, Any]) -> MLTrainerState:
        return MLTrainerState.model_validate(payload)


class _SyncClient(SyncEnvClient[Any, Any, Any]):
    """OpenEnv's synchronous wrapper, with new sessions that know that they are synchronous."""

    def new_session(self) -> SyncEnvClient[Any, Any, Any]:
        client: SyncEnvClient[Any, Any, Any] = self._async._create_session_client().sync()
        client.connect()
        self._child_clients.append(client)
        return client


def _reply_of(result: Any) -> Any:
    return result["data"] if isinstance(result, dict) and "data" in result else result


# OpenEnv's AutoEnv derives class names from the environment's name.
MlTrainerEnv = MLTrainerEnv
MlTrainerAction = CallToolAction
MlTrainerObservation = CallToolObservation
