"""Episodes of a journal as data to learn from: trajectories, and chats with tool calls."""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from ml_trainer_env.server.store import CallRecord, JournaledEpisode

__all__ = ["ArgumentsForm", "chat", "trajectory"]

Json = dict[str, Any]


class ArgumentsForm(StrEnum):
    """How the arguments of a tool call are written in a chat."""

    OBJECT = "object"
    """As a JSON object, which most chat templates take (Qwen, Llama, Gemma, GLM, gpt-oss)."""
    JSON = "json"
    """As text that holds a JSON object, as OpenAI's API and the templates of DeepSeek take them."""


def trajectory(episode: JournaledEpisode, begun: Json) -> Json:
    """An episode as steps of observation, action, reward and done.

    A step's observation is what the agent had seen when it acted: the reply before, or the error.

    Args:
        episode: As it was written down.
        begun: What its reset answered.
    """
    seen = begun
    steps = []
    for call in episode.calls:
        following = _seen(call)
        steps.append(
            {
                "observation": seen,
                "action": {"tool_name": call.tool, "arguments": dict(call.arguments)},
                "reward": following.get("reward", 0.0),
                "done": following.get("done", False),
                "weights_hash": call.weights_hash,
                "inherited": call.inherited,
            }
        )
        seen = following
    return {**_facts(episode), "steps": steps, "final_observation": seen}


def chat(
    episode: JournaledEpisode,
    begun: Json,
    tools: Sequence[Json],
    prompt: str,
    arguments: ArgumentsForm = ArgumentsForm.OBJECT,
) -> Json:
    """Convert an episode to messages with tool calls, which chat templates render for fine-tuning.

    Every message has text as its content: many templates fail on null.

    Args:
        episode: As it was written down.
        begun: What its reset answered.
        tools: The tools that its agent had, as `{"type": "function", "function": ...}`.
        prompt: The system prompt.
        arguments: The form of the arguments of a tool call.

    Returns:
        Facts about the episode, `messages`, and `tools`.
    """
    messages: list[Json] = [
        {"role": "system", "content": prompt},
        {"role": "user", "content": json.dumps(begun)},
    ]
    for number, call in enumerate(episode.calls, 1):
        identity = f"call_{number}"
        given = dict(call.arguments)
        function = {"name": call.tool, "arguments": json.dumps(given) if arguments is ArgumentsForm.JSON else given}
        asked = [{"id": identity, "type": "function", "function": function}]
        reply = json.dumps(_seen(call))
        messages.append({"role": "assistant", "content": "", "tool_calls": asked})
        messages.append({"role": "tool", "tool_call_id": identity, "name": call.tool, "content": reply})
    return {**_facts(episode), "messages": messages, "tools": [_as_written(tool) for tool in tools]}


def _as_written(tool: Json) -> Json:
    """A tool's schema as exported calls are: where text spells the numbers to choose from, the journal has numbers."""
    function = tool["function"]
    parameters = function["parameters"]
    properties = {name: _number_schema(schema) for name, schema in parameters.get("properties", {}).items()}
    return {**tool, "function": {**function, "parameters": {**parameters, "properties": properties}}}


def _number_schema(schema: Json) -> Json:
    """An integer for a choice of integers. The description names them, and templates fail on choices of numbers."""
    choices = schema.get("enum", ())
    if not choices or not all(str(choice).isdigit() for choice in choices):
        return schema
    return {**{key: value for key, value in schema.items() if key != "enum"}, "type": "integer"}


def _facts(episode: JournaledEpisode) -> Json:
    header = episode.header
    own = [_seen(call) for call in episode.calls if not call.inherited]
    last = own[-1] if own else {}
    return {
        "episode_id": header.name,
        "task_id": header.task,
        "seed": header.seed,
        "rubric": header.rubric,
        "rules": header.rules,
        "forked_from": header.forked_from,
        "versions": dict(header.versions),
        "return": round(sum(reply.get("reward", 0.0) for reply in own), 6),
        "score": next((reply["score"] for reply in own if "score" in reply), None),
        "done": last.get("done", False) or any(reply.get("done", False) for reply in own),
    }


def _seen(call: CallRecord) -> Json:
    return {"error": call.error} if call.reply is None else dict(call.reply)
