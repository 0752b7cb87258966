"""What an investigator keeps of an episode, and the calls that it makes: each a generator that the play loop drives."""

from collections.abc import Generator, Mapping
from typing import Any

from ml_trainer_env.baselines.agent import Call, Decision, Outcome
from ml_trainer_env.baselines.fleet.brief import FleetBrief
from ml_trainer_env.baselines.fleet.simple import RESTART, RUN, SET_TRAINING
from ml_trainer_env.baselines.session import Reply

__all__ = ["Case", "Steps"]

Steps = Generator[Decision, Outcome, Reply]
"""Calls that end in a reply. It is empty if the last one was refused."""

_REPLACE_COSTS_S, _DRAIN_COSTS_S = 40.0, 10.0
_LEAST_NODES = 5


class Case:
    """The state of an investigation.

    Args:
        brief: The episode's brief.

    Attributes:
        status: The last reply that told where the run stands.
        losses: Loss by step, of this run and, until they are taken again, of the one before a restart.
        fresh: Steps since something was changed. Only they are evidence of how the run is now.
        lag: Steps that monitoring is late.
        clean_step: The last step that is known to have had a normal gradient.
        skipped: Ranges of positions in the data that are left out.
    """

    def __init__(self, brief: FleetBrief) -> None:
        self.status: Reply = brief.status
        self.losses: dict[int, float | None] = {}
        self.fresh = 0
        self.lag = 0
        self.clean_step = -1
        self.skipped: list[tuple[int, int]] = []

    @property
    def setting(self) -> Mapping[str, float | bool]:
        """The settings of the next step."""
        found: Mapping[str, float | bool] = self.status["settings"]
        return found

    @property
    def left_s(self) -> float:
        """What is left of the reservation."""
        return float(self.status["left_s"])

    @property
    def step(self) -> int:
        """Steps of the current state."""
        return int(self.status["step"])

    @property
    def evidence(self) -> int:
        """How many of the steps that monitoring shows were taken as the run is now."""
        return max(0, self.fresh - self.lag)

    def position(self, step: int) -> int:
        """Return the position in the data that a step reads."""
        for first, after in sorted(self.skipped):
            if step >= first:
                step += after - first
        return step

    def call(self, name: str, reason: str = "", **arguments: object) -> Steps:
        """Make a call."""
        outcome = yield Call(name, arguments, reason)
        if outcome.reply is None:
            return {}
        self.status = outcome.reply
        return outcome.reply

    def act(self, name: str, reason: str, **arguments: object) -> Steps:
        """Change something. What was seen before is no evidence any more."""
        self.fresh = 0
        return (yield from self.call(name, reason, **arguments))

    def set_training(self, reason: str, **changes: object) -> Steps:
        """Change settings."""
        return (yield from self.act(SET_TRAINING, reason, **changes))

    def report(self, kind: str, target: object = "") -> Steps:
        """Note what is wrong. It is free, and the end tells whether it is right."""
        return (yield from self.call("report_incident", kind=kind, target=str(target)))

    def run(self, steps: int) -> Steps:
        """Let the job train, until it restarts at the latest."""
        before, restarts = self.step, self.status["restarts"]
        reply = yield from self.call(RUN, num_steps=steps, stop_on="restart")
        if reply:
            self.losses |= {int(step): loss for step, loss in reply["losses"]}
            self.fresh = self.fresh + self.step - before if self.status["restarts"] == restarts else 0
        return reply

    def query(self, metric: str, by: str, reduce: str, last: int) -> Steps:
        """Return the values of a metric, by group, and learn how late monitoring is."""
        reply = yield from self.call("query_metrics", metric=metric, by=by, reduce=reduce, last=last)
        seen = reply.get("steps") or [0, -1]
        if reply and self.fresh > 0:
            self.lag = max(self.lag, min(self.fresh, self.step - 1 - int(seen[1])))
        return reply.get("values") or {}

    def inspect(self, kind: str, target: object = "") -> Steps:
        """Look closely. It takes time."""
        arguments = {"kind": kind} if kind == "replicas" else {"kind": kind, "id": str(target)}
        return (yield from self.call("inspect", **arguments))

    def restart(self, reason: str, checkpoint: Mapping[str, Any], **how: object) -> Steps:
        """Restart from a checkpoint, at the positions in data and schedule that belong to it."""
        step = int(checkpoint["step"])
        self.losses = {one: loss for one, loss in self.losses.items() if one < step}
        self.clean_step = min(self.clean_step, step - 1)
        how = {"data_position": step, "schedule_position": step, **how}
        return (yield from self.act(RESTART, reason, checkpoint=checkpoint["id"], **how))

    def checkpoint_before(self, step: int) -> Generator[Decision, Outcome, Mapping[str, Any]]:
        """Return the last checkpoint that was saved before a step was taken."""
        reply = yield from self.call("list_checkpoints")
        kept = [one for one in reply.get("checkpoints") or () if one["step"] <= step]
        return kept[-1] if kept else {"id": "step-0", "step": 0}

    def remove(self, node: int, reason: str) -> Steps:
        """Take a node out of the job: a spare takes its place, if enough time is left to make up for the exchange."""
        nodes = self.status["nodes"]
        slower_s = self.left_s / len(nodes)
        if self.status["spares"] and _DRAIN_COSTS_S + slower_s > _REPLACE_COSTS_S:
            return (yield from self.act("set_node", reason, node=node, action="replace"))
        if len(nodes) >= _LEAST_NODES:
            return (yield from self.act("set_node", reason, node=node, action="drain"))
        return {}
