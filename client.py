"""The Python client. Works with plain `with`, `async with`, `.sync()` and `new_session()`.

with MLTrainerEnv(base_url="http://localhost:8000") as env:
env.reset(task_id="easy_mnist")
reply = env.call_tool("run_epochs", num_epochs=10)
print(reply["val_accuracy"], env.reward, env.done)
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import httpx
from openenv.core.client_types import StepResult
from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation
from openenv.core.env_server.types import Observation
from openenv.core.mcp_client import MCPToolClient
from openenv.core.sync_client import SyncEnvClient
from pydantic import ValidationError
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from ml_trainer_env.errors import (
    CallTimeoutError,
    EnvConnectionError,
    MLTrainerError,
    ResetRefusedError,
    ToolCallError,
)
from ml_trainer_env.models import EpisodeObservation, EpisodeState, MLTrainerState, ResetObservation

__all__ = [
    "CallTimeoutError",
    "EnvConnectionError",
    "MLTrainerEnv",
    "MLTrainerError",
    "MlTrainerAction",
    "MlTrainerEnv",
    "MlTrainerObservation",
    "OnProgress",
    "ResetRefusedError",
    "ToolCallError",
]

MESSAGE_TIMEOUT_S = 1020.0
"""Longer than the server's own limit for a call, so that the server reports the timeout."""

TOKEN_VARIABLE = "ML_TRAINER_TOKEN"

OnProgress = Callable[[int, int, str], None]
"""Called during `run_epochs` (`run_steps` of the fleet) with the finished epochs, the total epochs, and a message."""


class _RefusedError(MLTrainerError, RuntimeError):
    """The server answered a message with an error. The message is the server's."""


class MLTrainerEnv(MCPToolClient):
    """A session with an ML Training Optimizer server, over one WebSocket.

    In synchronous code, every method returns its result. In asynchronous code, await it.

    Args:
        base_url: URL of the server.
        message_timeout_s: Time limit for the next message from the server, a reply or progress, in seconds.
        on_progress: Called on the client's event loop after each epoch of a `run_epochs` call. It must return quickly.
            Older servers send no progress.
        options: Options of `openenv.core.mcp_client.MCPToolClient`, for example `headers`.

    Attributes:
        reset_model: The model of the observation of a reset. A client of another game overrides it.
        state_model: The model of the state. A client of another game overrides it.
        reward: Reward of the last call; 0.0 before the first.
        done: Whether the episode has ended.
        step_count: Number of tool calls in this episode.
        episode_id: Id of the episode of the last reset; None before the first.
    """

    reset_model: ClassVar[type[EpisodeObservation]] = ResetObservation
    state_model: ClassVar[type[EpisodeState]] = MLTrainerState

    def __init__(
        self,
        base_url: str,
        *,
        message_timeout_s: float = MESSAGE_TIMEOUT_S,
        on_progress: OnProgress | None = None,
        **options: Any,
    ) -> None:
        super().__init__(base_url, message_timeout_s=message_timeout_s, **options)
        # OpenEnv's client would send calls to /mcp and not to step(). Replies there have no reward and no done flag.
        self.use_production_mode = False
        self._on_progress = on_progress
        self._reason = ""
        self.reward = 0.0
        self.done = False
        self.step_count = 0
        self.episode_id: str | None = None

    def list_tools(self, use_cache: bool = True) -> Any:
        """List the tools with their schemas: `openenv.core.env_server.mcp_types.Tool`."""
        return self._dispatch(lambda: super(MLTrainerEnv, self).list_tools(use_cache))

    def get_tool(self, name: str) -> Any:
        """Get a tool by name; None if it does not exist."""
        return self._dispatch(lambda: super(MLTrainerEnv, self).get_tool(name))

    def has_tool(self, name: str) -> Any:
        """Whether a tool with this name exists."""
        return self._dispatch(lambda: super(MLTrainerEnv, self).has_tool(name))

    def call_tool(self, name: str, /, **arguments: Any) -> Any:  # type: ignore[override]  # tools have a `name` too
        """Call a tool.

        Args:
            name: Name of the tool.
            arguments: Arguments of the tool. One of them may be called `name`.

        Returns:
            The reply, a dict. docs/tools.md describes its fields.

        Raises:
            ToolCallError: The server refused the call, or the call failed.
            CallTimeoutError: The server did not answer in time.
            EnvConnectionError: The server cannot be reached.
        """
        return self._dispatch(lambda: self._call_tool_async(name, arguments))

    def explain(self, reason: str) -> None:
        """Give the reason of the next call, for people who watch. It changes nothing.

        Args:
            reason: Why the agent makes the call. The server keeps the first 500 characters.
        """
        self._reason = reason

    def reset(self, **options: Any) -> Any:
        """Begin an episode.

        Args:
            options: `task_id`, `seed`, `episode_id`, `rubric`, `resume`, `fork_from` and `agent`; see docs/python.md.

        Returns:
            A `StepResult` whose observation is a `models.ResetObservation`, or what `reset_model` is.

        Raises:
            ResetRefusedError: The task, an option or the episode is unknown, the server is full, or it plays another
                game at this address.
            EnvConnectionError: The server cannot be reached.
        """
        return super().reset(**options)

    def resume(self, episode_id: str | None = None) -> Any:
        """Continue an episode after a lost connection or a restart of the server. Reconnects if necessary.

        Args:
            episode_id: Id of the episode; None for the episode of this session's last reset.

        Returns:
            The same as `reset`. The observation's `last_call` is the last call that counted, with its reply. So it
            contains a reply that was lost with the connection.

        Raises:
            ResetRefusedError: The server does not know the episode.
            EnvConnectionError: The server cannot be reached.
        """
        return self._dispatch(lambda: self._reset_async(episode_id=episode_id or self.episode_id, resume=True))

    def sync(self) -> SyncEnvClient[Any, Any, Any]:
        """Get this client for synchronous code."""
        if self._sync_client is None:
            self._sync_client = _SyncClient(self)
        return self._sync_client

    def new_session(self) -> Any:
        """Open another session with the same server. It is closed with this one."""
        if self._execution_mode == "sync":
            client = self._create_session_client()
            client._run_sync(client._connect_async)
            self._child_clients.append(client)
            return client
        return self._dispatch(super().new_session)

    def export_episode(self, episode_id: str | None = None, *, states: bool = True) -> Any:
        """Take an episode away from the server, and return its file as bytes. Another server can go on with it.

        No session can resume the episode here until its file is imported. An export can be repeated.

        Args:
            episode_id: The episode. None for this session's.
            states: Whether the file has the models. Without them the importer trains them again when it needs them.

        Raises:
            ResetRefusedError: There is no such episode, or it is not exported.
            EnvConnectionError: The server does not answer.
        """
        name = episode_id if episode_id is not None else self.episode_id
        if name is None:
            raise ValueError("name the episode: this session has none")
        return self._dispatch(lambda: self._export_async(name, states))

    def import_episode(self, file: bytes) -> Any:
        """Record an exported episode on this server, and return its id for `resume`.

        Raises:
            ResetRefusedError: The file is damaged, or the server cannot go on with the episode.
            EnvConnectionError: The server does not answer.
        """
        return self._dispatch(lambda: self._import_async(file))

    def close(self) -> Any:
        """Close the connection and the sessions that `new_session` opened.

        In synchronous code it also ends the thread of the client's event loop, which OpenEnv's client leaves running.
        """
        sync_client = self._sync_client
        if self._execution_mode == "sync" and sync_client is not None and not _runs_on(sync_client._loop):
            return sync_client.close()
        return super().close()

    def __exit__(self, *_: object) -> None:
        """Close the connection; see `close`."""
        self.close()

    @classmethod
    def _bootstrap_container(cls, image: str, provider: Any = None, **options: Any) -> Self:
        """Start a container with a random token, which this client sends. Called by `from_docker_image`."""
        start = super()._bootstrap_container
        return cls._with_token(options, lambda: start(image, provider, **options))

    @classmethod
    def _bootstrap_env(cls, repo_id: str, **options: Any) -> Self:
        """Start the image of a Space with a random token, which this client sends. Called by `from_env`."""
        start = super()._bootstrap_env
        return cls._with_token(options, lambda: start(repo_id, **options))

    @classmethod
    def _with_token(cls, options: dict[str, Any], start: Callable[[], Self]) -> Self:
        """Start a server that only this client may call. A server in a container requires a token of every caller."""
        variables = dict(options.get("env_vars") or {})
        token = variables.setdefault(TOKEN_VARIABLE, secrets.token_urlsafe(24))
        options["env_vars"] = variables
        try:
            client = start()
        except RuntimeError as error:  # the provider's message contains the whole command
            raise EnvConnectionError(str(error).replace(token, "***")) from None
        if token.lower() != "off":
            client._headers = {**(client._headers or {}), "Authorization": f"Bearer {token}"}
        return client

    async def _connect_async(self) -> Any:
        try:
            return await super()._connect_async()
        except ConnectionError as error:
            raise EnvConnectionError(_why_not_connected(self.base_url, error)) from error

    async def _call_tool_async(self, name: str, arguments: Mapping[str, Any]) -> Any:
        try:
            result = await self._step_async(CallToolAction(tool_name=name, arguments=dict(arguments)))
        except _RefusedError as refusal:
            raise ToolCallError(name, str(refusal)) from refusal
        observation = result.observation
        if isinstance(observation, CallToolObservation):
            if observation.error is not None:
                raise ToolCallError(name, observation.error.message)
            return _reply_of(observation.result)
        raise ToolCallError(name, f"the server answered with {type(observation).__name__}, not with a tool's reply")

    async def _export_async(self, name: str, states: bool) -> bytes:
        query: dict[str, str | bool] = {"name": name, "states": states}
        return (await self._post("episodes/export", params=query)).content

    async def _import_async(self, file: bytes) -> str:
        return str((await self._post("episodes/import", content=file)).json()["episode_id"])

    async def _post(self, path: str, **request: Any) -> httpx.Response:
        """Send a request to the server's HTTP surface. Raises ResetRefusedError if it is refused."""
        base = str(self.base_url).rstrip("/")
        try:
            async with httpx.AsyncClient(timeout=self._message_timeout, headers=self._headers) as http:
                response = await http.post(f"{base}/{path}", **request)
        except httpx.TransportError as error:
            raise EnvConnectionError(f"the server at {base} does not answer: {error}") from error
        if response.is_error:
            raise ResetRefusedError(_refusal_of(response))
        return response

    def _step_payload(self, action: Any) -> dict[str, Any]:
        payload: dict[str, Any] = super()._step_payload(action)
        if isinstance(action, CallToolAction):
            reason, self._reason = self._reason, ""
            metadata = {"progress": True} if self._on_progress is not None else {}
            if metadata or reason:
                payload["metadata"] = {**metadata, **({"reason": reason} if reason else {})}
        return payload

    async def _send_and_receive(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = await super()._send_and_receive(message)
        except ConnectionClosed as error:
            raise EnvConnectionError(f"the server at {self.base_url} closed the connection: {error}") from error
        return answer

    async def _receive(self) -> dict[str, Any]:
        """Wait for the answer to the last message. Passes progress messages to `on_progress`."""
        while True:
            try:
                answer: dict[str, Any] = await super()._receive()
            except TimeoutError as error:
                raise CallTimeoutError(
                    f"the server at {self.base_url} has not answered for {self._message_timeout:g} s; "
                    "the call may still be running, and resume() shows what came of it"
                ) from error
            data = answer.get("data") or {}
            if answer.get("type") == "error":
                raise _RefusedError(str(data.get("message") or "the server gave no reason"))
            if answer.get("type") != "progress":
                return answer
            if self._on_progress is not None:
                self._on_progress(int(data["epochs"]), int(data["total"]), str(data["message"]))

    async def _reset_async(self, **options: Any) -> StepResult[Observation]:
        try:
            result = await super()._reset_async(**options)
        except _RefusedError as refusal:
            raise ResetRefusedError(str(refusal)) from refusal
        self.reward, self.done = 0.0, result.done
        self.step_count = int((result.metadata or {}).get("step_count", 0))
        if isinstance(result.observation, EpisodeObservation):
            self.episode_id = result.observation.episode_id
        return result

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[Observation]:
        observed = payload.get("observation", {})
        if "task" in observed:
            observation = self._reset_observation({**observed, "reward": payload.get("reward")})
            done = bool(payload.get("done"))
            metadata = payload.get("metadata")
            return StepResult(observation=observation, reward=payload.get("reward"), done=done, metadata=metadata)
        result = super()._parse_result(payload)
        if isinstance(result.observation, CallToolObservation):
            self.reward = float(result.reward or 0.0)
            self.done = result.done
            self.step_count = int((result.metadata or {}).get("step_count", self.step_count + 1))
        return result

    def _reset_observation(self, observed: dict[str, Any]) -> EpisodeObservation:
        try:
            return self.reset_model.model_validate(observed)
        except ValidationError as error:
            raise ResetRefusedError(f"the server at {self.base_url} plays another game") from error

    def _parse_state(self, payload: dict[str, Any]) -> EpisodeState:
        return self.state_model.model_validate(payload)


class _SyncClient(SyncEnvClient[Any, Any, Any]):
    """OpenEnv's synchronous wrapper. Its new sessions are synchronous, too."""

    def new_session(self) -> SyncEnvClient[Any, Any, Any]:
        client: SyncEnvClient[Any, Any, Any] = self._async._create_session_client().sync()
        client.connect()
        self._child_clients.append(client)
        return client


def _runs_on(loop: asyncio.AbstractEventLoop | None) -> bool:
    """Whether the caller runs on this event loop."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _why_not_connected(base_url: str | None, error: ConnectionError) -> str:
    """Explain a failed connection. The usual causes are a wrong address or a wrong token."""
    cause = error.__cause__
    if isinstance(cause, InvalidStatus):
        status = cause.response.status_code
        if status in (401, 403):
            said = cause.response.body.decode("utf-8", "replace").strip() if cause.response.body else ""
            return f"the server at {base_url} refused the connection (HTTP {status}): {said or 'it needs a token'}"
        return f"what answers at {base_url} is not an OpenEnv server: GET /ws says HTTP {status}"
    if isinstance(cause, InvalidHandshake | EOFError):
        return f"what answers at {base_url} is not an OpenEnv server: {cause}"
    return f"no environment answers at {base_url}: {cause or error}"


def _refusal_of(response: httpx.Response) -> str:
    """Return the words of a refused request."""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.text.strip() or f"HTTP {response.status_code}"


def _reply_of(result: Any) -> Any:
    return result["data"] if isinstance(result, dict) and "data" in result else result


# OpenEnv's AutoEnv derives class names from the environment's name.
MlTrainerEnv = MLTrainerEnv
MlTrainerAction = CallToolAction
MlTrainerObservation = CallToolObservation
