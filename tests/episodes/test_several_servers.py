"""Several servers on one journal: any of them goes on with an episode, and one at a time holds it."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from ml_trainer_env.server.episodes.errors import EpisodeError, ResetError

Serve = Callable[..., Any]
Call = tuple[str, dict[str, Any]]

CALLS: list[Call] = [
    ("run_epochs", {"num_epochs": 2}),
    ("save_checkpoint", {"name": "a"}),
    ("configure_training", {"optimizer": "sgd", "learning_rate": 0.1}),
    ("run_epochs", {"num_epochs": 3}),
    ("restore_checkpoint", {"name": "a"}),
    ("run_epochs", {"num_epochs": 1}),
    ("submit_model", {}),
]


def plain(reply: dict[str, Any]) -> dict[str, Any]:
    """A reply without what the cache may change."""
    rows = [{key: row[key] for key in row if key != "from_cache"} for row in reply.get("epochs", [])]
    return {key: value for key, value in reply.items() if key not in {"from_cache", "epochs"}} | {"rows": rows}


def test_an_episode_that_another_server_goes_on_with_after_each_call_comes_out_the_same(serve: Serve) -> None:
    async def play() -> tuple[list[Any], list[Any]]:
        async with serve("straight") as server:
            opened = await server.open(episode_id="e")
            straight = [plain(await opened.call(*call)) for call in CALLS]
        async with serve() as one, serve() as two, serve() as three:
            await one.open(episode_id="e")
            answers = []
            for number, call in enumerate(CALLS):
                opened = await (one, two, three)[number % 3].open(episode_id="e", resume=True)
                answers.append(plain(await opened.call(*call)))
            return straight, answers

    straight, answers = asyncio.run(play())

    assert answers == straight


def test_a_server_that_goes_on_with_an_episode_of_another_trains_nothing_again(serve: Serve) -> None:
    async def play() -> int:
        async with serve() as one, serve() as two:
            first = await one.open(episode_id="e")
            await first.call("run_epochs", {"num_epochs": 3})
            second = await two.open(episode_id="e", resume=True)
            await second.call("run_epochs", {"num_epochs": 1})
            return two.executor.trained

    assert asyncio.run(play()) == 1


def test_who_lost_an_episode_to_another_server_is_refused_and_its_call_does_not_count(serve: Serve) -> None:
    async def play() -> tuple[str, int]:
        async with serve() as one, serve() as two:
            first = await one.open(episode_id="e")
            await first.call("run_epochs", {"num_epochs": 1})
            second = await two.open(episode_id="e", resume=True)
            with pytest.raises(EpisodeError) as refusal:
                await first.call("run_epochs", {"num_epochs": 1})
            return str(refusal.value), (await second.call("get_training_status", {}))["current_epoch"]

    words, epochs = asyncio.run(play())

    assert "another session has taken this episode over; this call does not count" in words
    assert epochs == 1


def test_of_two_servers_that_begin_one_name_one_has_it_and_the_other_is_refused_by_name(serve: Serve) -> None:
    async def begin_and_train(server: Any, name: str) -> str:
        try:
            opened = await server.open(episode_id=name)
            await opened.call("run_epochs", {"num_epochs": 1})
        except (ResetError, EpisodeError) as refusal:
            return str(refusal)
        return "trained"

    async def play() -> list[tuple[str, str]]:
        async with serve() as one, serve() as two:
            names = [f"e{number}" for number in range(20)]
            each = [asyncio.gather(begin_and_train(one, name), begin_and_train(two, name)) for name in names]
            return [tuple(found) for found in await asyncio.gather(*each)]

    for number, outcomes in enumerate(asyncio.run(play())):
        assert sorted(outcome == "trained" for outcome in outcomes) == [False, True], outcomes
        assert f"'e{number}'" in next(outcome for outcome in outcomes if outcome != "trained")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_sessions_of_several_servers_that_fight_for_episodes_lose_no_acknowledged_call(serve: Serve, seed: int) -> None:
    """Each takes episodes over from the others at drawn moments. What was answered is in the journal, in order."""
    source = random.Random(seed)
    answered: dict[str, list[int]] = {"a": [], "b": []}

    async def fight(server: Any, moves: list[str]) -> None:
        for name in moves:
            try:
                opened = await server.open(episode_id=name, resume=True)
                for _ in range(2):
                    reply = await opened.call("run_epochs", {"num_epochs": 1})
                    answered[name].append(reply["current_epoch"])
            except (EpisodeError, ResetError):
                continue

    async def play() -> dict[str, int]:
        async with serve() as one, serve() as two, serve() as three:
            for name in answered:
                await one.open(episode_id=name)
            plans = [source.choices("ab", k=6) for _ in range(3)]
            await asyncio.gather(*(fight(server, plan) for server, plan in zip((one, two, three), plans, strict=True)))
            return {name: len((await one.journal.load(name)).calls[:]) for name in answered}

    calls = asyncio.run(play())

    for name, epochs in answered.items():
        assert len(set(epochs)) == len(epochs)
        assert calls[name] >= len(epochs)
        assert max(epochs, default=0) <= calls[name]
