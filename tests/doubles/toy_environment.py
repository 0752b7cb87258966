"""A toy environment of OpenEnv: guess a word that the task and the seed draw. It knows nothing of ours.

Each flaw makes it break one promise. `toy_package` writes what its author declares.
"""

import json
import random
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from fastapi import FastAPI
from fastapi.responses import FileResponse
from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.mcp_types import (
    CallToolAction,
    CallToolObservation,
    ListToolsAction,
    ListToolsObservation,
    Tool,
    ToolError,
    ToolErrorType,
)
from openenv.core.env_server.types import Observation, State

NAME = "toy"
SEED = 7
TASKS = ("plain", "fancy")
WORDS = ("plover", "curlew", "dunlin", "godwit", "turnstone")
TOOLS = {"look": {}, "guess": {"word": {"type": "string"}}}


class Flaw(StrEnum):
    """A promise that the toy breaks."""

    NONE = "none"
    WEAK_ORACLE = "weak_oracle"
    PAYS_FOR_NOTHING = "pays_for_nothing"
    TRICKED = "tricked"
    LUCKY = "lucky"
    """The trick pays with one seed alone. That is no flaw, but chance."""
    LEAKS = "leaks"
    MOODY = "moody"
    DRIFTED = "drifted"
    RANDOM = "random"
    DEAF_TO_SEEDS = "deaf_to_seeds"
    SHARED = "shared"
    LEFTOVERS = "leftovers"
    SERVES_ORACLE = "serves_oracle"
    HIDDEN_TOOL = "hidden_tool"
    LOST_TASK = "lost_task"


def word_of(task: str, seed: int) -> str:
    """The word to guess."""
    return random.Random(f"{task} {seed}").choice(WORDS)


class ResetObservation(Observation):
    """What an agent sees first."""

    task_id: str
    hint: str | None = None


class Toy(Environment):
    """See the module. Reward 1 for the right word, 0 for a wrong one, which ends the episode, too."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, flaw: Flaw, shared: list[str]) -> None:
        super().__init__()
        self._flaw, self._shared = flaw, shared
        self._own: list[str] = []
        self._state = State(step_count=0)

    def reset(self, seed: int | None = None, episode_id: str | None = None, task_id: str = "plain", **_: Any) -> Any:
        if task_id not in TASKS:
            raise ValueError(f"there is no task {task_id}")
        self._word = word_of(task_id, seed or 0)
        self._seed = seed
        drawn = {Flaw.RANDOM: None, Flaw.DEAF_TO_SEEDS: 1}.get(self._flaw, seed)
        self._random = random.Random(drawn)
        if self._flaw is not Flaw.LEFTOVERS:
            self._own = []
        self._state = State(episode_id=episode_id, step_count=0)
        return ResetObservation(task_id=task_id, hint=self._word if self._flaw is Flaw.LEAKS else None)

    def step(self, action: Any, timeout_s: float | None = None, **_: Any) -> Any:
        if isinstance(action, ListToolsAction):
            names = [*TOOLS, "cheat"] if self._flaw is Flaw.HIDDEN_TOOL else TOOLS
            schemas = {name: {"type": "object", "properties": TOOLS.get(name, {})} for name in names}
            return ListToolsObservation(
                tools=[Tool(name=name, description="A tool.", input_schema=one) for name, one in schemas.items()]
            )
        self._state.step_count += 1
        if action.tool_name == "look":
            return self._look()
        if action.tool_name == "guess":
            return self._guess(str(action.arguments.get("word", "")))
        error = ToolError(error_type=ToolErrorType.TOOL_NOT_FOUND, message="no such tool")
        return CallToolObservation(tool_name=action.tool_name, result=None, error=error, reward=0.0, done=False)

    def _look(self) -> CallToolObservation:
        seen = self._shared if self._flaw is Flaw.SHARED else self._own
        seen.append("look")
        reward = 0.5 if self._flaw is Flaw.DRIFTED else 0.0
        result = {"looks": len(seen), "number": self._random.randrange(10**9), "looked_at_s": random.random()}
        return CallToolObservation(tool_name="look", result=result, reward=reward, done=False)

    def _guess(self, word: str) -> CallToolObservation:
        reward = float(word == self._word)
        if self._flaw is Flaw.WEAK_ORACLE:
            reward *= 0.5
        if self._flaw is Flaw.PAYS_FOR_NOTHING or (self._flaw is Flaw.TRICKED and word == "*"):
            reward = 1.0
        if self._flaw is Flaw.LUCKY and word == "*" and self._seed == SEED:
            reward = 1.0
        if self._flaw is Flaw.MOODY:
            self._shared.append("guess")
            reward -= 0.01 * len(self._shared)
        return CallToolObservation(tool_name="guess", result={}, reward=reward, done=True)

    @property
    def state(self) -> State:
        return self._state

    def list_splits(self) -> list[dict[str, str]]:
        return [{"name": "train", "type": "train"}]

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        tasks = TASKS[:1] if self._flaw is Flaw.LOST_TASK else TASKS
        return [{"id": task, "split": "train", "index": n} for n, task in enumerate(tasks)] if split == "train" else []

    def num_tasks(self, split: str) -> int:
        return len(self.list_tasks(split))

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        return self.list_tasks(split)[index]

    def get_task_range(self, split: str, start: int | None, stop: int | None) -> list[dict[str, Any]]:
        return self.list_tasks(split)[slice(start, stop)]


def toy_app(flaw: Flaw, package: Path) -> FastAPI:
    """Its application, as OpenEnv makes it."""
    shared: list[str] = []
    app = create_fastapi_app(
        lambda: Toy(flaw, shared),
        CallToolAction,
        CallToolObservation,
        max_concurrent_envs=8,
        env_name=NAME,
        reset_observation_cls=ResetObservation,
    )
    if flaw is Flaw.SERVES_ORACLE:
        app.get("/oracles/plain.json")(lambda: FileResponse(package / "oracles/plain.json"))
    return app


def toy_package(folder: Path) -> Path:
    """Write the toy's package: manifest, probe plan, oracles and canaries."""
    look, guess = {"tool": "look"}, {"tool": "guess", "arguments": {"word": ""}}
    for task in TASKS:
        right = {"tool": "guess", "arguments": {"word": word_of(task, SEED)}}
        oracle = {
            "task": task,
            "reset": {"task_id": task, "seed": SEED},
            "calls": [look, right],
            "recorded": {"rewards": [0.0, 1.0]},
        }
        _write(folder / f"oracles/{task}.json", json.dumps(oracle))
    star = {"tool": "guess", "arguments": {"word": "*"}}
    canaries = [{"name": "do_nothing", "calls": [guess]}, {"name": "wildcard", "reason": "A pattern.", "calls": [star]}]
    _write(folder / "canaries.json", json.dumps({"canaries": canaries}))
    probe = {"type": "call_tool", "tool_name": "look", "arguments": {}}
    plan = {"plan_schema_version": "1", "reset": {"episode_id": "probe", "seed": SEED}, "actions": [probe] * 3}
    _write(folder / "validation/runtime.json", json.dumps(plan))
    _write(folder / "Dockerfile", "FROM scratch\nCOPY server /server\n")
    _write(folder / "openenv.yaml", yaml.safe_dump(manifest_of_the_toy()))
    return folder


def manifest_of_the_toy() -> dict[str, Any]:
    """What the toy's author declares."""
    return {
        "name": NAME,
        "version": "1.0.0",
        "validation": {
            "reward": {"range": [0.0, 1.0], "oracle_tolerance": 0.05, "floor_margin": 0.2},
            "resources": {"cpu": 1.0, "memory_mb": 1024, "disk_mb": 64, "episode_timeout_s": 30.0},
            "capabilities": {
                "verifier": {"kind": "reward_channel"},
                "oracle": {"form": "script", "location": "oracles"},
                "canaries": "canaries.json",
                "task_api": True,
                "declared_tools": ["look", "guess"],
                "declared_task_count": {"train": 2},
            },
            "types": {"tags": ["toy"]},
            "execution": {"kind": "openenv_ws", "probe_path": "validation/runtime.json"},
        },
    }


@dataclass(eq=False)
class RunningToy:
    """A running toy, as a provider hands it to graders."""

    base_url: str
    memory_mb: float = 100.0

    def usage(self) -> dict[str, float]:
        return {"memory_mb": self.memory_mb, "cpu": 0.5, "disk_mb": 0.0}


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
