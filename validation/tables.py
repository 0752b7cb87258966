"""Plays policies on tasks and keeps what they earned, for the figures of level 4."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openenv.validation.manifest import NormalizedManifest

from ml_trainer_env.validation.declarations import (
    DO_NOTHING,
    CallList,
    DeclarationError,
    as_action,
    read_canaries,
    read_oracles,
    sampled,
)
from ml_trainer_env.validation.figures import Kind, Row, Table
from ml_trainer_env.validation.plays import play
from ml_trainer_env.validation.wire import TaskApi, WireError

__all__ = ["Policy", "play_table", "policies_of", "read_references"]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as a list of calls.

    Attributes:
        calls: What is played.
        kind: What the policy is for.
        tier: Strength of a reference.
    """

    calls: CallList
    kind: Kind
    tier: int = 0


def read_references(path: Path) -> list[Policy]:
    """Read reference policies: `{"references": [{"name", "tier", "calls"}, ...]}`.

    Raises:
        DeclarationError: The file is malformed.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["references"]
        return [
            Policy(
                CallList(entry["name"], {}, tuple(as_action(call, path.name) for call in entry["calls"])),
                Kind.REFERENCE,
                int(entry["tier"]),
            )
            for entry in entries
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DeclarationError(f"{path.name}: expected a list `references` of name, tier and calls: {error}") from error


def policies_of(root: Path, manifest: NormalizedManifest, references: Path | None) -> list[Policy]:
    """Return the declared canaries, with the floor among them, and the references."""
    location = manifest.capabilities.canaries
    canaries = [] if location is None else read_canaries(root, location)
    if all(canary.name != DO_NOTHING for canary in canaries):
        canaries.append(CallList(DO_NOTHING, {}, ()))
    policies = [Policy(one, Kind.FLOOR if one.name == DO_NOTHING else Kind.CANARY) for one in canaries]
    return policies + ([] if references is None else read_references(references))


def play_table(
    base_url: str,
    root: Path,
    manifest: NormalizedManifest,
    policies: Sequence[Policy],
    *,
    tasks: Sequence[str] = (),
    seeds: int = 1,
    headers: Mapping[str, str] | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> Table:
    """Play the oracle of each task with its own seed, for which it was made, and each policy with some seeds.

    Args:
        base_url: The environment.
        root: The package's folder.
        manifest: The package's manifest, with an oracle.
        policies: What is played beside the oracle.
        tasks: Task ids, with `*` for any text. Empty for the sample of the graders.
        seeds: Number of seeds: that of the oracle and the following ones.
        headers: Headers of each request.
        on_row: Hears of each episode.

    Raises:
        DeclarationError: No oracle is declared for the tasks.
        WireError: The environment does not answer.
    """
    declared = manifest.capabilities.oracle
    oracles = [] if declared is None else sampled(read_oracles(root, declared.location), tasks)
    oracles = [oracle for oracle in oracles if not oracle.idle]  # between nothing and nothing there is no scale
    if not oracles:
        raise DeclarationError("expected an oracle that acts for at least one of the tasks, found none")
    difficulties = _difficulties(TaskApi(base_url, manifest.name, headers)) if manifest.capabilities.task_api else {}
    rows = []
    for oracle in oracles:
        if reason := oracle.unmet(play(base_url, replace(oracle, actions=()), headers=headers).reset.observation):
            raise DeclarationError(f"{oracle.name}: {reason}")
        for policy, calls in _lists(oracle, policies, seeds):
            played = play(base_url, calls, headers=headers)
            total = sum(reward or 0.0 for reward in played.rewards)
            rows.append(
                Row(
                    oracle.name,
                    "oracle" if policy.kind is Kind.ORACLE else policy.calls.name,
                    policy.kind,
                    int(calls.reset.get("seed", 0)),
                    played.verdict,
                    total,
                    policy.tier,
                    difficulties.get(oracle.name, ""),
                )
            )
            if on_row is not None:
                on_row(rows[-1])
    return Table(rows)


def _lists(oracle: CallList, policies: Sequence[Policy], seeds: int) -> Iterator[tuple[Policy, CallList]]:
    for policy in [Policy(oracle, Kind.ORACLE), *policies]:
        for shift in range(1 if policy.kind is Kind.ORACLE else seeds):
            reset = {**oracle.reset, "seed": int(oracle.reset.get("seed", 0)) + shift}
            yield policy, replace(policy.calls, reset=reset)


def _difficulties(api: TaskApi) -> dict[str, str]:
    """The difficulty of each task, by its id, as the task API names it."""
    found: dict[str, Any] = {}
    try:
        for split in api.splits():
            for row in api.tasks(split, 0, api.count(split)):
                found[str(row.get("id"))] = str(row.get("difficulty", ""))
    except WireError:
        return {}
    return found
