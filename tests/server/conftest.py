"""What the server's tests share: clients of the live server, episodes, and environments without a network."""

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from epoch_executor import EpochExecutor, EpochJob, EpochResult, HeldOutJob
from openenv.core.env_server.mcp_types import CallToolAction
from openenv.core.env_server.serialization import serialize_observation

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.server.datasets import DataSettings, load_images
from ml_trainer_env.server.episodes.game import TimeLimits
from ml_trainer_env.server.episodes.units import LiveSource
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.openenv.environment import GameEnvironment
from ml_trainer_env.server.services import Services
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.trainer.metrics import EpochMetrics
from ml_trainer_env.server.trainer.state import TrainingState
from ml_trainer_env.server.tuning.episode import TuningEpisode
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.named_tasks import TASKS

BUNDLED = DataSettings(None, False)
"""The package's own images, and nothing from the network."""

IDENTITY = Identity({"engine": "canned"})


@dataclass
class CannedExecutor(EpochExecutor):
    """Keeps the executor contract without training: each epoch comes to figures given beforehand.

    Attributes:
        epoch_s: How long an epoch takes.
        hangs_after: The next epoch after so many does not end. None if all do.
        losses: Losses by epoch of the episode; later epochs improve a little each.
        jobs: The epochs asked for.
        finished: How many of them came to their end.
    """

    epoch_s: float = 0.0
    hangs_after: int | None = None
    losses: Sequence[float] = ()
    jobs: list[EpochJob] = field(default_factory=list)
    finished: int = 0
    closed: bool = False
    ready: bool = True
    waiting: int = 0
    busy: int = 0
    worker_deaths: int = 0
    trouble: str | None = None

    async def start(self) -> None:
        """Nothing to start."""

    async def identity(self) -> Identity:
        return IDENTITY

    async def run_epoch(self, job: EpochJob, timeout_s: float, on_wait: object = None) -> EpochResult:
        self.jobs.append(job)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.sleep(timeout_s + 1 if self.finished == self.hangs_after else self.epoch_s)
        except TimeoutError:
            raise ExecutorError(f"the epoch took longer than {timeout_s:g} s") from None
        self.finished += 1
        number = self.finished
        loss = self.losses[number - 1] if number <= len(self.losses) else 2.0 / number
        metrics = EpochMetrics(
            train_loss=loss,
            train_accuracy=1.0 - 1.0 / (number + 1),
            val_loss=loss,
            val_accuracy=1.0 - 1.2 / (number + 1),
            learning_rate=job.plan.rate_at(job.state.epoch),
            diverged=not loss <= 100.0,
        )
        state = TrainingState(
            job.state.network, {}, {}, job.config.optimizer, epoch=job.state.epoch + 1, seed=job.state.seed
        )
        return EpochResult(state, metrics, self.epoch_s, IDENTITY.key)

    async def held_out_accuracy(self, job: HeldOutJob, timeout_s: float, on_wait: object = None) -> float:
        return 0.5

    async def close(self) -> None:
        self.closed = True


class Session:
    """An environment played as OpenEnv plays it, with replies as they cross the wire."""

    def __init__(self, environment: GameEnvironment, executor: CannedExecutor) -> None:
        self.environment = environment
        self.executor = executor

    async def call(self, tool_name: str, /, **arguments: Any) -> dict[str, Any]:
        """What OpenEnv would send: `observation`, `reward`, `done`, `metadata`."""
        action = CallToolAction(tool_name=tool_name, arguments=arguments)
        answer = serialize_observation(await self.environment.step_async(action))
        result = answer["observation"]["result"]
        answer["reply"] = result and result["data"]
        answer["error"] = answer["observation"]["error"] and answer["observation"]["error"]["message"]
        return answer

    async def reply(self, tool_name: str, /, **arguments: Any) -> dict[str, Any]:
        """The tool's own reply to a call that must be accepted."""
        answer = await self.call(tool_name, **arguments)
        assert answer["error"] is None, answer["error"]
        return answer["reply"]

    async def standing(self) -> dict[str, Any]:
        """All that an agent could see of the episode, and how much was trained."""
        state = self.environment.state.model_dump()
        del state["step_count"]
        played = self.environment._session.opened
        kept = played and copy.deepcopy(played.episode.run.checkpoints())
        return {"state": state, "checkpoints": kept, "epochs_trained": len(self.executor.jobs)}


NewSession = Callable[..., Session]


@pytest.fixture
def new_session(tmp_path: Path) -> Iterator[NewSession]:
    """Makes an environment of its own over canned epochs; nothing is trained."""
    opened: list[Services] = []

    def new(limits: TimeLimits | None = None, **canned: Any) -> Session:
        executor = CannedExecutor(**canned)
        folder = tmp_path / str(len(opened))
        settings = Settings.from_environment({"ML_TRAINER_STATE_DIR": str(folder), "ML_TRAINER_DOWNLOAD": "no"})
        services = Services(replace(settings, limits=limits or TimeLimits()), executor)
        opened.append(services)
        return Session(GameEnvironment(services.registry), executor)

    yield new
    for services in opened:
        asyncio.run(services.close())


@pytest.fixture(scope="session")
def trainer() -> Iterator[InProcessExecutor]:
    """Trains for real, in a thread of this process."""
    executor = InProcessExecutor(torch_threads=1, probe=PROBE)
    yield executor
    asyncio.run(executor.close())


NewEpisode = Callable[..., TuningEpisode]


@pytest.fixture
def new_episode(trainer: InProcessExecutor) -> NewEpisode:
    """Makes an episode; it trains for real unless another executor is given."""

    def new(task_id: str = "easy_mnist", **options: Any) -> TuningEpisode:
        task = TASKS[task_id]
        settings = {
            "name": "an episode",
            "task": task,
            "examples": load_images(task.examples, BUNDLED),
            "seed": task.seed,
            "rubric": RubricVersion.V1,
            "source": LiveSource(options.pop("executor", trainer)),
            "limits": TimeLimits(),
        }
        return TuningEpisode(**{**settings, **options})

    return new


@pytest.fixture(scope="session")
def run() -> Callable[[Awaitable[Any]], Any]:
    """Runs a coroutine to its end."""

    async def awaited(work: Awaitable[Any]) -> Any:
        return await work

    return lambda work: asyncio.run(awaited(work))


@pytest.fixture
def env(live_server: str) -> Iterator[MLTrainerEnv]:
    """A session with the live server, not reset yet."""
    with MLTrainerEnv(base_url=live_server) as client:
        yield client


@pytest.fixture
def http(live_server: str) -> Iterator[httpx.Client]:
    """Plain HTTP to the live server."""
    with httpx.Client(base_url=live_server, timeout=60.0, trust_env=False) as client:
        yield client


@dataclass(frozen=True)
class JsonRpc:
    """OpenEnv's JSON-RPC at /mcp."""

    http: httpx.Client

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The whole answer to a request."""
        request = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
        response = self.http.post("/mcp", json=request)
        assert response.status_code == 200
        return response.json()

    def result(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a request that must be accepted."""
        answer = self.ask(method, **params)
        assert "result" in answer, answer
        return answer["result"]

    def call(self, session_id: str, tool_name: str, **arguments: Any) -> dict[str, Any]:
        """A tool's reply, read from the text that any MCP client would read."""
        result = self.result("tools/call", session_id=session_id, name=tool_name, arguments=arguments)
        return json.loads(result["content"][0]["text"])


@pytest.fixture
def rpc(http: httpx.Client) -> JsonRpc:
    """JSON-RPC with the live server."""
    return JsonRpc(http)
