"""What an inspection finds. It tells figures and text, and no diagnosis."""

from collections import Counter
from math import log

from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.tools import Reply
from ml_trainer_env.server.fleet.incidents import Draws
from ml_trainer_env.server.fleet.plans import checkpoint_measurement, fleet_text, replicas
from ml_trainer_env.server.fleet.restarts import SavedCheckpoint
from ml_trainer_env.server.fleet.run import FleetRun
from ml_trainer_env.server.trainer.fleet.batches import read_batch
from ml_trainer_env.server.trainer.fleet.faults import Place
from ml_trainer_env.server.trainer.fleet.figures import CHANCE_LOSS
from ml_trainer_env.server.trainer.fleet.settings import SHARDS, CheckpointRead

__all__ = ["checkpoint_contents", "node_self_test", "replica_checksums", "shard_statistics"]

_SELF_TEST = 61
"""Stream of random numbers of self-tests."""

_SAMPLED_SEQUENCES = 16
_SAMPLE_CHARACTERS = 33
_FIRST_CHARACTER = 31
"""Character 0 is the line break; the others are printable ASCII from 32 on."""


def node_self_test(run: FleetRun, node: int) -> Reply:
    """Test a node: a matrix product with a known result, memory counters, and the link.

    Raises:
        EpisodeError: There is no such node.
    """
    known = (*run.cluster.nodes, *run.spares, *run.drained)
    if node not in known:
        raise EpisodeError(f"there is no node {node}; nodes are {', '.join(map(str, sorted(known)))}")
    draws = Draws(_SELF_TEST, run.seed, node, run.now_us)
    found = {
        "matmul_ms": 41.0 + draws.below(20) / 10,
        "wrong_products": 0.0,
        "memory_errors": float(draws.below(3)),
        "link_gbps": 382.0 + draws.below(15),
    }
    return {"self_test": run.scenario.self_test(found, node, run.now_us)}


def shard_statistics(run: FleetRun, shard: int) -> Reply:
    """Read some sequences of a shard as the run reads them now: statistics of the characters, and a sample.

    Raises:
        EpisodeError: There is no such shard.
    """
    if not 0 <= shard < SHARDS:
        raise EpisodeError(f"there is no shard {shard}; shards are 0 to {SHARDS - 1}")
    position = run.cluster.data_position(run.step)
    place = Place(run.seed, position, 0, run.cluster.nodes[0], shard, clock_us=run.now_us)
    batch = read_batch(fleet_text(), run.scenario, place, _SAMPLED_SEQUENCES)
    pairs = Counter(zip(batch.inputs.ravel().tolist(), batch.targets.ravel().tolist(), strict=True))
    firsts = Counter(batch.inputs.ravel().tolist())
    total = sum(firsts.values())
    entropy = -sum(count / total * log(count / firsts[pair[0]]) for pair, count in pairs.items())
    return {
        "statistics": {
            "characters": total,
            "distinct_characters": len(firsts),
            "distinct_sequences": len({row.tobytes() for row in batch.inputs}),
            "entropy_of_next_nats": round(entropy, 3),
        },
        "sample_inputs": _as_text(batch.inputs[0]),
        "sample_targets": _as_text(batch.targets[0]),
    }


async def checkpoint_contents(run: FleetRun, checkpoint: SavedCheckpoint) -> Reply:
    """Read a checkpoint as a restart would, and measure it on text that is neither trained on nor graded.

    Raises:
        TrainingStoppedError: It could not be measured.
    """
    if checkpoint.ref.initial is not None:
        return {"probe_loss": CHANCE_LOSS, "optimizer_norm": 0.0, "schedule": 0}
    plan = checkpoint_measurement(CheckpointRead(run.scenario, checkpoint.saved_us), fleet_text())
    return dict(await run.measure(checkpoint.ref, plan))


async def replica_checksums(run: FleetRun) -> Reply:
    """Compute the checksum of each rank's weights.

    Raises:
        TrainingStoppedError: They could not be computed.
    """
    plan = replicas(run.settings, fleet_text())
    if run.ref.initial is not None:
        return dict.fromkeys(plan.figures, 0)
    found = await run.measure(run.ref, plan)
    return {name: found[name] for name in plan.figures}


def _as_text(characters: "object") -> str:
    numbers = [int(one) for one in characters][:_SAMPLE_CHARACTERS]  # type: ignore[attr-defined]
    return "".join("\n" if one == 0 else chr(_FIRST_CHARACTER + one) for one in numbers)
