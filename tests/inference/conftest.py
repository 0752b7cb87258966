"""Stand-ins for the two servers that an agent talks to, with rules of their own.

`FakeSession` is an episode in memory: it checks arguments, spends a budget, refuses what the
real one refuses and grades. The other server is `doubles/chat_server.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from chat_server import ChatServer

from ml_trainer_env.baselines.chat_model import ChatModel
from ml_trainer_env.baselines.llm import LlmAgent
from ml_trainer_env.baselines.rate_limit import RateLimiter
from ml_trainer_env.baselines.session import Brief, CallRefusedError, DatasetBrief, Reply, ToolSpec
from ml_trainer_env.baselines.settings import LlmSettings

KEY = "sk-test-4f1c9d7e"

TOOLS = (
    ToolSpec(
        "configure_training",
        "Set or change the configuration.",
        {
            "type": "object",
            "title": "configure_trainingArguments",
            "properties": {
                "optimizer": {"anyOf": [{"enum": ["sgd", "adam", "adamw"], "type": "string"}, {"type": "null"}]},
                "learning_rate": {
                    "anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 10}, {"type": "null"}],
                    "title": "Learning Rate",
                },
                "batch_size": {"anyOf": [{"enum": [32, 64, 128, 256], "type": "integer"}, {"type": "null"}]},
                "dropout": {"anyOf": [{"type": "number", "minimum": 0, "maximum": 0.5}, {"type": "null"}]},
                "augmentation": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
                "reinitialize": {"type": "boolean", "default": False},
            },
        },
    ),
    ToolSpec(
        "run_epochs",
        "Train.",
        {
            "type": "object",
            "properties": {"num_epochs": {"type": "integer", "minimum": 1, "maximum": 20}},
            "required": ["num_epochs"],
        },
    ),
    ToolSpec("get_training_status", "Look.", {"type": "object", "properties": {}}),
    ToolSpec("submit_model", "Grade and end.", {"type": "object", "properties": {}}),
)


class FakeSession:
    """An episode in memory. Accuracy rises towards a ceiling; a rate above 1 diverges.

    Args:
        difficulty: Of its task.
        budget: Epochs.
        ceiling: The accuracy that training approaches.
        source: Of its images.
    """

    def __init__(
        self,
        difficulty: str = "easy",
        budget: int = 30,
        ceiling: float = 0.96,
        source: str = "bundled",
        seed: int = 42,
        network: str = "simple_mlp",
    ) -> None:
        self.tools: Sequence[ToolSpec] = TOOLS
        self.calls: list[tuple[str, dict[str, object]]] = []
        self.configuration: dict[str, object] = {"optimizer": "adam", "learning_rate": 0.001}
        self._ceiling = ceiling
        self._budget = budget
        self._curve: list[dict[str, Any]] = []
        self._diverged = False
        self._done = False
        self.brief = Brief(
            episode_id="ep-1",
            task_id=f"{difficulty}_task",
            name="A task",
            description="Train well.",
            difficulty=difficulty,
            network=network,
            parameter_count=101_770,
            dataset=DatasetBrief("mnist", source, 4000, 1000, 5000),
            budget_epochs=budget,
            target_metric="val_accuracy",
            target_value=0.9,
            seed=seed,
            rubric="v1",
            status=self._status("ready"),
        )

    def call(self, name: str, arguments: Mapping[str, object], reason: str = "") -> Reply:
        self.calls.append((name, dict(arguments)))
        if self._done:
            raise CallRefusedError("the episode has ended; call reset first")
        match name:
            case "configure_training":
                return self._configure(dict(arguments))
            case "run_epochs":
                return self._run(arguments.get("num_epochs"))
            case "get_training_status":
                return self._status("looked", configuration=self.configuration)
            case "submit_model":
                return self._submit()
        raise AssertionError(f"an agent called {name}, which is not on the list")

    def _configure(self, changes: dict[str, object]) -> Reply:
        known = TOOLS[0].input_schema["properties"]
        for name in changes:
            if name not in known:
                raise CallRefusedError(f"unknown parameter {name}")
        rate = changes.get("learning_rate", 0.001)
        if not isinstance(rate, int | float) or not 0 < rate <= 10:
            raise CallRefusedError(f"learning_rate must be above 0 and at most 10, not {rate!r}")
        if changes.pop("reinitialize", False):
            self._diverged = False
        self.configuration |= changes
        return self._status("configured")

    def _run(self, count: object) -> Reply:
        if not isinstance(count, int) or not 1 <= count <= 20:
            raise CallRefusedError(f"num_epochs must be a whole number from 1 to 20, not {count!r}")
        if self._diverged:
            raise CallRefusedError("training has diverged; reinitialize first")
        if len(self._curve) >= self._budget:
            raise CallRefusedError("the budget is spent; submit")
        before = len(self._curve)
        for _ in range(min(count, self._budget - before)):
            self._curve.append(self._epoch(len(self._curve) + 1))
            if self._diverged:
                break
        run = self._curve[before:]
        return self._status(f"ran {len(run)} epochs", epochs=run, reward=0.05)

    def _epoch(self, number: int) -> dict[str, Any]:
        rate = self.configuration["learning_rate"]
        self._diverged = isinstance(rate, int | float) and rate > 1
        accuracy = self._ceiling * (1 - 0.5**number)
        loss = None if self._diverged else 1.0 - accuracy
        return {
            "epoch": number,
            "train_loss": loss,
            "val_loss": loss,
            "train_accuracy": accuracy,
            "val_accuracy": accuracy,
            "learning_rate": rate,
        }

    def _submit(self) -> Reply:
        if not self._curve:
            raise CallRefusedError("nothing has been trained; run epochs before you submit")
        self._done = True
        best = max(point["val_accuracy"] for point in self._curve)
        return self._status("graded", score=best, reward=best, details={"val_accuracy": best}, test_accuracy=best)

    def _status(self, message: str, **more: Any) -> Reply:
        curve = self._curve
        last = curve[-1] if curve else {}
        best = max(curve, key=lambda point: point["val_accuracy"]) if curve else {}
        return {
            "current_epoch": len(curve),
            "max_epochs": self._budget,
            "remaining_budget": self._budget - len(curve),
            "train_loss": last.get("train_loss"),
            "val_loss": last.get("val_loss"),
            "train_accuracy": last.get("train_accuracy"),
            "val_accuracy": last.get("val_accuracy"),
            "best_val_accuracy": best.get("val_accuracy", 0.0),
            "best_val_epoch": best.get("epoch", 0),
            "loss_history_last_10": [point["train_loss"] for point in curve[-10:]],
            "val_loss_history_last_10": [point["val_loss"] for point in curve[-10:]],
            "convergence_signal": self._signal(),
            "is_diverged": self._diverged,
            "learning_rate": self.configuration["learning_rate"],
            "epoch_time_s": 0.01,
            "reward": 0.0,
            "done": self._done,
            "message": message,
            "configuration": dict(self.configuration),
        } | more

    def _signal(self) -> str:
        if self._diverged:
            return "diverged"
        if not self._curve:
            return "not_started"
        return "warming_up" if len(self._curve) < 3 else "improving"


class FakeTime:
    """A clock that moves only when someone sleeps."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


class LlmBench:
    """An LLM agent wired to a chat server, with a clock that needs no waiting."""

    def __init__(self, server: ChatServer) -> None:
        self.server = server
        self.time = FakeTime()
        self.events: list[tuple[str, Mapping[str, object]]] = []
        self._opened: list[ChatModel] = []
        server.clock = self.time

    def settings(self, **changes: Any) -> LlmSettings:
        given = {"api_key": KEY, "key_name": "OPENAI_API_KEY", "base_url": self.server.url, "model": "gpt-4o-mini"}
        return LlmSettings(**{**given, "rpm_limit": 1000, "timeout_s": 30.0, **changes})

    def chat(self, **changes: Any) -> ChatModel:
        settings = self.settings(**changes)
        chat = ChatModel(
            settings,
            self.record,
            limiter=RateLimiter(settings.rpm_limit, clock=self.time, sleep=self.time.sleep),
            sleep=self.time.sleep,
            clock=self.time,
        )
        self._opened.append(chat)
        return chat

    def agent(self, **changes: Any) -> LlmAgent:
        return LlmAgent(self.chat(**changes), self.settings(**changes), self.record)

    def record(self, kind: str, fields: Mapping[str, object]) -> None:
        self.events.append((kind, fields))

    def told(self, request: int) -> str:
        """The last message of a request that the model was sent."""
        return str(self.server.requests[request].messages[-1]["content"])

    def close(self) -> None:
        for chat in self._opened:
            chat.__exit__(None, None, None)


@pytest.fixture
def chat_server() -> Iterator[ChatServer]:
    server = ChatServer()
    yield server
    server.close()


@pytest.fixture
def bench(chat_server: ChatServer) -> Iterator[LlmBench]:
    bench = LlmBench(chat_server)
    yield bench
    bench.close()


@pytest.fixture
def make_session() -> type[FakeSession]:
    return FakeSession


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()
