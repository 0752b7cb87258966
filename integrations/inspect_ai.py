"""Both games as tasks of Inspect, the evaluation framework of the UK AI Security Institute. Needs `inspect-ai`.

    inspect_ai.eval(ml_trainer(split="validation", count=8), model="openai/gpt-4o-mini")

A sample is an episode. Its solver opens a session of its own with the server's MCP endpoint and begins the episode.
Then the model has the game's tools. The token of the server is read from the variable `ML_TRAINER_TOKEN`. It is not an
argument, because Inspect writes the arguments of a task into its log.
"""

import json
import os
from contextlib import suppress
from typing import Any

from ml_trainer_env.client import MESSAGE_TIMEOUT_S, TOKEN_VARIABLE
from ml_trainer_env.integrations.episode import DEFAULT_URL
from ml_trainer_env.integrations.libraries import require
from ml_trainer_env.integrations.rows import task_rows

require("inspect_ai", "inspect-ai")

from inspect_ai import Task, task  # noqa: E402  # after the message about a missing library
from inspect_ai.dataset import MemoryDataset, Sample  # noqa: E402
from inspect_ai.model import ChatMessageTool, ChatMessageUser  # noqa: E402
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr  # noqa: E402
from inspect_ai.solver import Generate, Solver, TaskState, solver  # noqa: E402
from inspect_ai.tool import ToolDef, ToolError, mcp_connection, mcp_server_http  # noqa: E402

__all__ = ["episode_score", "ml_fleet", "ml_trainer", "play_episode"]

_NOT_OF_AN_EPISODE = ("start_task", "list_tasks")
"""Tools of the MCP endpoint that begin episodes. The model must not have them: it could try a task again."""


@task
def ml_trainer(base_url: str = DEFAULT_URL, split: str = "validation", first: int = 0, count: int = 8) -> Task:
    """Train models on a budget: `count` tasks of a split of the tuning game, from index `first` on."""
    return _task(base_url, f"tuning/{split}", first, count)


@task
def ml_fleet(base_url: str = f"{DEFAULT_URL}/fleet", split: str = "validation", first: int = 0, count: int = 8) -> Task:
    """Keep a training run on many ranks alive: `count` tasks of a split of the fleet, from index `first` on."""
    return _task(base_url, f"fleet/{split}", first, count)


def _task(base_url: str, split: str, first: int, count: int) -> Task:
    samples = [
        Sample(input=row["prompt"][0]["content"], id=row["task_id"], metadata={"task_id": row["task_id"]})
        for row in task_rows(split, range(first, first + count))
    ]
    return Task(dataset=MemoryDataset(samples), solver=play_episode(base_url), scorer=episode_score())


@solver
def play_episode(base_url: str) -> Solver:
    """Begin the sample's episode and let the model play it.

    An episode that the model leaves is submitted as it stands, if there is anything to submit. Without that, a model
    could avoid a low grade by never submitting.

    Args:
        base_url: URL of the server; for the fleet with the path /fleet.
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        server = mcp_server_http(
            url=f"{base_url}/mcp",
            authorization=os.environ.get(TOKEN_VARIABLE),
            timeout=MESSAGE_TIMEOUT_S,
            sse_read_timeout=MESSAGE_TIMEOUT_S,
        )
        async with mcp_connection(server):
            tools = {ToolDef(tool).name: tool for tool in await server.tools()}
            begun: Any = await tools["start_task"](task_id=state.metadata["task_id"])
            state.messages.append(ChatMessageUser(content=begun))
            state.tools = [tool for name, tool in tools.items() if name not in _NOT_OF_AN_EPISODE]
            state = await generate(state)
            if not any(reply.get("done") for reply in _replies(state)):
                with suppress(ToolError):
                    closing: Any = await tools["submit_model"]()
                    state.messages.append(ChatMessageTool(content=closing, function="submit_model"))
                    state.metadata["closed"] = True
            return state

    return solve


@scorer(metrics=[mean(), stderr()])
def episode_score() -> Scorer:
    """Tell the score of the episode: the server's grade, or 0 if nothing was submitted."""

    async def score(state: TaskState, _target: Target) -> Score:
        replies = _replies(state)
        final: dict[str, Any] = next((reply for reply in reversed(replies) if reply.get("done")), {})
        told = final.get("message", "Nothing was submitted.")
        return Score(
            value=final.get("score", 0.0),
            explanation=told,
            metadata={
                "ended": bool(final) and not state.metadata.get("closed"),
                "reward": sum(reply.get("reward", 0.0) for reply in replies),
            },
        )

    return score


def _replies(state: TaskState) -> list[dict[str, Any]]:
    return [_reply_of(message) for message in state.messages if isinstance(message, ChatMessageTool)]


def _reply_of(message: ChatMessageTool) -> dict[str, Any]:
    """Read a reply of the server. A refused call has none."""
    with suppress(json.JSONDecodeError):
        reply = json.loads(message.text)
        return reply if isinstance(reply, dict) else {}
    return {}
