"""The tools of the fleet, as values."""

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING

from ml_trainer_env.server.episodes.progress import OnProgress
from ml_trainer_env.server.episodes.tools import (
    Arguments,
    Effect,
    Parameter,
    Reply,
    Tool,
    Toolbox,
    choice,
    flag,
    number,
    text,
)
from ml_trainer_env.server.fleet.actions import NODE_ACTIONS, SHARD_ACTIONS
from ml_trainer_env.server.fleet.replies import (
    CHECKPOINTS_SCHEMA,
    INSPECTION_SCHEMA,
    LOG_SCHEMA,
    METRICS_SCHEMA,
    STATUS_SCHEMA,
    STEPS_SCHEMA,
)
from ml_trainer_env.server.fleet.rows import By, Metric, Reduction
from ml_trainer_env.server.fleet.run import StopOn
from ml_trainer_env.server.fleet.timing import INSPECT_US
from ml_trainer_env.server.trainer.fleet.clock import GUARD_US
from ml_trainer_env.server.trainer.fleet.settings import RANKS, SHARDS, WARMUP_STEPS
from ml_trainer_env.server.trainer.limits import Limit

if TYPE_CHECKING:
    from ml_trainer_env.server.fleet.episode import FleetEpisode

__all__ = ["LIMITS", "TOOLS"]

_MOST_NODES = 2 * RANKS
_MOST_POSITION = 3_000

LIMITS: Mapping[str, Limit] = {
    "num_steps": Limit(1, 50, whole=True),
    "last": Limit(1, 200, whole=True),
    "rank": Limit(0, RANKS - 1, whole=True),
    "tail": Limit(1, 20, whole=True),
    "node": Limit(0, _MOST_NODES - 1, whole=True),
    "shard": Limit(0, SHARDS - 1, whole=True),
    "learning_rate": Limit(0, 1, open_low=True),
    "clip_norm": Limit(0, 1e6),
    "loss_scale": Limit(1, 2.0**30),
    "checkpoint_every": Limit(1, 1_000, whole=True),
    "schedule_position": Limit(0, 1_000, whole=True),
    "data_position": Limit(0, _MOST_POSITION, whole=True),
    "skip_from": Limit(0, _MOST_POSITION, whole=True),
    "skip_to": Limit(0, _MOST_POSITION, whole=True),
}
"""The limits of numbers."""

_SETTINGS: Mapping[str, Parameter] = {
    "learning_rate": number(LIMITS["learning_rate"], "Peak of the schedule"),
    "clip_norm": number(LIMITS["clip_norm"], "The gradient's norm is scaled down to this, 0 for no limit"),
    "skip_nonfinite": flag("Leave out steps whose gradient is not finite"),
    "loss_scale": number(LIMITS["loss_scale"], "Factor of the loss where gradients are half precision"),
    "dynamic_loss_scale": flag("Halve the loss scale after an overflow"),
    "checkpoint_every": number(LIMITS["checkpoint_every"], "Steps between two checkpoints"),
    "schedule_position": number(LIMITS["schedule_position"], f"Steps since the warm-up began; it takes {WARMUP_STEPS}"),
    "sampler_offset": flag("The sampler gives each rank batches of its own; some loaders do so themselves"),
    "record_activations": flag("Ranks record activations for a profile; from the next start of the job on"),
}


def _restart(episode: "FleetEpisode", given: Arguments, _: OnProgress) -> Awaitable[Reply]:
    return episode.restart(
        given.get("checkpoint"),
        given.get("skip_from"),
        given.get("skip_to"),
        given.get("schedule_position"),
        given.get("data_position"),
        given.get("fresh_optimizer"),
    )


def _query(episode: "FleetEpisode", given: Arguments, _: OnProgress) -> Awaitable[Reply]:
    return episode.query_metrics(given.get("metric"), given.get("by"), given.get("last"), given.get("reduce"))


TOOLS: Toolbox["FleetEpisode"] = Toolbox(
    Tool(
        "run_steps",
        "Run steps",
        "Let the job train for some steps. After a death it restarts by itself from the newest checkpoint.\n\n"
        "A step takes about 1.15 s of the reservation. A step that does not end returns after 10 s; if you then run\n"
        "on, a watchdog restarts the job after 90 s.",
        Effect(spends="num_steps"),
        lambda episode, given, on_progress: episode.run_steps(
            given.get("num_steps"), given.get("stop_on"), on_progress
        ),
        {
            "num_steps": number(LIMITS["num_steps"], "Steps to take", required=True),
            "stop_on": choice(StopOn, "What ends the call early. nothing if left out"),
        },
        STEPS_SCHEMA,
    ),
    Tool(
        "query_metrics",
        "Query metrics",
        "Look at what monitoring recorded of the last steps. Free.\n\n"
        "Groups are told by their number. max comes with the step at which it was reached.",
        Effect(reads_only=True, idempotent=True),
        _query,
        {
            "metric": choice(Metric, "What to look at", required=True),
            "by": choice(By, "Grouping. total if left out"),
            "last": number(LIMITS["last"], "How many steps, 50 if left out"),
            "reduce": choice(Reduction, "series is for by=total, at most 40 points"),
        },
        METRICS_SCHEMA,
    ),
    Tool(
        "read_log",
        "Read a log",
        "Read the last lines of a rank's log, as many as a reply has room for. Free.",
        Effect(reads_only=True, idempotent=True),
        lambda episode, given, _: episode.read_log(given.get("rank"), given.get("tail")),
        {
            "rank": number(LIMITS["rank"], "The rank", required=True),
            "tail": number(LIMITS["tail"], "How many lines, 10 if left out"),
        },
        LOG_SCHEMA,
    ),
    Tool(
        "inspect",
        "Inspect",
        "Look closely. node: self-test, 12 s. shard: statistics and a sample, 3 s. checkpoint: contents and loss on\n"
        "probe text, 3 s. replicas: checksum of each rank's weights, 2 s.",
        Effect(),
        lambda episode, given, _: episode.inspect(given.get("kind"), given.get("id")),
        {
            "kind": choice(INSPECT_US, "What to inspect", required=True),
            "id": text("Number of the node or shard, or id of the checkpoint; not for replicas"),
        },
        INSPECTION_SCHEMA,
    ),
    Tool(
        "restart",
        "Restart the job",
        "Restart from a checkpoint, 20 s. Ranks are numbered anew. Time that is spent stays spent.\n\n"
        "Positions in the data equal steps as long as nothing was skipped.",
        Effect(destroys=True),
        _restart,
        {
            "checkpoint": text("Its id, or newest", required=True),
            "skip_from": number(LIMITS["skip_from"], "First position in the data to leave out from now on"),
            "skip_to": number(LIMITS["skip_to"], "The position after the last one to leave out"),
            "schedule_position": number(LIMITS["schedule_position"], "As the checkpoint tells if left out"),
            "data_position": number(LIMITS["data_position"], "As the checkpoint tells if left out"),
            "fresh_optimizer": flag("Begin the optimizer's moments anew. False if left out"),
        },
        STATUS_SCHEMA,
    ),
    Tool(
        "set_training",
        "Set the training",
        "Change settings from the next step on. What you leave out stays. Free.\n\n"
        "clip_norm, skip_nonfinite and dynamic_loss_scale are guards: each looks at the gradient of every step, which\n"
        f"takes {GUARD_US / 1e6:g} s a step while it is on.",
        Effect(idempotent=True),
        lambda episode, given, _: episode.set_training(given),
        _SETTINGS,
        STATUS_SCHEMA,
    ),
    Tool(
        "set_node",
        "Set a node",
        "replace: put a spare in its place, 40 s. drain: go on without it, 10 s; the batch stays as large.\n"
        "restore: use a drained node again, 25 s.",
        Effect(destroys=True),
        lambda episode, given, _: episode.set_node(given.get("node"), given.get("action")),
        {
            "node": number(LIMITS["node"], "The node", required=True),
            "action": choice(NODE_ACTIONS, "What to do", required=True),
        },
        STATUS_SCHEMA,
    ),
    Tool(
        "set_shard",
        "Set a shard",
        "quarantine: leave it out. mirror: read it from another place. restore: read it as at first. 5 s each.",
        Effect(destroys=True),
        lambda episode, given, _: episode.set_shard(given.get("shard"), given.get("action")),
        {
            "shard": number(LIMITS["shard"], "The shard", required=True),
            "action": choice(SHARD_ACTIONS, "What to do", required=True),
        },
        STATUS_SCHEMA,
    ),
    Tool(
        "broadcast",
        "Broadcast a replica",
        "Copy the weights of one rank to all ranks, 2 s.",
        Effect(destroys=True, idempotent=True),
        lambda episode, given, _: episode.broadcast(given.get("from_rank")),
        {"from_rank": number(LIMITS["rank"], "The rank whose weights are copied", required=True)},
        STATUS_SCHEMA,
    ),
    Tool(
        "report_incident",
        "Report an incident",
        "Note what you think is wrong. The end tells whether it is right; it is never paid. Free.",
        Effect(),
        lambda episode, given, _: episode.report_incident(given.get("kind"), given.get("target")),
        {
            "kind": text("What is wrong, in a word such as straggler", required=True),
            "target": text("Number of the node, rank or shard"),
        },
        STATUS_SCHEMA,
    ),
    Tool(
        "list_checkpoints",
        "Checkpoints",
        "List the checkpoints kept, oldest first. Free.",
        Effect(reads_only=True, idempotent=True),
        lambda episode, _, __: episode.list_checkpoints(),
        reply_schema=CHECKPOINTS_SCHEMA,
    ),
    Tool(
        "get_training_status",
        "Training status",
        "Tell where the run stands. Free.",
        Effect(reads_only=True, idempotent=True),
        lambda episode, _, __: episode.status(),
        reply_schema=STATUS_SCHEMA,
    ),
    Tool(
        "submit_model",
        "Submit the model",
        "Hand in the model as it is, end the episode and be paid the score.",
        Effect(destroys=True, idempotent=True),
        lambda episode, _, __: episode.submit(),
        reply_schema=STATUS_SCHEMA,
    ),
)
"""The tools, in the order of the list."""
