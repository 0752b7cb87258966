"""An agent that looks at the figures, finds out what is wrong, and does what repairs that and nothing else.

It looks for free first, and pays for an inspection only on suspicion. What it knows of faults is public: which figure a
fault shows in, and what helps. It knows neither tasks nor scenarios.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from ml_trainer_env.baselines.agent import Decision, Outcome, Script
from ml_trainer_env.baselines.fleet import clues
from ml_trainer_env.baselines.fleet.brief import FleetBrief
from ml_trainer_env.baselines.fleet.case import Case, Steps
from ml_trainer_env.baselines.session import Reply, ToolSpec

__all__ = ["DetectiveAgent"]

Answer = Generator[Decision, Outcome, bool]
"""Calls that end in whether something was done."""

LOOK_EVERY = 6
_FIRST_LOOK = 2
_LEAST_EVIDENCE = 4
_WINDOW = 12
_AFTER_RESTART = 4

_UNTRAINED_LOSS = 4.5
_HIGHEST_FACTOR = 2.0
"""A rate is what is set, or it is many times that."""
_USUAL_INTERVAL, _RARE_INTERVAL = 25, 100
_SAFE_LOSS_SCALE = 2.0**15
_SLOW_STEP_S = 1.3
_SAVE_S, _STEP_S = 1.5, 1.15
_SOON_S = 70.0
"""A node that dies again so soon after a restart dies of itself."""
_SKIP_POSITIONS = 24
_POORLY_LINKED_GBPS = 200.0
_LINK_SEARCH_S = 140.0
"""The search for a slow link does not pay with less time left."""
_LITTLE_LEFT_S = 50.0
_MOST_VAIN = 3
"""So many inspections of a kind that find nothing, and no more."""


class DetectiveAgent:
    """Finds out what is wrong with a run, and repairs it."""

    name = "detective"

    def script(self, brief: FleetBrief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode."""
        yield from _Detective(brief).work()


class _Detective:
    def __init__(self, brief: FleetBrief) -> None:
        self._case = Case(brief)
        self._died: list[tuple[int, float]] = []
        self._cleared: set[int] = set()
        self._is_sampler_known = False
        self._are_settings_known = False
        self._vain = {"replicas": 0, "link": 0, "shard": 0}

    def work(self) -> Script:
        case = self._case
        reply = yield from self._run(_FIRST_LOOK)
        while reply:
            acted = yield from self._look()
            reply = yield from self._run(_FIRST_LOOK if acted else LOOK_EVERY)
            if case.left_s > _LITTLE_LEFT_S:
                yield from self._mind_maintenance()

    def _run(self, steps: int) -> Steps:
        """Let the job train, and see to a restart or a stalled step at once."""
        case = self._case
        then = case.status
        reply = yield from case.run(steps)
        if reply and reply["is_stalled"]:
            yield from case.report("hang")
            kept = yield from case.checkpoint_before(case.step)
            return (yield from self._restart("a rank does not enter the reduction", kept, then))
        if reply and reply["restarts"] > then["restarts"]:
            return (yield from self._after_death(reply, then))
        return reply

    # What a look at the figures tells.

    def _look(self) -> Answer:
        """Look at the steps since the last change."""
        looks = (
            self._look_at_settings,
            self._look_at_sampler,
            self._look_at_memory,
            self._look_at_overflows,
            self._look_at_gradients,
            self._look_at_times,
            self._look_at_text,
            self._look_at_replicas,
        )
        for look in looks:
            if (yield from look()):
                return True
        return False

    def _window(self) -> int:
        """Return how many steps to look at. 0 if there is too little evidence yet."""
        return min(_WINDOW, self._case.evidence) if self._case.evidence >= _LEAST_EVIDENCE else 0

    def _look_at_settings(self) -> Answer:
        """Compare the first steps with what the settings say, once."""
        case = self._case
        rate, setting = case.status["learning_rate"], case.setting
        if self._are_settings_known or not rate:
            return False
        self._are_settings_known = True
        changes: dict[str, object] = {}
        factor = clues.rate_factor(rate, setting["learning_rate"], max(1, case.step - case.lag))
        if factor > _HIGHEST_FACTOR:
            yield from case.report("high_rate")
            changes["learning_rate"] = setting["learning_rate"] / factor
        if setting["checkpoint_every"] > _USUAL_INTERVAL:
            changes["checkpoint_every"] = _USUAL_INTERVAL
        if changes:
            yield from case.set_training("the figures do not fit the settings", **changes)
        return bool(changes)

    def _look_at_sampler(self) -> Answer:
        """Compare the losses of the ranks, once. Before the model has learnt something, every text has one loss."""
        case = self._case
        if self._is_sampler_known or (case.status["loss"] or _UNTRAINED_LOSS) >= _UNTRAINED_LOSS:
            return False
        self._is_sampler_known = True
        if not clues.reads_alike((yield from case.query("loss", "rank", "last", 1))):
            return False
        yield from case.report("shared_sampler")
        other = not case.setting["sampler_offset"]
        yield from case.set_training("all ranks read the same batch", sampler_offset=other)
        return True

    def _look_at_memory(self) -> Answer:
        case = self._case
        if not case.setting["record_activations"]:
            return False
        memory = yield from case.query("memory_gb", "rank", "last", 1)
        growing = clues.growing_ranks(memory)
        if not growing:
            return False
        yield from case.report("memory_leak", growing[0])
        yield from case.set_training("a rank grows while activations are recorded", record_activations=False)
        return True

    def _look_at_overflows(self) -> Answer:
        """Steps that are left out: the loss scale is too high for half precision."""
        case = self._case
        if case.setting["dynamic_loss_scale"] or case.status["grad_norm"] is not None or not case.step:
            return False
        skipped = yield from case.query("skipped", "total", "mean", _FIRST_LOOK)
        if (skipped.get("total") or 0) < 1:
            return False
        yield from case.report("half_precision")
        yield from case.set_training("every step overflows", dynamic_loss_scale=True, loss_scale=_SAFE_LOSS_SCALE)
        return True

    def _look_at_gradients(self) -> Answer:
        case = self._case
        count = self._window()
        if not count:
            return False
        nodes = yield from self._hot("node", count)
        if not nodes:
            case.clean_step = case.step - 1 - case.lag
            return False
        if case.status["loss"] is None:
            return (yield from self._answer_nonfinite())
        if max(nodes.values()) > case.step - 3 - case.lag:
            restarts = case.status["restarts"]
            yield from self._run(_FIRST_LOOK)  # the node has to read its other shard, too
            count += _FIRST_LOOK
            if case.status["restarts"] != restarts:
                return True
        shards = yield from self._hot("shard", count)
        if case.status["loss"] is None:
            return (yield from self._answer_nonfinite())
        node = int(next(iter(nodes))) if len(nodes) == 1 else None
        if node is not None and (yield from self._drifts(node, count)):
            return (yield from self._remove_harmful(node, "drifting_replica"))
        if len(shards) == 1:
            return (yield from self._skip_batches(next(iter(shards))))
        if node is not None:
            return (yield from self._remove_harmful(node, "silent_corruption"))
        return False

    def _drifts(self, node: int, count: int) -> Answer:
        """Whether a node with huge gradients has other weights. Wrong arithmetic leaves its losses as they are."""
        losses = yield from self._case.query("loss", "node", "mean", count)
        return clues.drift_suspect(losses, {}) == node and (yield from self._good_replica()) is not None

    def _hot(self, by: str, count: int) -> Generator[Decision, Outcome, dict[str, float]]:
        """Return the groups with huge gradients, and when. A dynamic loss scale may overflow now and then."""
        maxima = yield from self._case.query("grad_norm", by, "max", count)
        if self._case.setting["dynamic_loss_scale"]:
            maxima = {name: pair for name, pair in maxima.items() if pair[0] is not None}
        return clues.hot_groups(maxima)

    def _answer_nonfinite(self) -> Answer:
        case = self._case
        yield from case.report("nonfinite")
        if case.setting["skip_nonfinite"]:
            return False
        yield from case.set_training("a gradient is not finite", skip_nonfinite=True)
        kept = yield from case.checkpoint_before(case.clean_step + 1)
        yield from self._restart("weights from before the gradient that was not finite", kept, case.status)
        return True

    def _skip_batches(self, shard: str) -> Answer:
        """The gradients of one shard are huge, whichever node reads it: go back, and leave these batches out."""
        case = self._case
        yield from case.report("poisoned_batch", shard)
        kept = yield from case.checkpoint_before(case.clean_step + 1)
        first = case.position(case.clean_step + 1)
        after = first + _SKIP_POSITIONS
        then = case.status
        case.skipped.append((first, after))
        yield from self._restart("some batches have huge gradients", kept, then, skip_from=first, skip_to=after)
        return True

    def _remove_harmful(self, node: int, kind: str) -> Answer:
        """The gradients of one node are huge, whichever shard it reads."""
        case = self._case
        yield from case.report(kind, node)
        kept = yield from case.checkpoint_before(case.clean_step + 1)
        yield from case.remove(node, "its gradients are far larger than those of the others, on every shard")
        yield from self._restart("weights from before the node's wrong gradients", kept, case.status)
        return True

    def _look_at_times(self) -> Answer:
        case = self._case
        count = self._window()
        if not count or case.left_s < _LITTLE_LEFT_S:
            return False
        mean = (yield from case.query("step_s", "total", "mean", count)).get("total")
        if mean is None or mean < _SLOW_STEP_S:
            return False
        slow = clues.slow_nodes((yield from case.query("compute_s", "node", "mean", count)))
        if slow:
            yield from case.report("straggler", slow[0])
            yield from case.remove(slow[0], "it computes longer than the others")
            return True
        shards = clues.slow_shards((yield from case.query("data_s", "shard", "mean", count)))
        if shards:
            return (yield from self._answer_slow_data(shards))
        if clues.waits_of_all((yield from case.query("wait_s", "node", "mean", count))):
            return (yield from self._find_slow_link())
        return False

    def _answer_slow_data(self, shards: Sequence[int]) -> Answer:
        """Some shards are slow, or all of them after each save."""
        case = self._case
        if len(shards) > 8:
            if case.setting["checkpoint_every"] >= _RARE_INTERVAL:
                return False
            yield from case.report("slow_storage")
            yield from case.set_training("reads are slow after each save", checkpoint_every=_RARE_INTERVAL)
            return True
        left = [shard for shard in shards if shard not in case.status["mirrored"]]
        for shard in left:
            yield from case.report("loader_stall", shard)
            yield from case.act("set_shard", "all wait for it", shard=shard, action="mirror")
        return bool(left)

    def _find_slow_link(self) -> Answer:
        """Every reduction is slow: test the nodes, one after another."""
        case = self._case
        if case.left_s < _LINK_SEARCH_S or self._vain["link"]:
            return False
        for node in list(case.status["nodes"]):
            if case.left_s < _LITTLE_LEFT_S:
                return False
            found = yield from case.inspect("node", node)
            if found and found["self_test"]["link_gbps"] < _POORLY_LINKED_GBPS:
                yield from case.report("slow_link", node)
                yield from case.remove(node, "its link is slow, and all ranks wait in every reduction")
                return True
        self._vain["link"] += 1
        return False

    def _look_at_text(self) -> Answer:
        case = self._case
        if case.evidence < LOOK_EVERY or case.left_s < _LITTLE_LEFT_S or self._vain["shard"] == _MOST_VAIN:
            return False
        count = min(_WINDOW, case.evidence)
        norms = yield from case.query("grad_norm", "shard", "mean", count)
        suspects = clues.bad_text_suspects((yield from case.query("loss", "shard", "mean", count)), norms)
        suspects = [shard for shard in suspects if shard not in self._cleared]
        if not suspects:
            return False
        # A single batch may be an accident: the last one must be strange, too.
        norms = yield from case.query("grad_norm", "shard", "last", 2)
        again = clues.bad_text_suspects((yield from case.query("loss", "shard", "last", 2)), norms)
        suspects = [shard for shard in suspects if shard in again]
        if not suspects:
            return False
        found = yield from case.inspect("shard", suspects[0])
        if not found or not clues.bad_statistics(found["statistics"]):
            self._cleared.add(suspects[0])
            self._vain["shard"] += 1
            return False
        for shard in suspects:
            yield from case.report("bad_shard", shard)
            yield from case.act("set_shard", "its text is spoilt", shard=shard, action="quarantine")
        return True

    def _look_at_replicas(self) -> Answer:
        case = self._case
        if case.evidence < _WINDOW or self._vain["replicas"] == _MOST_VAIN:
            return False
        norms = yield from case.query("grad_norm", "node", "mean", _WINDOW)
        suspect = clues.drift_suspect((yield from case.query("loss", "node", "mean", _WINDOW)), norms)
        return suspect is not None and (yield from self._answer_drift(suspect))

    def _answer_drift(self, node: int) -> Answer:
        """Make the replicas equal, if they differ, and take the node out if they differ again."""
        case = self._case
        good = yield from self._good_replica()
        if good is None:
            self._vain["replicas"] += 1
            return False
        yield from case.report("drifting_replica", node)
        yield from case.act("broadcast", "the replicas differ", from_rank=good)
        yield from self._run(1)
        if node in case.status["nodes"] and (yield from self._good_replica()) is not None:
            yield from case.remove(node, "it misses updates of its weights")
        return True

    def _good_replica(self) -> Generator[Decision, Outcome, int | None]:
        """Compare the replicas. Returns a rank that has the right one, None if they are equal."""
        found = yield from self._case.inspect("replicas")
        return clues.majority_rank({name: value for name, value in found.items() if name.startswith("checksum_")})

    # What a restart tells.

    def _restart(self, reason: str, kept: Mapping[str, Any], then: Reply, **how: object) -> Steps:
        """Restart from a checkpoint, and compare."""
        before = dict(self._case.losses)
        yield from self._case.restart(reason, kept, **how)
        return (yield from self._compare(before, kept, then))

    def _after_death(self, reply: Reply, then: Reply) -> Steps:
        """See to a job that died and was restarted by the launcher."""
        case = self._case
        before = dict(case.losses)
        kept = {"id": reply["newest_checkpoint"], "step": case.step}
        found = clues.restart_position(reply["events"])
        if found is not None and found[1] != case.position(case.step):
            yield from case.report("lost_cursor")
            yield from case.restart("the sampler began at another position", kept)
        yield from self._answer_death(clues.deaths(reply["events"]))
        return (yield from self._compare(before, kept, then))

    def _answer_death(self, died: Sequence[clues.Death]) -> Answer:
        case = self._case
        now = float(case.status["clock_s"])
        for _, node in died:
            soon = [one for one, at in self._died if one == node and now - at < _SOON_S]
            self._died.append((node, now))
            if soon and node in case.status["nodes"]:
                yield from case.report("sticky_node", node)
                yield from case.remove(node, "it dies again soon after each start")
                return True
        different = len({node for node, _ in self._died})
        interval = clues.best_interval(_SAVE_S, now / max(1, different), _STEP_S)
        if different > 1 and interval < case.setting["checkpoint_every"]:
            yield from case.report("crashes")
            yield from case.set_training("nodes die", checkpoint_every=interval)
        return True

    def _compare(self, before: Mapping[int, float | None], kept: Mapping[str, Any], then: Reply) -> Steps:
        """Compare the first steps after a restart with the same steps before it."""
        case = self._case
        restarts = case.status["restarts"]
        reply = yield from self._run(_AFTER_RESTART)
        if not reply or case.status["restarts"] != restarts:
            return reply
        if clues.is_rate_lost(then, case.status):
            yield from case.report("lost_schedule")
            return (yield from case.set_training("the rate is not that of before", schedule_position=case.step))
        if clues.is_above(before, {int(step): loss for step, loss in reply.get("losses") or ()}):
            yield from self._choose_checkpoint(kept)
        return case.status

    def _choose_checkpoint(self, kept: Mapping[str, Any]) -> Answer:
        """The loss is higher than before the restart: is it the checkpoint's weights, or its optimizer?"""
        case = self._case
        listed = (yield from case.call("list_checkpoints")).get("checkpoints") or []
        for one in reversed([one for one in listed if one["step"] <= kept["step"]]):
            found = yield from case.inspect("checkpoint", one["id"])
            if found and clues.is_damaged(found["probe_loss"], one["loss"]):
                continue
            if one["id"] == kept["id"]:
                yield from case.report("missing_optimizer")
                why = "the loss is higher than before, and the weights are good: the optimizer must be bad"
                yield from case.restart(why, one, fresh_optimizer=True)
            else:
                yield from case.report("corrupt_checkpoint")
                yield from case.restart("the loss is higher than before, and newer checkpoints are damaged", one)
            return True
        return False

    # What is announced.

    def _mind_maintenance(self) -> Answer:
        """Leave a node before it is powered off, and use it again if that still pays."""
        case = self._case
        announced = clues.maintenance(case.status["notices"])
        if announced is None:
            return False
        node, begins_s, ends_s = announced
        now = float(case.status["clock_s"])
        if node in case.status["nodes"] and begins_s - 25 < now < ends_s:
            yield from case.report("maintenance", node)
            yield from case.act("set_node", "it is about to be powered off", node=node, action="drain")
            return True
        if node in case.status["drained"] and now > ends_s and case.left_s / 8 > 25:
            yield from case.act("set_node", "it is back", node=node, action="restore")
            return True
        return False
