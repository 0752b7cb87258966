"""For each incident: what repairs it, and what tempts and does not. The policies know what goes wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from local import Job

from ml_trainer_env.server.fleet.incidents import Incident
from ml_trainer_env.server.trainer.fleet import faults

Policy = Callable[[Job], None]
FaultT = TypeVar("FaultT")

STEP_S = 1.15
NOTICED_STEPS = 8
"""After so many steps an incident is noticed."""


@dataclass(frozen=True)
class Answers:
    """What to do about an incident.

    Attributes:
        right: What repairs it.
        wrong: What tempts, by name.
    """

    right: Policy
    wrong: Mapping[str, Policy]


def fault(job: Job, kind: type[FaultT]) -> FaultT:
    return next(one for one in job.episode.run.scenario.faults if isinstance(one, kind))


def begin_step(job: Job) -> int:
    """About the step at which the first fault begins."""
    first: Any = job.episode.run.scenario.faults[0]
    begins_us = getattr(first, "begins_us", None)
    return getattr(first, "begins", 0) if begins_us is None else round(begins_us / 1e6 / STEP_S)


def notice(job: Job) -> None:
    """Let the job train until its incident is noticed."""
    job.to_step(begin_step(job) + NOTICED_STEPS)


def checkpoint_before(job: Job, step: int) -> str:
    """The newest checkpoint that is not after a step."""
    kept = job.call("list_checkpoints")["checkpoints"]
    return str([one for one in kept if one["step"] <= step][-1]["id"])


def other_node(job: Job, node: int) -> int:
    return next(one for one in job.episode.run.cluster.nodes if one != node)


def halve_rate(job: Job) -> None:
    notice(job)
    job.call("set_training", learning_rate=job.last["settings"]["learning_rate"] / 2)


def roll_back(job: Job) -> None:
    notice(job)
    job.call("restart", checkpoint=checkpoint_before(job, begin_step(job)))


def replace_any(job: Job) -> None:
    notice(job)
    node = getattr(job.episode.run.scenario.faults[0], "node", 0)
    job.call("set_node", node=other_node(job, node), action="replace")


def quarantine_bad(job: Job) -> None:
    notice(job)
    for shard in fault(job, faults.BadShard).shards:
        job.call("set_shard", shard=shard, action="quarantine")


def skip_poison(job: Job) -> None:
    found = fault(job, faults.PoisonedBatch)
    job.to_step(found.first + 4)
    end = found.first + found.length
    job.call("restart", checkpoint=checkpoint_before(job, found.first), skip_from=found.first, skip_to=end)


def roll_back_into_poison(job: Job) -> None:
    found = fault(job, faults.PoisonedBatch)
    job.to_step(found.first + 4)
    job.call("restart", checkpoint=checkpoint_before(job, found.first))


def halve_after_poison(job: Job) -> None:
    job.to_step(fault(job, faults.PoisonedBatch).first + 4)
    job.call("set_training", learning_rate=job.last["settings"]["learning_rate"] / 2)


def replace_and_roll_back(job: Job) -> None:
    notice(job)
    job.call("set_node", node=fault(job, faults.SilentCorruption).node, action="replace")
    job.call("restart", checkpoint=checkpoint_before(job, begin_step(job)))


def clip(job: Job) -> None:
    notice(job)
    job.call("set_training", clip_norm=0.3)


def replace_slow(job: Job) -> None:
    job.to_step(begin_step(job) + 6)
    job.call("set_node", node=fault(job, faults.Straggler).node, action="replace")


def quarantine_some(job: Job) -> None:
    notice(job)
    for shard in (0, 1):
        job.call("set_shard", shard=shard, action="quarantine")


def save_every(steps: int) -> Policy:
    def policy(job: Job) -> None:
        while not job.done and not job.episode.run.cluster.incarnation:
            job.call("run_steps", num_steps=50, stop_on="restart")
        job.call("set_training", checkpoint_every=steps)

    return policy


def replace_sticky(job: Job) -> None:
    while not job.done and job.episode.run.cluster.incarnation < 2:
        job.call("run_steps", num_steps=50, stop_on="restart")
    job.call("set_node", node=fault(job, faults.StickyNode).node, action="replace")


def drain_sticky(job: Job) -> None:
    while not job.done and job.episode.run.cluster.incarnation < 2:
        job.call("run_steps", num_steps=50, stop_on="restart")
    job.call("set_node", node=fault(job, faults.StickyNode).node, action="drain")


def replace_innocent(job: Job) -> None:
    while not job.done and job.episode.run.cluster.incarnation < 2:
        job.call("run_steps", num_steps=50, stop_on="restart")
    job.call("set_node", node=other_node(job, fault(job, faults.StickyNode).node), action="replace")


def drain_innocent(job: Job) -> None:
    while not job.done and job.episode.run.cluster.incarnation < 2:
        job.call("run_steps", num_steps=50, stop_on="restart")
    job.call("set_node", node=other_node(job, fault(job, faults.StickyNode).node), action="drain")


def restart_in_place(job: Job) -> None:
    while not job.done and job.episode.run.cluster.incarnation < 2:
        job.call("run_steps", num_steps=50, stop_on="restart")
    job.call("restart", checkpoint="newest")


def submit_early(job: Job) -> None:
    while not job.done and job.episode.run.cluster.incarnation < 2:
        job.call("run_steps", num_steps=50, stop_on="restart")
    job.call("submit_model")


def replace_drifting(job: Job) -> None:
    notice(job)
    job.call("set_node", node=fault(job, faults.DriftingReplica).node, action="replace")


def broadcast_odd(job: Job) -> None:
    found = fault(job, faults.DriftingReplica)
    job.to_time(found.ends_us / 1e6 - 5)
    job.call("broadcast", from_rank=job.episode.run.cluster.nodes.index(found.node))


def scale_dynamically(job: Job) -> None:
    job.to_step(5)
    job.call("set_training", dynamic_loss_scale=True, loss_scale=4096)


def a_tenth_of_the_rate(job: Job) -> None:
    job.to_step(10)
    job.call("set_training", learning_rate=0.004)


def clip_early(job: Job) -> None:
    job.to_step(10)
    job.call("set_training", clip_norm=1.0)


def mirror(job: Job) -> None:
    notice(job)
    for shard in fault(job, faults.LoaderStall).shards:
        job.call("set_shard", shard=shard, action="mirror")


def older_checkpoint(job: Job) -> None:
    found = fault(job, faults.CorruptCheckpoint)
    while not job.done and not job.episode.run.cluster.incarnation:
        job.call("run_steps", num_steps=50, stop_on="restart")
    job.call("run_steps", num_steps=4)
    kept = [one for one in job.episode.run.checkpoints if (one.saved_us or 0) < found.begins_us]
    job.call("restart", checkpoint=kept[-1].id)


def newest_again(job: Job) -> None:
    while not job.done and not job.episode.run.cluster.incarnation:
        job.call("run_steps", num_steps=50, stop_on="restart")
    job.call("run_steps", num_steps=4)
    job.call("restart", checkpoint="newest")


def halve_after_restart(job: Job) -> None:
    while not job.done and not job.episode.run.cluster.incarnation:
        job.call("run_steps", num_steps=50, stop_on="restart")
    job.call("run_steps", num_steps=4)
    job.call("set_training", learning_rate=job.last["settings"]["learning_rate"] / 2)


def replace_linked(job: Job) -> None:
    notice(job)
    job.call("set_node", node=fault(job, faults.SlowLink).node, action="drain")


def drain_other(job: Job) -> None:
    notice(job)
    job.call("set_node", node=other_node(job, fault(job, faults.SlowLink).node), action="drain")


def save_seldom(job: Job) -> None:
    job.to_time(fault(job, faults.SlowStorage).begins_us / 1e6 + 15)
    job.call("set_training", checkpoint_every=200)


def save_always(job: Job) -> None:
    job.to_time(fault(job, faults.SlowStorage).begins_us / 1e6 + 15)
    job.call("set_training", checkpoint_every=1)


def replace_two(job: Job) -> None:
    job.to_time(fault(job, faults.SlowStorage).begins_us / 1e6 + 15)
    for node in (0, 1):
        job.call("set_node", node=node, action="replace")


def lower_rate_from_early(job: Job) -> None:
    job.to_step(35)
    job.call("set_training", learning_rate=0.04 / fault(job, faults.HighRate).factor)
    job.call("restart", checkpoint="step-0")


def skip_batches(job: Job) -> None:
    job.to_step(60)
    job.call("restart", checkpoint="newest", skip_from=50, skip_to=70)


def restart_newest(job: Job) -> None:
    job.to_step(60)
    job.call("restart", checkpoint="newest")


def before_nonfinite(job: Job) -> None:
    position = fault(job, faults.NonfiniteBatch).position
    job.to_step(position + 3)
    job.call("restart", checkpoint=checkpoint_before(job, position), skip_from=position, skip_to=position + 1)


def after_nonfinite(job: Job) -> None:
    job.to_step(fault(job, faults.NonfiniteBatch).position + 3)
    job.call("set_training", skip_nonfinite=True)


def again_into_nonfinite(job: Job) -> None:
    position = fault(job, faults.NonfiniteBatch).position
    job.to_step(position + 3)
    job.call("restart", checkpoint=checkpoint_before(job, position))


def set_offset(job: Job) -> None:
    job.to_step(15)
    job.call("set_training", sampler_offset=not job.last["settings"]["sampler_offset"])


def halve_early(job: Job) -> None:
    job.to_step(15)
    job.call("set_training", learning_rate=0.02)


def right_cursor(job: Job) -> None:
    while not job.done and not job.episode.run.cluster.incarnation:
        job.call("run_steps", num_steps=50, stop_on="restart")
    job.call("run_steps", num_steps=4)
    kept = job.episode.run.checkpoints[-1]
    job.call("restart", checkpoint=kept.id, data_position=kept.ref.position)


def right_schedule(job: Job) -> None:
    while not job.done and not job.episode.run.cluster.incarnation:
        job.call("run_steps", num_steps=50, stop_on="restart")
    job.call("run_steps", num_steps=4)
    job.call("set_training", schedule_position=job.episode.run.step)


def fresh_optimizer(job: Job) -> None:
    while not job.done and not job.episode.run.cluster.incarnation:
        job.call("run_steps", num_steps=50, stop_on="restart")
    job.call("run_steps", num_steps=2)
    job.call("restart", checkpoint="newest", fresh_optimizer=True)


def restart_when_stalled(job: Job) -> None:
    while not job.done:
        job.call("run_steps", num_steps=50)
        if not job.done and job.last["is_stalled"]:
            job.call("restart", checkpoint="newest")


def replace_and_wait(job: Job) -> None:
    while not job.done and not (job.last and job.last["is_stalled"]):
        job.call("run_steps", num_steps=50)
    job.call("set_node", node=other_node(job, fault(job, faults.Hang).node), action="replace")


def stop_recording(job: Job) -> None:
    job.to_time(30)
    job.call("set_training", record_activations=False)


def replace_leaking(job: Job) -> None:
    while not job.done and job.episode.run.cluster.incarnation < 2:
        job.call("run_steps", num_steps=50, stop_on="restart")
    rank = fault(job, faults.MemoryLeak).rank
    job.call("set_node", node=job.episode.run.cluster.nodes[rank], action="replace")


def leave_in_time(job: Job) -> None:
    found = fault(job, faults.Maintenance)
    job.to_time(found.begins_us / 1e6 - 45)
    job.call("set_node", node=found.node, action="drain")


def replace_wrong_in_time(job: Job) -> None:
    found = fault(job, faults.Maintenance)
    job.to_time(found.begins_us / 1e6 - 45)
    job.call("set_node", node=other_node(job, found.node), action="replace")


ANSWERS: Mapping[Incident, Answers] = {
    Incident.BAD_SHARDS: Answers(quarantine_bad, {"replace a node": replace_any, "halve the rate": halve_rate}),
    Incident.POISONED_BATCH: Answers(
        skip_poison, {"roll back alone": roll_back_into_poison, "halve the rate": halve_after_poison}
    ),
    Incident.SILENT_CORRUPTION: Answers(replace_and_roll_back, {"roll back alone": roll_back, "clip": clip}),
    Incident.STRAGGLER: Answers(
        replace_slow, {"quarantine two shards": quarantine_some, "replace another node": replace_any}
    ),
    Incident.CRASHES: Answers(save_every(15), {"save no more": save_every(1000), "halve the rate": halve_rate}),
    Incident.STICKY_NODE: Answers(
        replace_sticky, {"restart in place": restart_in_place, "replace another node": replace_innocent}
    ),
    Incident.DRIFTING_REPLICA: Answers(
        replace_drifting,
        {
            "broadcast from the odd one": broadcast_odd,
            "halve the rate": halve_rate,
            "replace another node": replace_any,
        },
    ),
    Incident.HALF_PRECISION: Answers(
        scale_dynamically, {"a tenth of the rate": a_tenth_of_the_rate, "clip": clip_early}
    ),
    Incident.LOADER_STALL: Answers(mirror, {"replace a node": replace_any, "halve the rate": halve_rate}),
    Incident.CORRUPT_CHECKPOINT: Answers(
        older_checkpoint, {"restart from the newest": newest_again, "halve the rate": halve_after_restart}
    ),
    Incident.SLOW_LINK: Answers(replace_linked, {"drain another node": drain_other, "halve the rate": halve_rate}),
    Incident.SLOW_STORAGE: Answers(save_seldom, {"replace two nodes": replace_two, "save every step": save_always}),
    Incident.DIVERGENCE: Answers(
        lower_rate_from_early, {"skip batches": skip_batches, "restart from the newest": restart_newest}
    ),
    Incident.NONFINITE: Answers(
        before_nonfinite, {"guard afterwards": after_nonfinite, "roll back alone": again_into_nonfinite}
    ),
    Incident.SHARED_SAMPLER: Answers(set_offset, {"halve the rate": halve_early, "replace a node": replace_any}),
    Incident.LOST_CURSOR: Answers(
        right_cursor, {"restart from the newest": newest_again, "halve the rate": halve_after_restart}
    ),
    Incident.LOST_SCHEDULE: Answers(
        right_schedule, {"restart from the newest": newest_again, "halve the rate": halve_after_restart}
    ),
    Incident.LOST_OPTIMIZER: Answers(
        fresh_optimizer, {"restart from the newest": newest_again, "halve the rate": halve_after_restart}
    ),
    Incident.HANG: Answers(restart_when_stalled, {"replace another node and wait": replace_and_wait}),
    Incident.MEMORY_LEAK: Answers(stop_recording, {"replace the node": replace_leaking}),
    Incident.NO_SPARE: Answers(
        drain_sticky, {"stop": submit_early, "drain another node": drain_innocent, "restart": restart_in_place}
    ),
    Incident.MAINTENANCE: Answers(leave_in_time, {"replace another node": replace_wrong_in_time}),
}
