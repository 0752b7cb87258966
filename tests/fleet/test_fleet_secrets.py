"""Nothing tells what goes wrong before the end.

Two kinds of tests. Non-interference: as long as nothing has begun, an episode with faults answers every question as one
without them does. And a search: no word of the scenario is in anything that an agent can reach, but for words that are
there in every episode.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest
from fleet_play import Begin, Player, Run
from fleet_words import WORDS, drawn, leaks

from ml_trainer_env.server.episodes.states import Unit
from ml_trainer_env.server.episodes.units import LiveSource
from ml_trainer_env.server.executors.contract import Executor
from ml_trainer_env.server.fleet.draw import DRAWN_COUNTS, TIERS, draw_setup
from ml_trainer_env.server.fleet.incidents import Incident
from ml_trainer_env.server.fleet.references import ReferenceRuns
from ml_trainer_env.server.fleet.rows import By, Metric
from ml_trainer_env.server.fleet.run import FleetRun
from ml_trainer_env.server.fleet.tasks import task_at
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.fleet import faults
from ml_trainer_env.server.trainer.fleet.faults import Fault, FaultKind, Scenario

SECOND = 1_000_000
LATER = 200 * SECOND
FAR = 250

NOT_YET: dict[str, Fault] = {
    "straggler": faults.Straggler(1, LATER, 3.0),
    "slow_link": faults.SlowLink(2, LATER, SECOND),
    "slow_storage": faults.SlowStorage(LATER, SECOND, 5),
    "loader_stall": faults.LoaderStall((1, 2), LATER, SECOND),
    "silent_corruption": faults.SilentCorruption(3, LATER, 300, 27),
    "drifting_replica": faults.DriftingReplica(4, LATER, LATER + SECOND, -0.5),
    "crash": faults.Crash(5, (LATER,)),
    "sticky_node": faults.StickyNode(6, LATER, SECOND),
    "hang": faults.Hang(7, (LATER,)),
    "maintenance": faults.Maintenance(0, LATER, LATER + SECOND, LATER + 9 * SECOND),
    "lone_death": faults.LoneDeath(1, (LATER,)),
    "harmless_alert": faults.HarmlessAlert(LATER, "node 3: fans at 90 %"),
    "corrupt_checkpoint": faults.CorruptCheckpoint(LATER, LATER + SECOND, 500, 0.6),
    "bad_shard": faults.BadShard((1, 2, 3), FAR),
    "poisoned_batch": faults.PoisonedBatch(3, FAR, 4, 1e4),
    "nonfinite_batch": faults.NonfiniteBatch(4, FAR),
    "benign_spike": faults.BenignSpike(5, FAR),
}
"""Of each kind that begins at a moment or at a position in the data, one that begins after the end."""

TELLS_AT_ONCE = {
    FaultKind.HALF_PRECISION,  # steps are skipped
    FaultKind.MEMORY_LEAK,  # memory grows
    FaultKind.SHARED_SAMPLER,  # a setting
    FaultKind.HIGH_RATE,  # a setting
    FaultKind.RARE_CHECKPOINTS,  # a setting
    FaultKind.MISSING_OPTIMIZER,  # tells when a checkpoint is inspected
    FaultKind.LOST_SCHEDULE,  # tells when a checkpoint is inspected
    FaultKind.LOST_CURSOR,  # tells at a restart
}

ANSWERS = [
    ("run_steps", {"num_steps": 9}),
    ("get_training_status", {}),
    ("list_checkpoints", {}),
    *(("query_metrics", {"metric": metric.value, "by": by.value}) for metric in Metric for by in By),
    *(("read_log", {"rank": rank, "tail": 20}) for rank in range(8)),
    *(("inspect", {"kind": "node", "id": str(node)}) for node in (0, 4, 9)),
    *(("inspect", {"kind": "shard", "id": str(shard)}) for shard in (1, 5)),
    ("inspect", {"kind": "checkpoint", "id": "newest"}),
    ("inspect", {"kind": "replicas"}),
    ("report_incident", {"kind": "straggler", "target": "1"}),
    ("set_training", {"checkpoint_every": 4}),
    ("restart", {"checkpoint": "nowhere"}),
    ("set_node", {"node": 3, "action": "drain"}),
    ("set_node", {"node": 2, "action": "replace"}),
    ("set_shard", {"shard": 2, "action": "mirror"}),
    ("broadcast", {"from_rank": 1}),
    ("run_steps", {"num_steps": 5}),
    ("get_training_status", {}),
]


def transcript(player: Player) -> list[Any]:
    """All that an agent hears, refusals among it."""
    heard: list[Any] = [player.observed()]
    for tool, arguments in ANSWERS:
        try:
            heard.append(player(tool, **arguments))
        except Exception as refusal:  # whatever an agent would hear
            heard.append(f"{type(refusal).__name__}: {refusal}")
        heard.append(player.observed())
    return heard


@pytest.fixture(scope="module")
def clean() -> list[Any]:
    """What is heard of an episode without faults, once it was played."""
    return []


@pytest.mark.parametrize("kind", NOT_YET)
def test_what_has_not_begun_changes_nothing_that_an_agent_hears(begin: Begin, clean: list[Any], kind: str) -> None:
    if not clean:
        clean += transcript(begin())

    assert transcript(begin(NOT_YET[kind])) == clean


def test_of_every_kind_it_is_known_whether_it_tells_at_once() -> None:
    assert set(NOT_YET) | set(TELLS_AT_ONCE) == set(FaultKind)


def test_monitoring_that_is_late_is_late_everywhere(begin: Begin) -> None:
    """With late telemetry nothing but logs, deaths and the launcher's events tells of the last seconds."""
    heard = []
    for fault in (faults.BadShard((1, 3, 5, 7), 6), faults.BadShard((1, 3, 5, 7), FAR)):
        player = begin(fault, delay_us=40 * SECOND)
        player("set_training", checkpoint_every=5)
        answers = [player("run_steps", num_steps=16), player("get_training_status"), player("list_checkpoints")]
        answers += [player("query_metrics", metric=metric.value, by="shard", reduce="max") for metric in Metric]
        heard.append([*answers, player("set_training", clip_norm=0.0), player.observed()])

    without_hash = [json.dumps(one).replace(json.dumps(one[-1][1]["state_hash"]), "") for one in heard]
    assert without_hash[0] == without_hash[1]


def test_late_monitoring_does_come(begin: Begin) -> None:
    player = begin(delay_us=9 * SECOND)

    assert player("run_steps", num_steps=5)["loss"] is None
    late = player("run_steps", num_steps=10)

    assert late["loss"] is not None
    assert late["reward"] > 0
    assert player("query_metrics", metric="loss")["steps"][1] == 14 - 8


def first_losses(begin: Begin, task: str, seed: int) -> list[list[float]]:
    return list(begin(task, seed=seed)("run_steps", num_steps=8)["losses"])


def test_no_drawn_task_shows_the_clean_run_of_another(begin: Begin) -> None:
    """Else the first loss that differs would tell when something begins."""
    ids = ["fleet/validation/0", "fleet/validation/10", "fleet/test/0"]

    losses = [first_losses(begin, task, seed=5) for task in ids]

    assert all(losses.count(one) == 1 for one in losses)
    assert losses == [first_losses(begin, task, seed=5) for task in ids]


def test_the_runs_of_all_tasks_have_seeds_of_their_own() -> None:
    tasks = [task_at(split, index) for split, count in DRAWN_COUNTS.items() for index in range(count)]

    seeds = [task.run_seed(seed) for task in tasks for seed in {task.seed, tasks[0].seed, 0, 2**63 - 1}]

    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert [task.run_seed(task.seed) for task in tasks] == [task.seed for task in tasks]


def test_the_named_tasks_of_a_seed_have_one_clean_run(begin: Begin) -> None:
    """Their names tell, and what an incident does is seen best beside the run without it."""
    assert first_losses(begin, "fleet_straggler", seed=5) == first_losses(begin, "fleet_nothing_wrong", seed=5)


# Words.


def test_what_is_told_of_drawn_tasks_is_the_same_for_all_of_a_tier() -> None:
    told = {
        (task.difficulty, task.group, task.description, task.name.replace(str(index), ""))
        for index in range(512)
        for task in [task_at("train", index)]
    }

    assert len(told) == len(TIERS)


SEARCHED = [
    Incident.CRASHES,
    Incident.HANG,
    Incident.MAINTENANCE,
    Incident.NOTHING,
    Incident.NONFINITE,
    Incident.CORRUPT_CHECKPOINT,
]
ANNOUNCED = {Incident.MAINTENANCE: {"maintenance"}}
"""What monitoring announces."""


@pytest.mark.parametrize(
    "incident", [SEARCHED[0], *(pytest.param(one, marks=pytest.mark.slow) for one in SEARCHED[1:])]
)
def test_no_word_of_the_scenario_is_heard_before_the_last_reply_which_tells_it(
    begin: Begin, incident: Incident
) -> None:
    player = begin(drawn(incident))
    heard = [json.dumps(player.observed())]
    while (reply := player("run_steps", num_steps=50, stop_on="restart"))["left_s"] > 170:
        heard += [json.dumps(reply), json.dumps(player.observed())]
        heard += [json.dumps(player("read_log", rank=rank, tail=20)) for rank in (1, 5)]
        for arguments in ({"kind": "node", "id": "2"}, {"kind": "replicas"}, {"kind": "checkpoint", "id": "newest"}):
            heard.append(json.dumps(player("inspect", **arguments)))
    last = player("submit_model")

    assert {word for text in heard for word in leaks(text)} <= ANNOUNCED.get(incident, set())
    assert last["incidents"] == [incident.value]
    assert [fault["kind"] for fault in last["faults"]] == [fault.kind.value for fault in faults_of(player)]
    assert leaks(json.dumps(last))


def faults_of(player: Player) -> tuple[Fault, ...]:
    return player.episode.run.scenario.faults


def test_the_search_for_words_finds_some() -> None:
    assert leaks('{"fault": "bad_shard"}') == {"bad_shard"}
    assert leaks("wait_us=3, BadShard(") == {"wait_us", "BadShard"}
    assert leaks("nothing_wrong") == {"nothing_wrong"}
    assert len(WORDS) > 50


@dataclass(frozen=True)
class AFewSteps:
    """An inquiry."""

    figures: tuple[str, ...] = ("steps",)

    async def carry_out(self, source: Any) -> Figures:
        fleet = FleetRun(4, Scenario(), 2, source, 60.0)
        await fleet.train(3)
        return {"steps": fleet.step}


def test_metrics_of_the_server_do_not_count_the_steps_of_references(serve: Any, run: Run) -> None:
    """Their number is that of the steps of an episode in which nobody acts. It would tell how bad things are."""

    async def play() -> tuple[Figures, list[str]]:
        async with serve(cache=True) as server:
            opened = await server.open(task_id=drawn(Incident.STRAGGLER), seed=3)
            await opened.call("run_steps", {"num_steps": 2})
            found = await LiveSource.inquire(server.source, AFewSteps())
            return found, [line for line in server.telemetry.exposition().decode().splitlines() if "epoch" in line]

    found, lines = run(play())

    assert found == {"steps": 3}
    assert 'ml_trainer_epochs_total{source="trained",split="fleet"} 2.0' in lines
    assert [line for line in lines if "_count" in line] == ['ml_trainer_epoch_seconds_count{split="fleet"} 2.0']


class Asked(LiveSource):
    """Notes the scenario of each unit that is asked for."""

    def __init__(self, executor: Executor) -> None:
        super().__init__(executor)
        self.scenarios: list[Scenario] = []

    async def units(self, *given: Any, **options: Any) -> AsyncGenerator[Unit, None]:
        async with aclosing(super().units(*given, **options)) as units:
            async for unit in units:
                self.scenarios.append(given[1].settings.scenario)
                yield unit


@pytest.mark.slow
def test_the_work_of_the_references_does_not_tell_whether_anything_is_wrong(executor: Executor, run: Run) -> None:
    """Calls wait for it, and are answered at once where it has taken their steps."""
    slow, deadly = faults.Straggler(1, 0, 3.0), faults.Crash(5, tuple(range(20 * SECOND, LATER, 20 * SECOND)))
    alert = faults.HarmlessAlert(LATER, "node 3: fans at 90 %")
    asked = []
    for scenario in (Scenario(), Scenario((slow,)), Scenario((deadly,)), Scenario((alert,))):
        source = Asked(executor)
        run(ReferenceRuns(3, scenario, 2, 60.0).carry_out(source))
        asked.append(source.scenarios)
        assert source.scenarios[0] == scenario

    assert len({len(scenarios) for scenarios in asked}) == 1
    assert sum(bool(scenario.faults) for scenario in asked[1]) < len(asked[1]) // 2


@pytest.mark.parametrize("tier", range(1, len(TIERS)))
def test_what_is_harmless_does_not_tell_whether_anything_is_wrong(tier: int) -> None:
    setups = [draw_setup("train", index, 3) for index in range(tier - 1, 512, len(TIERS))]
    quiet_and_kind = {
        (setup.incidents == (Incident.NOTHING,), fault.kind)
        for setup in setups
        for fault in setup.scenario.faults
        if fault.is_harmless
    }

    kinds = (FaultKind.HARMLESS_ALERT, FaultKind.BENIGN_SPIKE, FaultKind.LONE_DEATH)
    assert quiet_and_kind == {(is_quiet, kind) for is_quiet in (True, False) for kind in kinds}


def test_an_observer_sees_as_many_steps_as_the_agent_may_ask_for(begin: Begin) -> None:
    player = begin(delay_us=20 * SECOND)
    player("run_steps", num_steps=40)

    asked = player("query_metrics", metric="loss", last=200)["steps"]
    shown = player.episode.monitor.shown_units
    assert 0 < shown < len(player.episode.units)
    assert asked == [0, shown - 1]
