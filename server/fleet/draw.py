"""The drawn tasks: what goes wrong follows from split, index and seed."""

from collections.abc import Mapping, Sequence

from ml_trainer_env.server.fleet.incidents import Draws, Incident, Setup, faults_of, job_setup

__all__ = ["DRAWN_COUNTS", "TIERS", "draw_run_seed", "draw_setup", "tier_of"]

DRAWN_COUNTS: Mapping[str, int] = {"train": 512, "validation": 128, "test": 128}
"""Number of drawn tasks by split."""

TIERS: Sequence[str] = (
    "one loud incident",
    "the choice of a checkpoint",
    "one silent incident",
    "a sticky one",
    "two in sequence",
    "two at once",
    "late telemetry",
    "no spare nodes",
    "two silent ones",
    "two with decoys",
)
"""The tiers, the easiest first."""

_DRAWN = 51
"""Stream of random numbers of drawn tasks."""

_DRAWN_DECOYS = 52
"""Stream of random numbers of what looks like a fault and is none. Every second episode has it, whatever is wrong, and
every one of the last tier."""

_RUN_SEEDS = 53
"""Stream of random numbers of the seeds of runs."""

_QUIET = 4
"""One in this many episodes has nothing wrong, in every tier."""

_LOUD = (
    Incident.CRASHES,
    Incident.STRAGGLER,
    Incident.LOADER_STALL,
    Incident.SLOW_STORAGE,
    Incident.DIVERGENCE,
)
_GUARDED = (Incident.HALF_PRECISION, Incident.NONFINITE)
"""What a setting that does no harm prevents. They are drawn seldom, so that setting it blindly gains little."""
_CHECKPOINT = (
    Incident.CORRUPT_CHECKPOINT,
    Incident.POISONED_BATCH,
    Incident.LOST_OPTIMIZER,
    Incident.LOST_CURSOR,
    Incident.LOST_SCHEDULE,
)
_SILENT = (
    Incident.BAD_SHARDS,
    Incident.SILENT_CORRUPTION,
    Incident.DRIFTING_REPLICA,
    Incident.SLOW_LINK,
    Incident.SHARED_SAMPLER,
)
_STICKY = (Incident.STICKY_NODE, Incident.MEMORY_LEAK, Incident.MAINTENANCE, Incident.HANG)
_ON_NODES = (Incident.NO_SPARE, Incident.SILENT_CORRUPTION, Incident.SLOW_LINK)

_OF_TIER: Sequence[tuple[Sequence[Incident], ...]] = (
    ((*_LOUD, *_LOUD, *_GUARDED),),
    ((*_CHECKPOINT, Incident.NONFINITE),),
    (_SILENT,),
    (_STICKY,),
    (_LOUD, _SILENT),
    (_STICKY, _SILENT),
    ((*_LOUD, *_SILENT),),
    (_ON_NODES,),
    (_SILENT, _SILENT),
    ((*_LOUD, *_CHECKPOINT, *_GUARDED), _SILENT),
)
"""What a tier draws from: one incident of each group."""

_SEQUENCE, _LATE_TELEMETRY, _NO_SPARES, _DECOYS = 5, 7, 8, 10
_DELAY_US = 40_000_000


def tier_of(index: int) -> int:
    """Return the tier of a drawn task, from 1."""
    return index % len(TIERS) + 1


def draw_setup(split: str, index: int, seed: int) -> Setup:
    """Draw what goes wrong in an episode.

    Args:
        split: One of `DRAWN_COUNTS`.
        index: Position in the split.
        seed: The episode's seed.
    """
    draws, tier = Draws(_DRAWN, list(DRAWN_COUNTS).index(split), index, seed), tier_of(index)
    is_quiet = draws.below(_QUIET) == 0
    incidents = (Incident.NOTHING,) if is_quiet else _draw_incidents(draws, tier)
    faults = [
        fault
        for number, incident in enumerate(incidents)
        if incident is not Incident.NOTHING
        for fault in faults_of(incident, draws, late=tier == _SEQUENCE and number == 1)
    ]
    decoys = Draws(_DRAWN_DECOYS, list(DRAWN_COUNTS).index(split), index, seed)
    if tier == _DECOYS or decoys.below(2) == 0:
        faults += faults_of(Incident.NOTHING, decoys)
    return Setup(
        incidents,
        job_setup(tuple(faults), decoys),
        spares=0 if tier == _NO_SPARES else 2,
        telemetry_delay_us=_DELAY_US if tier == _LATE_TELEMETRY else 0,
    )


def draw_run_seed(split: str, index: int, seed: int) -> int:
    """Draw the seed of weights, data and noise, 0 to 2**62 - 1, of an episode whose seed is not the task's own."""
    draws = Draws(_RUN_SEEDS, list(DRAWN_COUNTS).index(split), index, seed)
    return draws.below(2**31) << 31 | draws.below(2**31)


def _draw_incidents(draws: Draws, tier: int) -> tuple[Incident, ...]:
    """Draw one incident of each group of the tier, all different."""
    found: list[Incident] = []
    for group in _OF_TIER[tier - 1]:
        left = [incident for incident in group if incident not in found]
        found.append(left[draws.below(len(left))])
    return tuple(found)
