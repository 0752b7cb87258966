"""What the agent of `MLFleet-v0` looks at after each chunk of steps: free queries, and who stands out in them."""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ml_trainer_env.baselines.fleet import clues
from ml_trainer_env.baselines.fleet.brief import FleetBrief
from ml_trainer_env.baselines.session import Reply

__all__ = ["CALM", "Checkpoint", "Standing", "View"]

CALM = math.log(2.5)
"""A gradient norm that is above the median by less is nothing unusual (logarithm of a ratio)."""

Call = Callable[[str, Mapping[str, object]], Reply]
"""Makes a call of a tool."""

_QUERIES = (
    ("loss", "node", "mean"),
    ("grad_norm", "node", "max"),
    ("compute_s", "node", "mean"),
    ("loss", "shard", "mean"),
    ("grad_norm", "shard", "max"),
    ("data_s", "shard", "mean"),
    ("wait_s", "node", "mean"),
    ("memory_gb", "rank", "last"),
    ("skipped", "total", "mean"),
)
"""Metric, grouping and reduction of each query."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The group that stands out in a metric.

    Attributes:
        group: The number of the node, shard or rank. None if nothing was seen.
        excess: How far it is above the median of all.
        median: That median.
    """

    group: int | None = None
    excess: float = 0.0
    median: float = 0.0

    @classmethod
    def of(cls, values: Mapping[str, float | None], *, both_ways: bool = False, relative: bool = False) -> Self:
        """Find who stands out.

        Args:
            values: A figure of each group. One that is missing is not finite, and stands out most.
            both_ways: Whether a figure far below the median stands out, too.
            relative: Whether the excess is the logarithm of a ratio.
        """
        known = [value for value in values.values() if value is not None]
        if not known:
            return cls(int(next(iter(values))), math.inf, math.inf) if values else cls()
        median = statistics.median(known)

        def excess(name: str) -> float:
            value = values[name]
            if value is None:
                return math.inf
            above = math.log(max(value, 1e-6) / max(median, 1e-6)) if relative else value - median
            return abs(above) if both_ways else above

        name = max(values, key=excess)
        return cls(int(name), excess(name), median)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint.

    Attributes:
        id: Its id.
        step: The steps before it.
    """

    id: str
    step: int


@dataclass(frozen=True, slots=True)
class View:
    """What has been seen of a run by now.

    Attributes:
        brief: The description of the task.
        status: The last reply that told where the run stands.
        events: What the launcher wrote in the last chunk.
        figures: The answers to the queries about the last chunk, by metric and grouping.
        checkpoints: The checkpoints, oldest first.
        deaths: How often each node died so far.
        last_dead: The node that died last. None if none did.
        calm_step: The last step before which no gradient stood out.
        loss_before: The loss when the chunk began. None before the first.
        is_restarted: Whether the job was started again in the last chunk.
    """

    brief: FleetBrief
    status: Reply
    events: tuple[str, ...] = ()
    figures: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    checkpoints: tuple[Checkpoint, ...] = (Checkpoint("step-0", 0),)
    deaths: Mapping[int, int] = field(default_factory=dict)
    last_dead: int | None = None
    calm_step: int = 0
    loss_before: float | None = None
    is_restarted: bool = False

    def after(self, reply: Reply, call: Call) -> "View":
        """Look at a run after a chunk of steps, and return what is seen then.

        Args:
            reply: The reply to the chunk.
            call: Makes the calls. They are free.
        """
        ran = max(1, reply["step"] - self.status["step"])

        def ask(metric: str, by: str, reduction: str) -> Mapping[str, Any]:
            asked = {"metric": metric, "by": by, "reduce": reduction, "last": ran}
            values: Mapping[str, Any] = call("query_metrics", asked)["values"]
            return values

        figures = {(metric, by): ask(metric, by, reduction) for metric, by, reduction in _QUERIES}
        listed = call("list_checkpoints", {})["checkpoints"]
        dead = clues.deaths(reply["events"])
        seen = View(
            brief=self.brief,
            status=reply,
            events=tuple(reply["events"]),
            figures=figures,
            checkpoints=tuple(Checkpoint(one["id"], one["step"]) for one in listed),
            deaths=Counter(self.deaths) + Counter(node for _, node in dead),
            last_dead=dead[-1][1] if dead else self.last_dead,
            loss_before=self.status["loss"],
            is_restarted=reply["restarts"] > self.status["restarts"],
        )
        is_calm = reply["loss"] is not None and seen.gradient_of_node.excess < CALM
        return replace(seen, calm_step=reply["step"] if is_calm else min(self.calm_step, reply["step"]))

    @property
    def slowest(self) -> Standing:
        """The node that computes the longest; the excess is the logarithm of a ratio."""
        return Standing.of(self._values("compute_s", "node"), relative=True)

    @property
    def gradient_of_node(self) -> Standing:
        """The node of the greatest gradient norm; the excess is the logarithm of a ratio."""
        return Standing.of(self._greatest("grad_norm", "node"), relative=True)

    @property
    def gradient_of_shard(self) -> Standing:
        """The shard of the greatest gradient norm; the excess is the logarithm of a ratio."""
        return Standing.of(self._greatest("grad_norm", "shard"), relative=True)

    @property
    def loss_of_node(self) -> Standing:
        """The node of the highest loss."""
        return Standing.of(self._values("loss", "node"))

    @property
    def loss_of_shard(self) -> Standing:
        """The shard whose loss is the farthest from those of the others."""
        return Standing.of(self._values("loss", "shard"), both_ways=True)

    @property
    def slowest_shard(self) -> Standing:
        """The shard that is waited for the longest, in seconds, and is not read from a mirror yet."""
        mirrored = set(map(str, self.status["mirrored"]))
        values = self._values("data_s", "shard")
        return Standing.of({name: value for name, value in values.items() if name not in mirrored})

    @property
    def memory(self) -> Standing:
        """The rank that uses the most memory; the excess is the logarithm of a ratio."""
        return Standing.of(self._values("memory_gb", "rank"), relative=True)

    @property
    def least_wait_s(self) -> float:
        """How long even the rank that comes last waits for the reduction, in seconds."""
        return min((value for value in self._values("wait_s", "node").values() if value is not None), default=0.0)

    @property
    def skipped(self) -> float:
        """Share of the steps that were left out."""
        return self._values("skipped", "total").get("total") or 0.0

    @property
    def reads_alike(self) -> bool:
        """Whether all nodes have one loss: they read the same batch."""
        values = self._values("loss", "node")
        return clues.reads_alike(values) and (self.status["loss"] or 4.56) < 4.5

    def checkpoint_before(self, step: int) -> Checkpoint:
        """Return the last checkpoint that was saved before a step was taken."""
        kept = [one for one in self.checkpoints if one.step <= step]
        return kept[-1] if kept else Checkpoint("step-0", 0)

    def _values(self, metric: str, by: str) -> Mapping[str, float | None]:
        return self.figures.get((metric, by), {})

    def _greatest(self, metric: str, by: str) -> Mapping[str, float | None]:
        return {name: pair[0] for name, pair in self.figures.get((metric, by), {}).items()}
