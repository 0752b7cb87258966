"""What the end of an episode tells: what had happened, and whether reports were right."""

from dataclasses import fields

from ml_trainer_env.server.episodes.tools import Reply
from ml_trainer_env.server.fleet.incidents import Incident, Setup
from ml_trainer_env.server.trainer.fleet.faults import Fault, Scenario

__all__ = ["report_is_right", "told_faults"]


def told_faults(scenario: Scenario) -> list[Reply]:
    """Return the faults as JSON objects: their kind and their parameters, times in seconds."""
    return [_told(fault) for fault in scenario.faults]


def report_is_right(setup: Setup, kind: str, target: str) -> bool:
    """Whether a report names one of the incidents or kinds of faults, and what it belongs to if it names that."""
    wanted = kind.strip().lower().replace(" ", "_").replace("-", "_")
    if wanted in setup.incidents:
        found = setup.scenario.faults
        if setup.incidents == (Incident.NOTHING,) and wanted == Incident.NOTHING:
            return True
    else:
        found = tuple(fault for fault in setup.scenario.faults if fault.kind == wanted)
    return bool(found) and (not target or any(target in _targets(fault) for fault in found))


def _told(fault: Fault) -> Reply:
    told: Reply = {"kind": fault.kind.value}
    for field in fields(fault):
        value = getattr(fault, field.name)
        if field.name.endswith("_us"):
            seconds = [one / 1e6 for one in value] if isinstance(value, tuple) else value / 1e6
            told[field.name.removesuffix("_us") + "_s"] = seconds
        else:
            told[field.name] = list(value) if isinstance(value, tuple) else value
    return told


def _targets(fault: Fault) -> set[str]:
    """Return what a fault belongs to, as text: its node, rank or shards."""
    found: set[str] = set()
    for field in fields(fault):
        if field.name in {"node", "rank", "shard"}:
            found.add(str(getattr(fault, field.name)))
        if field.name == "shards":
            found |= set(map(str, getattr(fault, field.name)))
    return found
