"""The two agents that a good one must beat: one lets the job run, the other follows a runbook."""

import math
from collections.abc import Sequence

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
_MOST_ROLLBACKS = 3
_JUMP = 0.3
"""A mean loss that is this much above the best one so far, in two looks in a row, is no passing spike."""
_INTERVAL_AFTER_DEATH = 15
"""Steps between checkpoints once the job has died."""


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
    """Follows a runbook that knows the job's total figures alone, and no rank, node or shard.

    A step that does not end: restart from the newest checkpoint. A death: save every 15 steps from then on. A loss or a
    gradient that is not finite, or a loss that jumped up, in two looks in a row: restart from the newest checkpoint and
    halve the learning rate, three times at the most. It leaves everything else alone.
    """

    name = "scripted"

    def script(self, brief: FleetBrief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode."""
        status, best, bad_looks, rollbacks = brief.status, math.inf, 0, 0
        while True:
            deaths = status["restarts"]
            outcome = yield Call(RUN, {"num_steps": _LOOK_EVERY})
            if outcome.reply is None:
                return
            status = outcome.reply
            if status["is_stalled"]:
                outcome = yield Call(RESTART, {"checkpoint": "newest"}, "a step does not end")
                status = outcome.reply or status
                continue
            if status["restarts"] > deaths and status["settings"]["checkpoint_every"] > _INTERVAL_AFTER_DEATH:
                yield Call(SET_TRAINING, {"checkpoint_every": _INTERVAL_AFTER_DEATH}, "the job died")
            bad_looks = bad_looks + 1 if _is_bad(status, best) else 0
            best = min(best, status["loss"] or math.inf)
            if bad_looks == 2 and rollbacks < _MOST_ROLLBACKS:
                bad_looks, rollbacks = 0, rollbacks + 1
                rate = status["settings"]["learning_rate"] / 2
                yield Call(SET_TRAINING, {"learning_rate": rate}, "the loss is bad and stays so: half the rate")
                outcome = yield Call(RESTART, {"checkpoint": "newest"}, "and back to the newest checkpoint")
                status = outcome.reply or status


def _is_bad(status: Reply, best: float) -> bool:
    """Return whether the loss or its gradient is not finite, or the loss is far above the best one so far."""
    if best == math.inf:
        return False  # monitoring may be late
    return status["loss"] is None or status["grad_norm"] is None or status["loss"] > best + _JUMP
