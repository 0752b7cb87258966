"""What a restart takes from the checkpoint, and what it keeps of what was asked for."""

import pytest
from fleet_play import Begin, Player

from ml_trainer_env.server.trainer.fleet import faults
from ml_trainer_env.server.trainer.fleet.faults import Fault

SECOND = 1_000_000
SET = 60
"""The position in the schedule that these tests set. It is not the number of a step."""


def after_three_steps(begin: Begin, fault: Fault) -> Player:
    """An episode at about 3.4 s. Its fourth step ends at about 4.6 s."""
    player = begin(fault)
    player("run_steps", num_steps=3)
    return player


def position(player: Player) -> int:
    """The position in the schedule at which the last step was taken."""
    return int(player.episode.run.rows[-1].number("schedule")) - 1


@pytest.mark.parametrize("stop", [faults.Crash, faults.Hang])
def test_a_position_that_was_set_holds_for_the_next_step_whichever_job_takes_it(begin: Begin, stop: type) -> None:
    player = after_three_steps(begin, stop(1, (4 * SECOND,)))
    player("set_training", schedule_position=SET)

    stopped = player("run_steps", num_steps=1)
    again = player("run_steps", num_steps=1)

    assert stopped["restarts"] + stopped["is_stalled"] == 1
    assert (again["restarts"], again["step"], position(player)) == (1, 1, SET)


def test_a_position_that_a_step_has_used_belongs_to_the_state_and_is_lost_with_it(begin: Begin) -> None:
    player = after_three_steps(begin, faults.Crash(1, (int(5.2 * SECOND),)))
    player("set_training", schedule_position=SET)

    player("run_steps", num_steps=1)
    used = position(player)
    again = player("run_steps", num_steps=2)

    assert used == SET
    assert (again["restarts"], again["step"], position(player)) == (1, 1, 0)


def test_who_restarts_the_job_gets_the_position_of_the_checkpoint_unless_another_is_named(begin: Begin) -> None:
    found = []
    for named in ({}, {"schedule_position": 30}):
        player = begin()
        player("set_training", schedule_position=SET)
        player("restart", checkpoint="step-0", **named)
        player("run_steps", num_steps=1)
        found.append(position(player))

    assert found == [0, 30]


@pytest.mark.parametrize("fresh", [True, False])
def test_a_job_that_dies_before_its_first_step_is_launched_again_as_it_was_asked_for(begin: Begin, fresh: bool) -> None:
    player = begin(faults.Crash(1, (27 * SECOND,)))
    player("set_training", checkpoint_every=2)
    player("run_steps", num_steps=3)
    player("restart", checkpoint="step-2", schedule_position=SET, fresh_optimizer=fresh)
    player("inspect", kind="shard", id="0")  # the moment of its death passes

    player("run_steps", num_steps=1)
    again = player("run_steps", num_steps=1)

    assert (again["restarts"], again["step"], position(player)) == (2, 3, SET)
    state = player.episode.run.ref.state
    assert state is not None
    assert int(state.facts["updates"]) == (1 if fresh else 3)
