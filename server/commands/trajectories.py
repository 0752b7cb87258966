"""Converts episodes of a journal to training data: trajectories, and chats with tool calls."""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from ml_trainer_env.server.store import CallRecord, JournaledEpisode

__all__ = ["UNNAMED_AGENT", "ArgumentsForm", "chat", "trajectory"]

Json = dict[str, Any]

UNNAMED_AGENT = "unnamed"
"""What files call an agent that gave no name."""


class ArgumentsForm(StrEnum):
    """Format of the arguments of a tool call in a chat."""

    OBJECT = "object"
    """A JSON object, for most chat templates (Qwen, Llama, Gemma, GLM, gpt-oss)."""
    JSON = "json"
    """JSON text, for OpenAI's API and the templates of DeepSeek."""


def trajectory(episode: JournaledEpisode, reset_reply: Json) -> Json:
    """Convert an episode to steps of observation, action, reward and done.

    The observation of a step is the previous reply or error.

    Args:
        episode: The episode from the journal.
        reset_reply: Reply of its reset.
    """
    observation = reset_reply
    steps = []
    for call in episode.calls:
        following = _observation(call)
        steps.append(
            {
                "observation": observation,
                "action": {"tool_name": call.tool, "arguments": dict(call.arguments)},
                "reward": following.get("reward", 0.0),
                "done": following.get("done", False),
                "weights_hash": call.weights_hash,
                "inherited": call.inherited,
            }
        )
        observation = following
    return {**_summary(episode), "steps": steps, "final_observation": observation}


def chat(
    episode: JournaledEpisode,
    reset_reply: Json,
    tools: Sequence[Json],
    prompt: str,
    arguments: ArgumentsForm = ArgumentsForm.OBJECT,
) -> Json:
    """Convert an episode to messages with tool calls, which chat templates render for fine-tuning.

    Every message has text as its content, since many templates fail on null: that of a call is the agent's reason.

    Args:
        episode: The episode from the journal.
        reset_reply: Reply of its reset.
        tools: The agent's tools, as `{"type": "function", "function": ...}`.
        prompt: The system prompt.
        arguments: Format of the arguments of a tool call.

    Returns:
        Facts about the episode, `messages`, and `tools`.
    """
    messages: list[Json] = [
        {"role": "system", "content": prompt},
        {"role": "user", "content": json.dumps(reset_reply)},
    ]
    for number, call in enumerate(episode.calls, 1):
        identity = f"call_{number}"
        given = dict(call.arguments)
        function = {"name": call.tool, "arguments": json.dumps(given) if arguments is ArgumentsForm.JSON else given}
        tool_calls = [{"id": identity, "type": "function", "function": function}]
        reply = json.dumps(_observation(call))
        messages.append({"role": "assistant", "content": call.reason or "", "tool_calls": tool_calls})
        messages.append({"role": "tool", "tool_call_id": identity, "name": call.tool, "content": reply})
    return {**_summary(episode), "messages": messages, "tools": [_adapt_schema(tool) for tool in tools]}


def _adapt_schema(tool: Json) -> Json:
    """Adapt a tool's schema to the exported calls, which have numbers where the schema has text."""
    function = tool["function"]
    parameters = function["parameters"]
    properties = {name: _number_schema(schema) for name, schema in parameters.get("properties", {}).items()}
    return {**tool, "function": {**function, "parameters": {**parameters, "properties": properties}}}


def _number_schema(schema: Json) -> Json:
    """Replace a choice of integers by an integer. Templates fail on choices of numbers; the description lists them."""
    choices = schema.get("enum", ())
    if not choices or not all(str(choice).isdigit() for choice in choices):
        return schema
    return {**{key: value for key, value in schema.items() if key != "enum"}, "type": "integer"}


def _summary(episode: JournaledEpisode) -> Json:
    header = episode.header
    own = [_observation(call) for call in episode.calls if not call.inherited]
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


def _observation(call: CallRecord) -> Json:
    return {"error": call.error} if call.reply is None else dict(call.reply)
