"""What is measured is the model that goes on, whatever has just been done to it."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from fleet_play import Begin, Player, Run

from ml_trainer_env.server.episodes.units import LiveSource
from ml_trainer_env.server.fleet.draw import DRAWN_COUNTS, draw_setup
from ml_trainer_env.server.fleet.incidents import Incident
from ml_trainer_env.server.fleet.references import ReferenceRuns
from ml_trainer_env.server.fleet.tasks import find_task
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.fleet import faults
from ml_trainer_env.server.trainer.fleet.faults import Fault

SECOND = 1_000_000


def checksums(player: Player) -> list[int]:
    reply = player("inspect", kind="replicas")
    return [reply[f"checksum_{rank}"] for rank in range(len(reply["nodes"]))]


def drifted(begin: Begin) -> Player:
    """An episode in which the replica of node 2 is behind the others."""
    player = begin(faults.DriftingReplica(2, 0, 60 * SECOND, 0.0))
    player("set_training", checkpoint_every=3)
    player("run_steps", num_steps=4)
    assert len(set(checksums(player))) == 2
    return player


def test_replicas_are_equal_as_soon_as_one_was_copied_to_all(begin: Begin) -> None:
    player = drifted(begin)
    ours = checksums(player)[5]

    player("broadcast", from_rank=5)

    assert set(checksums(player)) == {ours}


def test_the_replica_that_was_copied_is_the_one_that_is_left(begin: Begin) -> None:
    player = drifted(begin)
    odd = checksums(player)[2]

    player("broadcast", from_rank=2)

    assert set(checksums(player)) == {odd}


def test_replicas_are_equal_after_a_restart_from_a_checkpoint_that_was_saved_while_they_were_not(begin: Begin) -> None:
    player = drifted(begin)

    player("restart", checkpoint="newest")

    assert len(set(checksums(player))) == 1


def test_who_submits_a_damaged_checkpoint_is_graded_for_what_is_in_it(begin: Begin) -> None:
    whole, damaged = begin(), begin(faults.CorruptCheckpoint(0, 99 * SECOND, 500, 0.6))
    losses = []
    for player in (whole, damaged):
        player("set_training", checkpoint_every=30)
        player("run_steps", num_steps=31)
        player("restart", checkpoint="newest")
        losses.append(player("submit_model")["held_out_loss"])

    assert losses[1] > losses[0]


def test_who_submits_the_odd_replica_is_graded_for_it(begin: Begin) -> None:
    kept, copied = drifted(begin), drifted(begin)
    copied("broadcast", from_rank=2)

    assert kept("submit_model")["held_out_loss"] != copied("submit_model")["held_out_loss"]


@pytest.mark.parametrize(
    "fault",
    [
        faults.StickyNode(2, 0, 8 * SECOND),
        faults.MemoryLeak(2, 8 * SECOND),
        faults.Maintenance(2, 0, 8 * SECOND, 100 * SECOND),
    ],
    ids=lambda fault: fault.kind.value,
)
def test_who_waits_while_a_node_should_die_sees_it_die_at_the_next_step(begin: Begin, fault: Fault) -> None:
    player = begin(fault)
    player("run_steps", num_steps=5)
    assert player("inspect", kind="node", id="5")["clock_s"] > 8

    assert player("run_steps", num_steps=1)["restarts"] == 1


def references(task_id: str, seed: int) -> ReferenceRuns:
    setup = find_task(task_id).setup(seed)
    return ReferenceRuns(seed, setup.scenario, setup.spares, 60.0)


def test_references_are_equal_where_what_is_trained_is_equal() -> None:
    told = references("fleet_straggler", 1)

    assert {told, references("fleet_straggler", 1), replace(told, run_s=5.0)} == {told}
    assert told != references("fleet_straggler", 2)
    assert told != replace(told, spares=told.spares + 1)
    assert told != replace(told, scenario=references("fleet_nothing_wrong", 1).scenario)


@pytest.mark.parametrize("split", DRAWN_COUNTS)
def test_the_clean_reference_has_what_is_harmless_and_nothing_else(split: str) -> None:
    for index in range(DRAWN_COUNTS[split]):
        setup = draw_setup(split, index, 3)
        clean = setup.scenario.without_harm

        assert [fault for fault in setup.scenario.faults if fault.is_harmless] == list(clean.faults)
        assert clean.is_harmless
        assert (clean == setup.scenario) == (setup.incidents == (Incident.NOTHING,))


def test_a_lone_death_loses_the_steps_since_the_last_checkpoint_and_nothing_else(begin: Begin) -> None:
    player = begin(faults.LoneDeath(3, (30 * SECOND,)))
    player("set_training", checkpoint_every=10)
    before = player("run_steps", num_steps=40, stop_on="restart")
    status = player("run_steps", num_steps=30)

    assert (before["restarts"], before["step"]) == (1, 20)
    assert (status["restarts"], status["step"]) == (1, 50)
    assert sorted(status["nodes"]) == list(range(8))


@dataclass(frozen=True)
class Counted:
    """An inquiry that counts how often it is carried out."""

    begun: list[int] = field(compare=False)
    figures: tuple[str, ...] = ("loss",)

    async def carry_out(self, source: Any) -> Figures:
        self.begun.append(1)
        await asyncio.sleep(0)
        return {"loss": 1.0}


@pytest.mark.parametrize(("cache", "expected"), [(True, 1), (False, 3)])
def test_equal_inquiries_of_a_server_are_carried_out_once_unless_its_cache_is_off(
    serve: Any, run: Run, cache: bool, expected: int
) -> None:
    begun: list[int] = []

    async def ask() -> list[Figures]:
        async with serve(cache=cache) as server:
            return list(await asyncio.gather(*(LiveSource.inquire(server.source, Counted(begun)) for _ in range(3))))

    assert run(ask()) == [{"loss": 1.0}] * 3
    assert len(begun) == expected
