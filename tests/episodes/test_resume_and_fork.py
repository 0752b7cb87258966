"""Laws of episodes that are kept: what is brought back or forked is what it was."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ml_trainer_env.server.episodes.errors import EpisodeError, ResetError
from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.trainer.errors import ConfigError

Call = tuple[str, dict[str, Any]]
Serve = Callable[..., Any]

names = st.sampled_from(["a", "b"])
tasks = st.sampled_from(["hard_cifar", "permuted_mnist"])
"""One that counts epochs, and one that counts seconds too."""
calls = st.one_of(
    st.tuples(st.just("run_epochs"), st.fixed_dictionaries({"num_epochs": st.sampled_from([0, 1, 2, 5, 20])})),
    st.tuples(
        st.just("configure_training"),
        st.fixed_dictionaries(
            {},
            optional={
                "optimizer": st.sampled_from(["sgd", "adam", "lion"]),
                "learning_rate": st.sampled_from([0.001, 0.1, 7.0]),
                "lr_schedule": st.sampled_from(["cosine", "step", "constant"]),
                "dropout": st.sampled_from([0.0, 0.3]),
                "reinitialize": st.booleans(),
            },
        ),
    ),
    st.tuples(st.just("adjust_learning_rate"), st.fixed_dictionaries({"new_lr": st.sampled_from([0.01, 8.0, -1.0])})),
    st.tuples(st.just("toggle_augmentation"), st.fixed_dictionaries({"enabled": st.booleans()})),
    st.tuples(st.sampled_from(["save_checkpoint", "restore_checkpoint"]), st.fixed_dictionaries({"name": names})),
    st.tuples(st.sampled_from(["get_training_status", "list_checkpoints"]), st.just({})),
)
episodes = st.lists(calls, max_size=14)
few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def play(opened: OpenEpisode, calls: Sequence[Call]) -> list[object]:
    """The answers to some calls: a reply, or the words of a refusal."""
    answers: list[object] = []
    for tool, arguments in calls:
        try:
            answers.append(await opened.call(tool, arguments))
        except (EpisodeError, ConfigError) as refusal:
            answers.append(str(refusal))
    return answers


def whole(answers: Sequence[object]) -> list[object]:
    """Answers without what the cache may change."""

    def plain(answer: object) -> object:
        if not isinstance(answer, dict):
            return answer
        rows = [{key: row[key] for key in row if key != "from_cache"} for row in answer.get("epochs", [])]
        return {key: value for key, value in answer.items() if key not in {"from_cache", "epochs"}} | {"rows": rows}

    return [plain(answer) for answer in answers]


@few
@given(task=tasks, before=episodes, after=episodes)
def test_an_episode_goes_on_after_a_restart_as_if_there_had_been_none(
    serve: Serve, tmp_path_factory: pytest.TempPathFactory, task: str, before: list[Call], after: list[Call]
) -> None:
    folder = str(tmp_path_factory.mktemp("law"))

    async def straight() -> list[object]:
        async with serve(f"{folder}/straight") as server:
            opened = await server.open(task_id=task, episode_id="e")
            return await play(opened, [*before, *after])

    async def broken() -> list[object]:
        async with serve(f"{folder}/broken") as server:
            answers = await play(await server.open(task_id=task, episode_id="e"), before)
        async with serve(f"{folder}/broken") as server:
            opened = await server.open(episode_id="e", resume=True)
            assert opened.step_count == len(before)
            return answers + await play(opened, after)

    assert whole(asyncio.run(broken())) == whole(asyncio.run(straight()))


@few
@given(task=tasks, before=episodes, after=episodes)
def test_a_fork_that_does_as_its_parent_does_is_its_parent(
    serve: Serve, tmp_path_factory: pytest.TempPathFactory, task: str, before: list[Call], after: list[Call]
) -> None:
    folder = str(tmp_path_factory.mktemp("law"))

    async def both() -> tuple[list[object], list[object]]:
        async with serve(folder, cache=False) as server:
            parent = await server.open(task_id=task, episode_id="parent")
            await play(parent, before)
            assume(not parent.episode.done)  # a fork of an episode that is over begins before its end
            fork = await server.open(fork_from="parent")
            return await play(parent, after), await play(fork, after)

    parent, fork = asyncio.run(both())

    assert whole(fork) == whole(parent)


@few
@given(task=tasks, calls=episodes)
def test_the_cache_changes_no_answer_and_trains_nothing_twice(
    serve: Serve, tmp_path_factory: pytest.TempPathFactory, task: str, calls: list[Call]
) -> None:
    folder = str(tmp_path_factory.mktemp("law"))

    async def twice() -> tuple[list[object], list[object], int, int]:
        async with serve(folder) as server:
            first = await play(await server.open(task_id=task, episode_id="first"), calls)
            trained = server.executor.trained
        async with serve(folder) as server:
            server.executor.slowness = 10.0
            second = await play(await server.open(task_id=task, episode_id="second"), calls)
            return first, second, trained, server.executor.trained

    first, second, trained, trained_again = asyncio.run(twice())

    assert whole(second) == whole(first)
    assert trained_again == 0
    assert trained <= 100
    for answer in second:
        if isinstance(answer, dict) and answer.get("epochs"):
            assert answer["from_cache"]
            assert all(row["from_cache"] for row in answer["epochs"])


@few
@given(task=tasks, calls=episodes, place=st.integers(0, 12))
def test_a_fork_at_an_epoch_has_spent_as_many_and_stands_where_its_parent_stood(
    serve: Serve, tmp_path_factory: pytest.TempPathFactory, task: str, calls: list[Call], place: int
) -> None:
    folder = str(tmp_path_factory.mktemp("law"))

    async def fork() -> tuple[int, list[Any], list[Any]]:
        async with serve(folder) as server:
            parent = await server.open(task_id=task, episode_id="parent")
            await play(parent, calls)
            records = parent.episode.history.records
            if place > len(records):
                with pytest.raises(ResetError, match=f"has run {len(records)} epochs, not {place}"):
                    await server.open(fork_from=f"parent@{place}")
                return place, [], []
            forked = await server.open(fork_from=f"parent@{place}")
            return (
                forked.episode.history.epochs,
                [r.trained.ref.digest for r in forked.episode.history.records],
                [r.trained.ref.digest for r in records[:place]],
            )

    epochs, ours, theirs = asyncio.run(fork())

    assert epochs == place
    assert ours == theirs


def test_a_fork_at_a_checkpoint_begins_where_it_was_saved(serve: Serve) -> None:
    async def fork() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        async with serve() as server:
            parent = await server.open(episode_id="parent")
            await parent.call("run_epochs", {"num_epochs": 3})
            saved = await parent.call("save_checkpoint", {"name": "good"})
            await parent.call("configure_training", {"learning_rate": 0.5})
            await parent.call("run_epochs", {"num_epochs": 4})
            forked = await server.open(fork_from="parent@good")
            begun = await forked.call("get_training_status", {})
            kept = await forked.call("list_checkpoints", {})
            return saved, begun, kept

    saved, begun, kept = asyncio.run(fork())

    assert begun["current_epoch"] == 3
    assert begun["remaining_budget"] == 97
    assert begun["weights_hash"] == saved["weights_hash"]
    assert begun["configuration"] == saved["configuration"]
    assert kept["checkpoints"] == saved["checkpoints"]


def test_a_fork_is_not_paid_for_what_its_parent_was_paid_for(serve: Serve) -> None:
    async def fork() -> tuple[float, dict[str, float]]:
        async with serve() as server:
            parent = await server.open(episode_id="parent", rubric="v2")
            paid = await parent.call("run_epochs", {"num_epochs": 3})
            forked = await server.open(fork_from="parent")
            return paid["reward"], (await forked.call("submit_model", {}))["reward_parts"]

    paid, parts = asyncio.run(fork())

    assert paid > 0
    assert {name: value for name, value in parts.items() if value} == {"submission": parts["submission"]}


def test_a_fork_of_an_episode_that_is_over_begins_just_before_its_end(serve: Serve) -> None:
    async def fork() -> tuple[bool, int]:
        async with serve() as server:
            parent = await server.open(episode_id="parent")
            await parent.call("run_epochs", {"num_epochs": 3})
            await parent.call("submit_model", {})
            await play(parent, [("run_epochs", {"num_epochs": 1})])
            forked = await server.open(fork_from="parent")
            return forked.episode.done, (await forked.call("run_epochs", {"num_epochs": 1}))["current_epoch"]

    assert asyncio.run(fork()) == (False, 4)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"episode_id": "nobody", "resume": True}, "there is no episode 'nobody'"),
        ({"resume": True}, "resume needs the episode_id"),
        ({"resume": "yes"}, "resume must be true or false"),
        ({"fork_from": "nobody"}, "there is no episode 'nobody'"),
        ({"fork_from": "parent@elsewhere"}, "no checkpoint 'elsewhere'"),
        ({"fork_from": "parent@4"}, "has run 3 epochs, not 4"),
        ({"fork_from": 7}, "fork_from must be"),
        ({"fork_from": "parent", "task_id": "hard_cifar"}, "task_id of episode 'parent' is easy_mnist"),
        ({"fork_from": "parent", "seed": 1}, "seed of episode 'parent' is 42"),
        ({"episode_id": "parent", "resume": True, "rubric": "v2"}, "rubric of episode 'parent' is v1"),
        ({"episode_id": "parent"}, "there is an episode 'parent' with 3 epochs"),
        ({"fork_from": "parent", "episode_id": "parent"}, "there is an episode 'parent' with 3 epochs"),
        ({"episode_id": "a@b"}, "episode_id must be"),
        ({"episode_id": "\ud800"}, "episode_id must be"),
        ({"episode_id": ""}, "episode_id must be"),
        ({"episode_id": 5}, "episode_id must be"),
    ],
)
def test_a_request_for_something_there_is_not_is_refused_and_changes_nothing(
    serve: Serve, request_: dict[str, Any], words: str
) -> None:
    async def ask() -> tuple[dict[str, Any], int]:
        async with serve() as server:
            parent = await server.open(episode_id="parent")
            await parent.call("run_epochs", {"num_epochs": 3})
            with pytest.raises(ResetError, match=words):
                await server.open(**request_)
            episodes = await server.journal.episodes()
            back = await server.open(episode_id="parent", resume=True)
            return await back.call("list_checkpoints", {}), len(episodes)

    reply, episodes = asyncio.run(ask())

    assert reply["current_epoch"] == 3
    assert episodes == 1


def test_a_name_that_was_never_trained_under_may_be_used_again(serve: Serve) -> None:
    async def again() -> int:
        async with serve() as server:
            for seed in (1, 2):
                opened = await server.open(episode_id="e", seed=seed)
            return opened.episode.seed

    assert asyncio.run(again()) == 2


def test_a_damaged_model_is_noticed_and_trained_again(serve: Serve, tmp_path: Path, caplog: Any) -> None:
    async def damage() -> tuple[list[object], list[object], int]:
        more = [("configure_training", {"dropout": 0.2}), ("run_epochs", {"num_epochs": 2})]
        async with serve("straight") as server:
            opened = await server.open(episode_id="e")
            straight = await play(opened, [("run_epochs", {"num_epochs": 4}), *more])
        async with serve() as server:
            first = await play(await server.open(episode_id="e"), [("run_epochs", {"num_epochs": 4})])
        for file in (tmp_path / "state" / "states").glob("*/*.safetensors"):
            file.write_bytes(file.read_bytes()[:-1] + b"?")
        async with serve() as server:
            rest = await play(await server.open(episode_id="e", resume=True), more)
            return straight, first + rest, server.executor.trained

    straight, rebuilt, trained = asyncio.run(damage())

    assert whole(rebuilt) == whole(straight)
    assert trained == 4 + 2
    assert "damaged" in caplog.text


def test_models_are_dropped_under_the_limit_and_trained_again_when_needed(serve: Serve, tmp_path: Path) -> None:
    async def crowd() -> tuple[int, list[object], list[object]]:
        async with serve(state_mb=0) as server:
            first = await server.open(episode_id="first", seed=1)
            second = await server.open(episode_id="second", seed=2)
            for opened in (first, second, first, second):
                await opened.call("run_epochs", {"num_epochs": 2})
        kept = len(list((tmp_path / "state" / "states").glob("*/*.safetensors")))
        async with serve() as server:
            rest = await play(await server.open(episode_id="first", resume=True), [("run_epochs", {"num_epochs": 2})])
        async with serve("straight") as server:
            straight = await play(await server.open(seed=1), [("run_epochs", {"num_epochs": 2})] * 3)
            return kept, rest, straight[-1:]

    kept, rest, straight = asyncio.run(crowd())

    assert kept == 1
    assert [answer["weights_hash"] for answer in rest] == [answer["weights_hash"] for answer in straight]  # type: ignore[index]


def test_a_full_disk_costs_no_call(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play_on() -> tuple[list[object], list[object]]:
        calls: list[Call] = [("run_epochs", {"num_epochs": 2}), ("configure_training", {"dropout": 0.1})] * 2
        async with serve("straight") as server:
            straight = await play(await server.open(), calls)
        async with serve("full", cache=False) as server:

            async def full(*_: object) -> None:
                raise OSError("No space left on device")

            monkeypatch.setattr(server.states, "save", full)
            return straight, await play(await server.open(), calls)

    straight, full = asyncio.run(play_on())

    assert whole(full) == whole(straight)


@pytest.mark.parametrize("state_mb", [0, 100])
def test_the_model_handed_in_is_measured_after_a_restart_whether_it_was_kept_or_not(
    serve: Serve, state_mb: int
) -> None:
    train = [("run_epochs", {"num_epochs": 20})] * 2

    async def submit() -> tuple[list[Any], list[Any], int]:
        async with serve("straight") as server:
            straight = await play(await server.open(episode_id="e"), [*train, ("submit_model", {})])
        async with serve(state_mb=state_mb) as server:
            other = await server.open(episode_id="other", seed=1)
            await play(await server.open(episode_id="e"), train)
            await play(other, train)
        async with serve(state_mb=state_mb) as server:
            resumed = await server.open(episode_id="e", resume=True)
            return straight, await play(resumed, [("submit_model", {})]), server.executor.trained

    straight, resumed, trained = asyncio.run(submit())

    assert resumed[-1]["test_accuracy"] == straight[-1]["test_accuracy"]
    assert resumed[-1]["graded_epoch"] < 40
    assert (trained == 0) == (state_mb == 100)
