"""Fleet episodes are kept: what is resumed, forked or replayed is what it was."""

import asyncio
import gc
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from fleet_play import SEED, Run, plain
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_trainer_env.server.episodes.errors import EpisodeError, ResetError
from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.episodes.units import LiveSource
from ml_trainer_env.server.executors.contract import Executor
from ml_trainer_env.server.fleet.draw import draw_setup
from ml_trainer_env.server.fleet.incidents import Incident
from ml_trainer_env.server.fleet.run import FleetRun
from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.fleet.faults import Scenario

Call = tuple[str, dict[str, Any]]
Serve = Callable[..., Any]

HANG = next(
    f"fleet/train/{index}" for index in range(512) if draw_setup("train", index, 3).incidents == (Incident.HANG,)
)
"""A task in which a rank hangs."""
STICKY = "fleet_sticky_node"

calls = st.one_of(
    st.tuples(
        st.just("run_steps"),
        st.fixed_dictionaries(
            {"num_steps": st.sampled_from([0, 1, 3, 20])}, optional={"stop_on": st.sampled_from(["restart", "spike"])}
        ),
    ),
    st.tuples(
        st.just("restart"),
        st.fixed_dictionaries(
            {"checkpoint": st.sampled_from(["newest", "step-0", "step-4", "nowhere"])},
            optional={"skip_from": st.integers(0, 5), "skip_to": st.integers(4, 9), "fresh_optimizer": st.booleans()},
        ),
    ),
    st.tuples(
        st.just("inspect"),
        st.sampled_from(
            [
                {"kind": "node", "id": "1"},
                {"kind": "shard", "id": "4"},
                {"kind": "checkpoint", "id": "newest"},
                {"kind": "replicas"},
            ]
        ),
    ),
    st.tuples(
        st.just("set_node"),
        st.fixed_dictionaries({"node": st.integers(0, 9), "action": st.sampled_from(["replace", "drain", "restore"])}),
    ),
    st.sampled_from(
        [
            ("set_training", {"checkpoint_every": 4}),
            ("set_training", {"learning_rate": 0.01, "loss_scale": 1024.0}),
            ("set_shard", {"shard": 3, "action": "quarantine"}),
            ("broadcast", {"from_rank": 2}),
            ("report_incident", {"kind": "hang", "target": "3"}),
            ("get_training_status", {}),
            ("query_metrics", {"metric": "loss"}),
        ]
    ),
)
episodes = st.lists(calls, min_size=2, max_size=8)
law = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def play(opened: OpenEpisode, made: Sequence[Call]) -> list[object]:
    """The answers to some calls: a reply, or the words of a refusal."""
    answers: list[object] = []
    for tool, arguments in made:
        try:
            answers.append(plain(await opened.call(tool, arguments)))
        except (EpisodeError, ConfigError) as refusal:
            answers.append(str(refusal))
    return answers


@law
@given(task=st.sampled_from([HANG, STICKY, "fleet_half_precision"]), before=episodes, after=episodes)
def test_an_episode_goes_on_after_a_restart_of_the_server_as_if_there_had_been_none(
    serve: Serve, run: Run, tmp_path_factory: pytest.TempPathFactory, task: str, before: list[Call], after: list[Call]
) -> None:
    folder = str(tmp_path_factory.mktemp("law"))
    ends: list[Call] = [*after, ("submit_model", {})]

    async def straight() -> list[object]:
        async with serve(f"{folder}/straight") as server:
            return await play(await server.open(task_id=task, seed=3, episode_id="e"), [*before, *ends])

    async def broken() -> list[object]:
        async with serve(f"{folder}/broken") as server:
            answers = await play(await server.open(task_id=task, seed=3, episode_id="e"), before)
        async with serve(f"{folder}/broken") as server:
            return answers + await play(await server.open(episode_id="e", resume=True), ends)

    assert run(broken()) == run(straight())


@law
@given(task=st.sampled_from([HANG, STICKY]), before=episodes, after=episodes)
def test_a_fork_that_does_as_its_parent_does_is_its_parent(
    serve: Serve, run: Run, tmp_path_factory: pytest.TempPathFactory, task: str, before: list[Call], after: list[Call]
) -> None:
    async def both() -> tuple[list[object], list[object]]:
        async with serve(str(tmp_path_factory.mktemp("law"))) as server:
            parent = await server.open(task_id=task, seed=3, episode_id="parent")
            await play(parent, before)
            fork = await server.open(fork_from="parent")
            return await play(parent, after), await play(fork, after)

    parent, fork = run(both())

    assert fork == parent


@pytest.mark.parametrize(
    "task", [*(pytest.param(task, marks=pytest.mark.slow) for task in (HANG, STICKY)), "fleet_crashes"]
)
@pytest.mark.parametrize("past", [pytest.param(-3, marks=pytest.mark.slow), 0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_fork_at_a_number_of_steps_stands_where_its_parent_stood_around_a_death_too(
    serve: Serve, run: Run, task: str, past: int
) -> None:
    """A step in which a rank dies or hangs counts as one."""

    async def fork() -> tuple[list[object], list[object], list[object], list[object]]:
        async with serve() as server:
            parent = await server.open(task_id=task, seed=3, episode_id="parent")
            while not any(unit.figures["stopped"] is not None for unit in parent.episode.units):
                await parent.call("run_steps", {"num_steps": 20})
            await parent.call("run_steps", {"num_steps": 5})
            units = parent.episode.units
            place = 1 + past + next(at for at, unit in enumerate(units) if unit.figures["stopped"] is not None)
            forked = await server.open(fork_from=f"parent@{place}")
            ours, theirs = _digests(forked), _digests(parent)[:place]
            assert len(ours) == place
            while len(forked.episode.units) < len(units):
                await forked.call("run_steps", {"num_steps": 1})
            return ours, theirs, _digests(forked), _digests(parent)

    ours, theirs, later, parent = run(fork())

    assert ours == theirs
    assert later == parent


def _digests(opened: OpenEpisode) -> list[object]:
    return [(unit.ref.digest, repr(unit.figures)) for unit in opened.episode.units]


def test_a_place_that_an_episode_has_not_reached_is_no_place_for_a_fork(serve: Serve, run: Run) -> None:
    async def fork() -> None:
        async with serve() as server:
            parent = await server.open(task_id=STICKY, episode_id="parent")
            await parent.call("run_steps", {"num_steps": 3})
            with pytest.raises(ResetError, match="has run 3 steps, not 4"):
                await server.open(fork_from="parent@4")
            with pytest.raises(ResetError, match="no checkpoint 'step-0'"):
                await server.open(fork_from="parent@step-0")

    run(fork())


@pytest.mark.parametrize("after", [1, 7])
def test_an_interruption_keeps_the_steps_that_were_taken_and_the_rest_comes_out_the_same(
    serve: Serve, run: Run, after: int
) -> None:
    async def play_both() -> tuple[list[object], list[object], str, int, list[object]]:
        async with serve("whole") as server:
            whole = await server.open(task_id=STICKY, seed=3)
            await whole.call("run_steps", {"num_steps": 30})
        async with serve("broken") as server:
            broken = await server.open(task_id=STICKY, seed=3, episode_id="e")

            def stop(progress: Any) -> None:
                if progress.done >= after:
                    broken.interrupt("a test wants it")

            with pytest.raises(EpisodeError) as refusal:
                await broken.call("run_steps", {"num_steps": 30}, stop)
            taken = len(broken.episode.units)
            broken.close()
        async with serve("broken") as server:
            resumed = await server.open(episode_id="e", resume=True)
            assert resumed.last_call is not None
            assert resumed.last_call.error == str(refusal.value)
            await resumed.call("run_steps", {"num_steps": 30 - taken})
            return _digests(whole), _digests(resumed), str(refusal.value), taken, resumed.episode.run.events

    whole, broken, words, taken, _ = run(play_both())

    assert broken == whole
    assert after <= taken < 30
    assert f"{taken} of 30 steps were taken and count" in words
    assert "a test wants it" in words


def test_an_episode_that_was_looked_at_while_it_trained_can_be_resumed(serve: Serve, run: Run) -> None:
    async def look_and_resume() -> tuple[list[object], list[object]]:
        async with serve() as server:
            opened = await server.open(task_id=STICKY, seed=3, episode_id="e")
            looks: list[asyncio.Task[Any]] = []

            def look(progress: Any) -> None:
                if progress.done == 5:
                    looks.append(asyncio.ensure_future(opened.call("get_training_status", {})))

            await opened.call("run_steps", {"num_steps": 12}, look)
            assert 5 <= (await looks[0])["step"] < 12
            more = await play(opened, [("run_steps", {"num_steps": 2})])
            forked = await server.open(fork_from="e@12")
            resumed = await server.open(episode_id="e", resume=True)
            assert _digests(resumed) == _digests(opened)
            return more, await play(forked, [("run_steps", {"num_steps": 2})])

    more, again = run(look_and_resume())

    assert again == more


def test_an_end_that_cannot_be_measured_is_asked_for_again_and_costs_nothing(serve: Serve, run: Run) -> None:
    async def end() -> tuple[str, dict[str, Any], dict[str, Any]]:
        async with serve() as server:
            server.source.failures = 1
            opened = await server.open(task_id=STICKY, seed=3, episode_id="e")
            await opened.call("run_steps", {"num_steps": 3})
            before = await opened.call("get_training_status", {})
            with pytest.raises(EpisodeError) as refusal:
                await opened.call("submit_model", {})
            resumed = await server.open(episode_id="e", resume=True)
            after = await resumed.call("get_training_status", {})
            assert (await resumed.call("submit_model", {}))["done"]
            return str(refusal.value), before, after

    words, before, after = run(end())

    assert "call submit_model again" in words
    assert after == before


@pytest.mark.parametrize("ends", ["close", "retire"])
def test_references_of_an_episode_that_nobody_plays_are_not_trained_to_their_end(
    serve: Serve, run: Run, ends: str
) -> None:
    """They are two whole runs. A client that begins one episode after another would fill the server with them."""

    async def leave() -> int:
        async with serve(references=True, cache=True) as server:
            opened = await server.open(task_id=STICKY, seed=3, episode_id="e")
            await opened.call("run_steps", {"num_steps": 1})
            if ends == "close":
                opened.close()
            else:
                await opened.retire("a test wants it")
            await asyncio.sleep(0.01)
            while server.executor.busy or server.executor.waiting:
                await asyncio.sleep(0.01)
            return len(server.source._recent)

    assert run(leave()) < 60


class NothingKnown:
    """The figures of units, of which there are none yet."""

    async def find(self, keys: Sequence[str], figures: Sequence[str]) -> dict[str, Any]:
        return {}


def test_the_states_of_steps_do_not_wait_for_the_garbage_collector(executor: Executor, run: Run) -> None:
    """It runs seldom on a server, and a state of the fleet is 0.4 MB."""
    fleet = FleetRun(SEED, Scenario(), 2, LiveSource(executor, units=NothingKnown()), 600.0)
    counts = []
    gc.disable()
    try:
        for _ in range(3):
            run(fleet.train(25))
            counts.append(sum(type(one) is State for one in gc.get_objects()))
    finally:
        gc.enable()

    assert len(fleet.checkpoints) == 4
    assert counts[2] - counts[0] <= 2  # two more checkpoints
