"""Prompts for a language model that plays the fleet. Tools, schemas and replies speak for themselves. Pure."""

import json

from ml_trainer_env.baselines.agent import Outcome
from ml_trainer_env.baselines.fleet.brief import FleetBrief
from ml_trainer_env.baselines.llm_prompt import countdown
from ml_trainer_env.baselines.session import Reply

__all__ = ["FleetPrompts", "describe", "tell"]

_UNTOLD = frozenset(("message", "done", "reward_parts"))
"""Fields of a reply that are told in words, or that say nothing new."""


class FleetPrompts:
    """The messages to the model; see `baselines.llm.Prompts`."""

    def instructions(self, decisions: int) -> str:
        """Write the system message.

        Args:
            decisions: Total number of decisions, including the submission.
        """
        return (
            "You are an experienced engineer who watches a large training run on call. You look at its metrics and "
            "logs by calling tools, find out what is wrong, if anything is, and put it right with as little lost time "
            "as possible.\n"
            f"You have {decisions} decisions for the whole episode. Every tool call is one decision, and so is a "
            "malformed call, a refused call, or an answer without a call. The episode ends when the reservation is "
            "spent, or by submit_model: an episode that does not end by a call of yours counts 0. run_steps takes at "
            "most 50 steps a call, so keep at least 8 decisions to let the run come to its end.\n"
            "Queries are free in virtual time, inspections and actions are not. An action that nothing calls for "
            "costs, so look before you act.\n"
            "Always answer with a tool call. Several calls in one answer are carried out in order, a decision each, "
            "up to the first that fails."
        )

    def task(self, brief: FleetBrief, decisions_left: int) -> str:
        """Write the first user message: the task and the state."""
        return f"{describe(brief)}\n{countdown(decisions_left)}"

    def answer(self, outcome: Outcome, decisions_left: int) -> str:
        """Write the answer to a call."""
        if outcome.reply is None:
            return f"Error: {outcome.refusal}\n{countdown(decisions_left)}"
        return f"{tell(outcome.reply)}\n{countdown(decisions_left)}"


def describe(brief: FleetBrief) -> str:
    """Write the task and the state."""
    return "\n".join(
        (
            f"Task {brief.task_id}: {brief.name}. {brief.description}",
            f"The nodes are reserved for {brief.reservation_s:g} s.",
            _state(brief.status),
        )
    )


def tell(reply: Reply) -> str:
    """Write a reply: its message and the other fields."""
    return f"{reply.get('message') or 'Done.'}\n{_state(reply)}"


def _state(reply: Reply) -> str:
    """Write the fields of a reply as JSON on one line."""
    told = {name: value for name, value in reply.items() if name not in _UNTOLD}
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False)
