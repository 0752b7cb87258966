"""The two agents that a good one must beat: one lets the job run, the other follows the usual reflexes."""

from collections.abc import Iterator, Sequence

from ml_trainer_env.baselines.agent import Call, Script
from ml_trainer_env.baselines.fleet.brief import FleetBrief
from ml_trainer_env.baselines.session import Reply, ToolSpec

__all__ = ["RESTART", "RUN", "SET_TRAINING", "NothingAgent", "ScriptedAgent"]

RUN = "run_steps"
RESTART = "restart"
SET_TRAINING = "set_training"

LONGEST_RUN = 50
"""The most steps of one call."""

_LOOK_EVERY = 10
_MOST_ANSWERS = 3
_SPIKE = 0.3
"""A mean loss that is this much above the one before is a spike."""
_SLOW = 1.5
"""A step that takes this many times the first ones is slow."""


class NothingAgent:
    """Lets the job train until the reservation is spent."""

    name = "nothing"

    def script(self, brief: FleetBrief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode."""
        while True:
            outcome = yield Call(RUN, {"num_steps": LONGEST_RUN})
            if outcome.reply is None:
                return


class ScriptedAgent:
    """Restarts from the newest checkpoint and halves the learning rate at any sign of trouble, three times at the most.

    Signs are a loss that is not finite or jumps up, a restart, and steps that take half as long again.
    """

    name = "scripted"

    def script(self, brief: FleetBrief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode."""
        before, answers = brief.status, 0
        while True:
            outcome = yield Call(RUN, {"num_steps": _LOOK_EVERY})
            if outcome.reply is None:
                return
            trouble = next(_signs(before, outcome.reply), "")
            before = outcome.reply
            if trouble and answers < _MOST_ANSWERS:
                answers += 1
                rate = before["settings"]["learning_rate"] / 2
                yield Call(SET_TRAINING, {"learning_rate": rate}, f"{trouble}: half the rate")
                outcome = yield Call(RESTART, {"checkpoint": "newest"}, f"{trouble}: the newest checkpoint")
                before = outcome.reply or before


def _signs(before: Reply, now: Reply) -> Iterator[str]:
    """Yield what looks wrong in a reply, compared with the one before."""
    if now["step"] and (now["loss"] is None or now["grad_norm"] is None):
        yield "the loss or its gradient is not finite"
    if now["restarts"] > before["restarts"]:
        yield "the job restarted"
    if now["is_stalled"]:
        yield "a step does not end"
    if (before["loss"] or 0) and (now["loss"] or 0) > before["loss"] + _SPIKE:
        yield "the loss jumped"
    if (before["step_s"] or 0) and (now["step_s"] or 0) > _SLOW * before["step_s"]:
        yield "steps are slow"
