"""What an agent may do to the cluster, as pure functions: to its nodes and to its shards."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.fleet.timing import DRAIN_US, REPLACE_US, RESTORE_US, SHARD_US
from ml_trainer_env.server.trainer.fleet.settings import SHARDS, Cluster

__all__ = ["NODE_ACTIONS", "SHARD_ACTIONS", "ClusterAction", "Machines"]

LEAST_RANKS = 4
LEAST_SHARDS = 4


@dataclass(frozen=True, slots=True)
class Machines:
    """The cluster, and the nodes beside it.

    Attributes:
        cluster: The cluster of the next step.
        spares: The spare nodes.
        drained: Nodes that were drained and can be restored.
    """

    cluster: Cluster
    spares: tuple[int, ...]
    drained: tuple[int, ...] = ()


Outcome = tuple[Machines, str]
"""What an action comes to, and what the log tells of it."""


@dataclass(frozen=True, slots=True)
class ClusterAction:
    """Something that is done to a node or a shard.

    Attributes:
        cost_us: How long it takes, in microseconds of virtual time.
        apply: Does it: (machines, number of the node or shard) to their outcome. Raises `EpisodeError` if it cannot.
    """

    cost_us: int
    apply: Callable[[Machines, int], Outcome]


def _replace(machines: Machines, node: int) -> Outcome:
    """Put a spare node in a node's place."""
    nodes = machines.cluster.nodes
    _require_used(machines, node)
    if not machines.spares:
        raise EpisodeError("there is no spare node; drain the node to go on with fewer ranks")
    spare, *rest = machines.spares
    cluster = replace(machines.cluster, nodes=tuple(spare if used == node else used for used in nodes))
    return replace(machines, cluster=cluster, spares=tuple(rest)), f"node {node} was replaced by node {spare}"


def _drain(machines: Machines, node: int) -> Outcome:
    """Go on without a node. The batch of a step stays as large as it was."""
    nodes = machines.cluster.nodes
    _require_used(machines, node)
    if len(nodes) <= LEAST_RANKS:
        raise EpisodeError(f"a job needs at least {LEAST_RANKS} ranks")
    cluster = replace(machines.cluster, nodes=tuple(used for used in nodes if used != node))
    after = replace(machines, cluster=cluster, drained=(*machines.drained, node))
    return after, f"node {node} was drained; the job has {len(cluster.nodes)} ranks"


def _restore_node(machines: Machines, node: int) -> Outcome:
    """Use a drained node again."""
    drained = machines.drained
    if node not in drained:
        raise EpisodeError(f"node {node} is not drained; drained are: {_listed(drained)}")
    cluster = replace(machines.cluster, nodes=(*machines.cluster.nodes, node))
    after = replace(machines, cluster=cluster, drained=tuple(one for one in drained if one != node))
    return after, f"node {node} was restored; the job has {len(cluster.nodes)} ranks"


def _quarantine(machines: Machines, shard: int) -> Outcome:
    """Leave a shard out."""
    left_out = machines.cluster.quarantined
    if shard in left_out:
        raise EpisodeError(f"shard {shard} is in quarantine")
    if SHARDS - len(left_out) <= LEAST_SHARDS:
        raise EpisodeError(f"a job needs at least {LEAST_SHARDS} shards")
    cluster = replace(machines.cluster, quarantined=tuple(sorted((*left_out, shard))))
    return replace(machines, cluster=cluster), f"shard {shard} is in quarantine"


def _mirror(machines: Machines, shard: int) -> Outcome:
    """Read a shard from its mirror."""
    mirrored = machines.cluster.mirrored
    if shard in mirrored:
        raise EpisodeError(f"shard {shard} is read from its mirror")
    cluster = replace(machines.cluster, mirrored=tuple(sorted((*mirrored, shard))))
    return replace(machines, cluster=cluster), f"shard {shard} is read from its mirror"


def _restore_shard(machines: Machines, shard: int) -> Outcome:
    """Read a shard as at first."""
    cluster = machines.cluster
    if shard not in cluster.quarantined and shard not in cluster.mirrored:
        raise EpisodeError(f"shard {shard} is neither in quarantine nor read from its mirror")
    after = replace(
        cluster,
        quarantined=tuple(one for one in cluster.quarantined if one != shard),
        mirrored=tuple(one for one in cluster.mirrored if one != shard),
    )
    return replace(machines, cluster=after), f"shard {shard} is read as at first"


NODE_ACTIONS: Mapping[str, ClusterAction] = {
    "replace": ClusterAction(REPLACE_US, _replace),
    "drain": ClusterAction(DRAIN_US, _drain),
    "restore": ClusterAction(RESTORE_US, _restore_node),
}
"""What may be done to a node."""

SHARD_ACTIONS: Mapping[str, ClusterAction] = {
    "quarantine": ClusterAction(SHARD_US, _quarantine),
    "mirror": ClusterAction(SHARD_US, _mirror),
    "restore": ClusterAction(SHARD_US, _restore_shard),
}
"""What may be done to a shard."""


def _require_used(machines: Machines, node: int) -> None:
    nodes = machines.cluster.nodes
    if node not in nodes:
        raise EpisodeError(f"node {node} is not used; nodes in use are {_listed(nodes)}")


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers)) or "none"
