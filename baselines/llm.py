"""An agent that asks a language model for each decision, with function calling.

Invalid decisions count, too: a malformed call, an unknown tool, a refused call and text without a call cost one
decision each, and the model receives an error message. Several calls in one message are executed in order, one decision
each, up to the first failure. The calls after it are answered as skipped and cost nothing. If the last decision does
not submit, the program closes the episode, and the episode counts 0.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol

from ml_trainer_env.baselines.agent import BadDecision, Call, Decision, Outcome, Script
from ml_trainer_env.baselines.chat_model import ChatModel, Completion, Message, ToolCall
from ml_trainer_env.baselines.llm_prompt import (
    answer,
    countdown,
    function_definitions,
    instructions,
    task,
)
from ml_trainer_env.baselines.run_log import Record, record_nothing
from ml_trainer_env.baselines.session import Brief, BriefT, ToolSpec
from ml_trainer_env.baselines.settings import LlmSettings

__all__ = ["GameLlmAgent", "LlmAgent", "Prompts"]

_PROSE = "an answer must be a tool call; this one had none, so nothing was done"
_SKIPPED = "Not carried out: a call before it in the same answer failed."
_TOO_MANY = "Not carried out: there were no decisions left."


class Prompts(Protocol):
    """What a model is told of the episodes of a game."""

    def instructions(self, decisions: int) -> str:
        """Write the system message."""

    def task(self, brief: Any, decisions_left: int) -> str:
        """Write the first user message."""

    def answer(self, outcome: Outcome, decisions_left: int) -> str:
        """Write the answer to a call."""


class TuningPrompts:
    """What a model is told of the tuning game."""

    def instructions(self, decisions: int) -> str:
        """Write the system message."""
        return instructions(decisions)

    def task(self, brief: Brief, decisions_left: int) -> str:
        """Write the task and the state."""
        return task(brief, decisions_left)

    def answer(self, outcome: Outcome, decisions_left: int) -> str:
        """Write the answer to a call."""
        return answer(outcome, decisions_left)


class GameLlmAgent(Generic[BriefT]):
    """Plays a game by asking a language model.

    Args:
        chat: The model.
        model: Its name.
        prompts: What it is told.
        decisions: Returns the number of decisions of an episode.
        record: Records each message of the conversation.
    """

    def __init__(
        self,
        chat: ChatModel,
        model: str,
        prompts: Prompts,
        decisions: Callable[[BriefT], int],
        record: Record = record_nothing,
    ) -> None:
        self.name = f"llm:{model}"
        self._chat = chat
        self._prompts = prompts
        self._decisions = decisions
        self._record = record

    def script(self, brief: BriefT, tools: Sequence[ToolSpec]) -> Script:
        """Ask the model, execute its calls and report the outcomes, until no decision is left.

        Raises:
            LlmError: The model gave no answer.
        """
        decisions = self._decisions(brief)
        left = decisions
        definitions = function_definitions(tools)
        names = [tool.name for tool in tools]
        conversation = _Conversation(self._record)
        conversation.add_text("system", self._prompts.instructions(decisions))
        conversation.add_text("user", self._prompts.task(brief, left))
        while left > 0:
            completion = self._chat.complete(conversation.messages, definitions)
            conversation.add_completion(completion)
            if not completion.calls:
                left -= 1
                yield BadDecision(completion.text or "(nothing)", _PROSE)
                conversation.add_text("user", f"Error: {_PROSE}.\n{countdown(left)}")
            failed = False
            for call in completion.calls:
                if failed or left == 0:
                    conversation.answer(call, _SKIPPED if failed else _TOO_MANY)
                    continue
                left -= 1
                outcome = yield decision_of(call, names, completion.text)
                conversation.answer(call, self._prompts.answer(outcome, left))
                failed = _failed(outcome)


class LlmAgent(GameLlmAgent[Brief]):
    """Plays the tuning game by asking a language model.

    Args:
        chat: The model.
        settings: Includes the number of decisions of an episode.
        record: Records each message of the conversation.
    """

    def __init__(self, chat: ChatModel, settings: LlmSettings, record: Record = record_nothing) -> None:
        super().__init__(
            chat, settings.model, TuningPrompts(), lambda brief: settings.steps_for(brief.difficulty), record
        )


class _Conversation:
    """The messages so far, in the format of the API."""

    def __init__(self, record: Record) -> None:
        self.messages: list[Message] = []
        self._record = record

    def add_text(self, role: str, text: str) -> None:
        self._add({"role": role, "content": text})

    def add_completion(self, completion: Completion) -> None:
        message: Message = {"role": "assistant", "content": completion.text or None}
        if completion.calls:
            message["tool_calls"] = [_as_message(call) for call in completion.calls]
        elif not completion.text:
            message["content"] = "(nothing)"
        self._add(message)

    def answer(self, call: ToolCall, text: str) -> None:
        self._add({"role": "tool", "tool_call_id": call.id, "content": text})

    def _add(self, message: Message) -> None:
        self.messages.append(message)
        self._record("message", message)


def decision_of(call: ToolCall, names: Sequence[str], reason: str = "") -> Decision:
    """Parse a call as the model wrote it."""
    if call.name not in names:
        known = ", ".join(names)
        return BadDecision(call.name, f"there is no tool {call.name!r}; the tools are {known}")
    try:
        return Call(call.name, _arguments(call.arguments), " ".join(reason.split()))
    except ValueError as error:
        return BadDecision(
            f"{call.name} {call.arguments}",
            f"the arguments of {call.name} must be a JSON object; {call.arguments!r} is not ({error})",
        )


def _arguments(text: str) -> dict[str, Any]:
    # For a tool without parameters, some models send an empty string or null.
    given = json.loads(text) if text.strip() else None
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError(f"it is a {type(given).__name__}")
    return dict(given)


def _as_message(call: ToolCall) -> Message:
    """Convert a call to a message. Some APIs refuse messages whose arguments are not JSON."""
    try:
        arguments = json.dumps(_arguments(call.arguments))
    except ValueError:
        arguments = "{}"
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _failed(outcome: Outcome) -> bool:
    return outcome.reply is None
