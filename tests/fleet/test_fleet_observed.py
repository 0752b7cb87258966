"""What an observer sees of a fleet: of every rank what its agent may query, while it is open and out of the journal."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fleet_play import Begin, Run, Server
from fleet_words import drawn, leaks

from ml_trainer_env.server.fleet.draw import draw_setup
from ml_trainer_env.server.fleet.incidents import Incident
from ml_trainer_env.server.fleet.rows import Metric
from ml_trainer_env.server.fleet.traces import traces_of
from ml_trainer_env.server.room.archive import Archive
from ml_trainer_env.server.room.fleet_view import FLEET
from ml_trainer_env.server.room.observed import columns, observed_insight
from ml_trainer_env.server.room.views import Views
from ml_trainer_env.server.trainer.fleet import faults
from ml_trainer_env.server.trainer.fleet.faults import Fault

SECOND = 1_000_000
LATE = next(index for index in range(512) if draw_setup("train", index, 3).telemetry_delay_us)


def archive_of(server: Server) -> Archive:
    return Archive(server.database, (server.registry,), Views((FLEET,)))


def seen(episode: Any) -> dict[str, Any]:
    """The figures and the events of an episode, as the room shows them."""
    units = ((unit.figures, unit.seconds) for unit in episode.units)
    return {**columns(FLEET, units, episode), **observed_insight(FLEET, episode, episode.done)}


def test_the_picture_of_a_rank_is_what_its_agent_may_query(begin: Begin) -> None:
    player = begin(faults.Straggler(3, 0, 3.0), faults.LoaderStall((1, 2), 0, SECOND))
    player("run_steps", num_steps=2)
    player("set_node", node=5, action="drain")  # a rank computes two batches then, and ranks are other nodes

    player("run_steps", num_steps=2)

    shown = seen(player.episode)
    for figure, metric in (
        ("compute_s", Metric.COMPUTE_S),
        ("data_s", Metric.DATA_S),
        ("wait_s", Metric.WAIT_S),
        ("loss_of_rank", Metric.LOSS),
        ("gradient_norm", Metric.GRAD_NORM),
    ):
        asked = player("query_metrics", metric=metric.value, by="rank", reduce="mean", last=1)["values"]
        assert {rank: shown[f"{figure}/{rank}"][-1] for rank in asked} == asked
    assert shown["step_s"][-1] == player("get_training_status")["step_s"]


def test_a_step_in_which_a_rank_stopped_has_no_figures_and_those_after_it_keep_their_place(begin: Begin) -> None:
    player = begin(faults.Crash(2, (3 * SECOND,)))

    player("run_steps", num_steps=6)

    stopped = [unit.figures["stopped"] is not None for unit in player.episode.units]
    shown = seen(player.episode)
    assert any(stopped)
    assert [value is None for value in shown["compute_s/0"]] == stopped
    assert [value is None for value in shown["loss"]] == stopped
    (death,) = (one for one in shown["happenings"] if "SIGKILL" in one["text"])
    assert death["after"] == stopped.index(True) + 1


def test_a_closed_episode_is_shown_as_it_was_while_it_was_open(serve: Callable[..., Server], run: Run) -> None:
    async def both() -> list[Any]:
        found = []
        async with serve() as server:
            archive = archive_of(server)
            opened = await server.open(task_id=drawn(Incident.STICKY_NODE), seed=3, episode_id="e")
            for tool, given in (
                ("run_steps", {"num_steps": 12}),
                ("restart", {"checkpoint": "newest"}),
                ("set_node", {"node": 1, "action": "drain"}),
                ("run_steps", {"num_steps": 6}),
            ):
                await opened.call(tool, given)
            for _ in range(2):
                found.append(await archive.episode("e"))
                opened.close()
        return found

    opened, closed = run(both())

    assert opened["live"] is not None
    assert closed["live"] is None
    for part in ("rows", "happenings", "truth", "calls"):
        assert opened[part] == closed[part]
    assert [value for value in closed["rows"]["compute_s/0"] if value is not None]
    assert closed["truth"] == []


def test_the_truth_is_told_after_the_end_and_no_word_of_it_before(serve: Callable[..., Server], run: Run) -> None:
    async def play() -> tuple[Any, Any]:
        async with serve() as server:
            archive = archive_of(server)
            opened = await server.open(task_id=drawn(Incident.STRAGGLER), seed=3, episode_id="e")
            for steps in (50, 25):
                await opened.call("run_steps", {"num_steps": steps})
            before = await archive.episode("e")
            await opened.call("submit_model", {})
            opened.close()
            return before, await archive.episode("e")

    before, after = run(play())

    assert leaks(json.dumps(before)) == set()
    assert before["truth"] == []
    assert {one["label"] for one in after["truth"]} >= {"straggler"}


@pytest.mark.parametrize(
    "fault",
    [faults.Straggler(1, 99 * SECOND, 3.0), faults.BadShard((1, 2, 3), 90), faults.Crash(5, (99 * SECOND,))],
    ids=["straggler", "bad_shard", "crash"],
)
def test_what_has_not_begun_changes_nothing_that_is_seen(begin: Begin, fault: Fault) -> None:
    pictures = []
    for found in ((fault,), ()):
        player = begin(*found)
        player("run_steps", num_steps=5)
        pictures.append({name: values for name, values in seen(player.episode).items() if name != "seconds"})

    assert pictures[0] == pictures[1]


def test_late_monitoring_is_late_for_observers_with_and_without_a_session(
    serve: Callable[..., Server], run: Run
) -> None:
    async def play() -> tuple[int, Any, Any]:
        async with serve() as server:
            archive = archive_of(server)
            opened = await server.open(task_id=f"fleet/train/{LATE}", seed=3, episode_id="e")
            await opened.call("run_steps", {"num_steps": 50})
            during = await archive.episode("e")
            opened.close()
            return len(opened.episode.units), during, await archive.episode("e")

    taken, during, closed = run(play())

    assert 0 < len(during["rows"]["compute_s/0"]) < taken
    assert during["rows"] == closed["rows"]


def test_an_episode_that_cannot_be_replayed_is_shown_without_times(
    serve: Callable[..., Server], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> Any:
        async with serve() as server:
            opened = await server.open(task_id=drawn(Incident.STRAGGLER), seed=3, episode_id="e")
            await opened.call("run_steps", {"num_steps": 4})
            opened.close()
            monkeypatch.setattr("ml_trainer_env.server.fleet.monitor._SHOWN_NOTICES", 0)
            monkeypatch.setattr("ml_trainer_env.server.fleet.monitor.Monitor.progress", lambda _: "other words")
            return await archive_of(server).episode("e")

    found = run(play())

    assert found["rows"]["compute_s/0"] == [None] * 4
    assert None not in found["rows"]["gradient_norm/0"]
    assert found["happenings"] == []


def test_a_trace_follows_what_its_fault_belongs_to(begin: Begin) -> None:
    player = begin(faults.Straggler(3, 2 * SECOND, 3.0), faults.PoisonedBatch(5, 2, 2, 1e4), faults.Crash(1, (9**12,)))
    player("run_steps", num_steps=4)
    player("restart", checkpoint="step-0")
    player("run_steps", num_steps=1)

    run = player.episode.run
    rank = run.rows[-1].settings.cluster.nodes.index(3)
    found = traces_of(run)
    touched = {(one.kind, one.rank, unit) for one in found for unit in range(one.first, one.last + 1)}
    assert {one for one in touched if one[0] == "straggler"} == {
        ("straggler", 3, 2),
        ("straggler", 3, 3),
        ("straggler", rank, 4),
    }
    assert {kind for kind, *_ in touched} == {"straggler", "poisoned_batch"}
    assert all(unit in {2, 3} for kind, _, unit in touched if kind == "poisoned_batch")
