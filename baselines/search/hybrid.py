"""A proposer whose proposals a language model may overrule."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ml_trainer_env.baselines.chat_model import ChatModel, Message, ToolCall
from ml_trainer_env.baselines.llm_errors import KeyRefusedError, LlmError
from ml_trainer_env.baselines.llm_prompt import function_definitions
from ml_trainer_env.baselines.run_log import Record, record_nothing
from ml_trainer_env.baselines.search.optuna_search import tpe_proposer
from ml_trainer_env.baselines.search.proposers import Propose, Proposer
from ml_trainer_env.baselines.search.space import Configuration, Options, Range, Space
from ml_trainer_env.baselines.session import Brief, ToolSpec

__all__ = ["Advice", "Advisor", "Hybrid", "HybridProposer", "LlmAdvisor", "Tried", "is_due"]

ACCEPT, OVERRULE = "accept", "overrule"

_OPTIMIZERS = Options(("sgd", "adam", "adamw"))
_NUMBERS: Mapping[str, Range] = {
    "learning_rate": Range(1e-6, 1.0),
    "weight_decay": Range(0.0, 1.0),
    "dropout": Range(0.0, 0.5),
    "augmentation_strength": Range(0.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Tried:
    """A configuration that was tried, and its validation figure: larger is better, minus infinity if it diverged."""

    configuration: Configuration
    value: float


@dataclass(slots=True)
class Advice:
    """Counts of what came of the questions to a model.

    Attributes:
        asked: Questions. The others add up to it.
        accepted: The model accepted the proposal.
        overruled: The model overruled it by a valid configuration.
        unusable: The model gave no call, or an invalid one. The proposal was tried.
        failed: The model gave no answer. The proposal was tried.
    """

    asked: int = 0
    accepted: int = 0
    overruled: int = 0
    unusable: int = 0
    failed: int = 0


class Advisor(Protocol):
    """Judges a proposal."""

    def review(self, history: Sequence[Tried], proposal: Configuration) -> Configuration:
        """Return what to try: the proposal, or another configuration."""


class HybridProposer:
    """Asks another proposer, and lets an advisor overrule a fixed share of its proposals.

    Args:
        inner: Who proposes. It is told all values.
        advisor: Who may overrule.
        share: Share of the proposals that the advisor sees, 0 to 1. Which ones is a matter of counting: with 0.5 they
            are the first, the third, the fifth.
    """

    def __init__(self, inner: Proposer, advisor: Advisor, share: float) -> None:
        self._inner = inner
        self._advisor = advisor
        self._share = share
        self._asked = 0
        self._history: list[Tried] = []

    def ask(self) -> Configuration:
        """Propose a configuration.

        Raises:
            KeyRefusedError: The model's API refused the key.
        """
        proposal = self._inner.ask()
        self._asked += 1
        return self._advisor.review(self._history, proposal) if is_due(self._asked, self._share) else proposal

    def tell(self, configuration: Configuration, value: float) -> None:
        """Tell the other proposer, and remember."""
        self._history.append(Tried(configuration, value))
        self._inner.tell(configuration, value)


def is_due(number: int, share: float) -> bool:
    """Whether the advisor sees a proposal.

    Args:
        number: Number of the proposal, from 1.
        share: Share of the proposals that it sees. Of the first n it sees n times the share, rounded up.
    """
    return math.ceil(number * share) > math.ceil((number - 1) * share)


class LlmAdvisor:
    """Asks a language model. Whatever goes wrong, the proposal stands, and is counted.

    Args:
        chat: The model.
        brief: The episode's brief.
        space: The space of its task.
        advice: Counts what comes of it.
        record: Records each message.
    """

    def __init__(
        self, chat: ChatModel, brief: Brief, space: Space, advice: Advice, record: Record = record_nothing
    ) -> None:
        self._chat = chat
        self._brief = brief
        self._options: Mapping[str, Options] = {"batch_size": space.batches, "optimizer": _OPTIMIZERS}
        self._advice = advice
        self._record = record
        self._tools = function_definitions(_tools(space))

    def review(self, history: Sequence[Tried], proposal: Configuration) -> Configuration:
        """Return what to try.

        Raises:
            KeyRefusedError: The API refused the key.
        """
        self._advice.asked += 1
        messages = _question(self._brief, history, proposal)
        for message in messages:
            self._record("message", message)
        try:
            completion = self._chat.complete(messages, self._tools)
        except KeyRefusedError:
            raise
        except LlmError as error:
            self._advice.failed += 1
            self._record("advice", {"outcome": "failed", "problem": str(error)})
            return proposal
        try:
            chosen = self._read(completion.calls, proposal)
        except ValueError as error:
            self._advice.unusable += 1
            self._record("advice", {"outcome": "unusable", "problem": str(error), "text": completion.text})
            return proposal
        if chosen == proposal:
            self._advice.accepted += 1
        else:
            self._advice.overruled += 1
        self._record("advice", {"outcome": "accepted" if chosen == proposal else "overruled", **chosen.arguments()})
        return chosen

    def _read(self, calls: Sequence[ToolCall], proposal: Configuration) -> Configuration:
        """Read the first call.

        Raises:
            ValueError: There is none, or it is invalid.
        """
        if not calls:
            raise ValueError("the answer has no call")
        name, arguments = calls[0].name, json.loads(calls[0].arguments or "{}")
        if name == ACCEPT:
            return proposal
        if name != OVERRULE or not isinstance(arguments, Mapping):
            raise ValueError(f"{name} with {calls[0].arguments!r} is no valid call")
        return replace(proposal, **dict(self._checked(key, value) for key, value in arguments.items()))

    def _checked(self, name: str, value: object) -> tuple[str, Any]:
        """Return the field of a configuration and its value.

        Raises:
            ValueError: There is no such setting, or its value is out of bounds.
        """
        bounds = _NUMBERS.get(name)
        if bounds is not None and isinstance(value, int | float) and not isinstance(value, bool):
            if bounds.low <= value <= bounds.high:
                return name, float(value)
        elif name in self._options and value in self._options[name].values:
            return name, value
        elif name == "reinitialize" and isinstance(value, bool):
            return "fresh", value
        raise ValueError(f"{name} cannot be {value!r}")


class Hybrid:
    """Creates the proposers of a hybrid search; see `Propose`. The counts add up over its episodes.

    Args:
        chat: The model.
        share: Share of the proposals that the model sees.
        propose: Creates who proposes.
        record: Records each message.
    """

    def __init__(
        self, chat: ChatModel, share: float = 0.5, propose: Propose = tpe_proposer, record: Record = record_nothing
    ) -> None:
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"the share of a hybrid must be from 0 to 1, not {share}")
        self.advice = Advice()
        self._chat = chat
        self._share = share
        self._propose = propose
        self._record = record

    def __call__(self, brief: Brief, space: Space, seed: int) -> HybridProposer:
        """Create the proposer of an episode."""
        advisor = LlmAdvisor(self._chat, brief, space, self.advice, self._record)
        return HybridProposer(self._propose(brief, space, seed), advisor, self._share)


def _tools(space: Space) -> Sequence[ToolSpec]:
    properties: dict[str, Any] = {
        name: {"type": "number", "minimum": bounds.low, "maximum": bounds.high} for name, bounds in _NUMBERS.items()
    }
    properties |= {
        "optimizer": {"type": "string", "enum": list(_OPTIMIZERS.values)},
        "batch_size": {"type": "integer", "enum": list(space.batches.values)},
        "reinitialize": {"type": "boolean", "description": "true for fresh weights, false for those of the run"},
    }
    return (
        ToolSpec(ACCEPT, "Try the proposal as it is.", {"type": "object", "properties": {}}),
        ToolSpec(
            OVERRULE,
            "Try other settings. Those that you do not name stay as proposed.",
            {"type": "object", "properties": properties},
        ),
    )


def _question(brief: Brief, history: Sequence[Tried], proposal: Configuration) -> list[Message]:
    tried = "\n".join(f"{_settings(one.configuration)} -> {_value(one.value)}" for one in history) or "nothing"
    return [
        {
            "role": "system",
            "content": "You are an experienced machine learning engineer. A sampler searches settings of a training "
            "run by short trials; the best one is then trained on. You see its next proposal. Accept it, or overrule "
            "it where you know better. Always answer with one tool call.",
        },
        {
            "role": "user",
            "content": f"Task: {brief.description}\nTrials so far, with validation accuracy (minus the loss where the "
            f"next token is predicted):\n{tried}\nProposal:\n{_settings(proposal)}",
        },
    ]


def _settings(configuration: Configuration) -> str:
    kept = {
        name: value
        for name, value in configuration.arguments().items()
        if name in _NUMBERS or name in ("optimizer", "batch_size", "reinitialize")
    }
    return json.dumps(kept)


def _value(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "diverged"
