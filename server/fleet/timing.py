"""How long actions take on the cluster, in microseconds of virtual time."""

__all__ = [
    "BROADCAST_US",
    "DRAIN_US",
    "HANG_TIMEOUT_US",
    "INSPECT_US",
    "REPLACE_US",
    "RESTART_US",
    "RESTORE_US",
    "SAVE_US",
    "SHARD_US",
    "STALL_US",
]

SAVE_US = 1_500_000
"""A checkpoint."""
RESTART_US = 20_000_000
"""A restart, by an agent or by the launcher after a death."""
REPLACE_US = 40_000_000
DRAIN_US = 10_000_000
RESTORE_US = 25_000_000
"""What is done to a node."""
SHARD_US = 5_000_000
"""What is done to a shard."""
BROADCAST_US = 2_000_000
INSPECT_US = {"node": 12_000_000, "shard": 3_000_000, "checkpoint": 3_000_000, "replicas": 2_000_000}
"""An inspection, by what is inspected."""

STALL_US = 10_000_000
"""A step that has not ended after this time returns to the agent."""
HANG_TIMEOUT_US = 90_000_000
"""The launcher restarts a job whose step has not ended after this time."""
